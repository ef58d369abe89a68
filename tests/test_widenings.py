"""How n channels become m: exact by the numbers alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from netmorph import WidthError
from netmorph.graph import Allow
from netmorph.testing.rules import INEXACT
from netmorph.widenings import (
    FRESH,
    WIDENINGS,
    ChannelMap,
    copied_pairs,
    keep,
    net2net,
    r2r,
    random_pad,
    rms_pad,
    unequal_split,
    zero,
)

WIDTHS = st.tuples(st.integers(1, 12), st.integers(1, 40))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, derandomize=True, database=None)
@given(WIDTHS, st.sampled_from(sorted(WIDENINGS)), st.integers(0, 9))
def test_every_widening_keeps_the_old_channels_and_tells_whether_it_is_exact(
    widths: tuple[int, int], name: str, seed: int
) -> None:
    n, more = widths
    channels = WIDENINGS[name](n, n + more, generator(seed))
    assert (channels.n, channels.m) == (n, n + more)
    assert channels.source[:n].tolist() == list(range(n))
    assert channels.source.min() >= FRESH
    assert channels.keeps_function == (name not in INEXACT)
    assert channels.consume.shape == (n, n + more)
    if channels.keeps_function:
        # Readers of the copies see what they saw: x[source] @ consume.T == x
        x = torch.randn(5, n, dtype=torch.float64)
        copied = torch.where(channels.is_fresh, 0.0, x[:, channels.source.clamp_min(0)])
        torch.testing.assert_close(copied @ channels.consume.T, x, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("make", [net2net, unequal_split])
def test_copies_to_a_multiple_are_uniform(make) -> None:  # type: ignore[no-untyped-def]
    assert make(3, 9, generator()).is_uniform
    assert make(3, 9, generator()).is_exact(Allow.UNIFORM)
    assert not make(3, 8, generator()).is_uniform
    assert make(3, 8, generator()).is_exact(Allow.ANY)
    assert not make(3, 9, generator()).is_exact(Allow.INEXACT)


def test_equal_shares_are_exact_in_float64() -> None:
    channels = net2net(1, 3, generator())
    assert channels.share.tolist() == [1 / 3] * 3


def test_unequal_shares_differ() -> None:
    channels = unequal_split(2, 8, generator())
    assert len(channels.share.unique()) == 8
    assert (channels.share > 0).all()


def test_r2r_pairs_twins_of_opposite_sign() -> None:
    channels = r2r(2, 7, generator())
    assert channels.twin.tolist() == [-1, -1, 0, 1, 0, 1, 2]
    assert channels.share.tolist() == [1, 1, 1, 1, -1, -1, 0]
    assert channels.classes == 3
    assert channels.is_exact(Allow.ANY)
    assert not channels.is_exact(Allow.UNIFORM)


def test_zero_and_random_differ_only_in_what_is_read() -> None:
    assert zero(2, 4, generator()).share.tolist() == [1, 1, 0, 0]
    assert random_pad(2, 4, generator()).share.tolist() == [1, 1, 1, 1]
    assert not random_pad(2, 4, generator()).is_exact(Allow.ANY)


def test_copied_pairs_are_read_with_opposite_signs() -> None:
    channels = copied_pairs(3, 8, generator())
    assert channels.source[3:5].tolist() == channels.source[5:7].tolist()
    assert len(channels.source[[3, 4, 7]].unique()) == 3  # different channels, as long as there are any
    assert channels.twin.tolist() == [-1, -1, -1, 0, 1, 0, 1, 2]
    assert channels.share.tolist() == [1, 1, 1, 1, 1, -1, -1, 0]
    assert not channels.is_fresh.any()
    assert channels.is_exact(Allow.ANY)
    assert not channels.is_exact(Allow.UNIFORM)
    assert copied_pairs(3, 9, generator()).is_exact(Allow.UNIFORM)  # three copies of each


def test_twins_of_different_channels_do_not_cancel() -> None:
    source, share, twin = torch.tensor([0, 1, 0, 1]), torch.tensor([1.0, 1, 1, -1]), torch.tensor([-1, -1, 0, 0])
    assert not ChannelMap(2, source, share.double(), twin).keeps_function
    assert ChannelMap(2, torch.tensor([0, 1, 0, 0]), share.double(), twin).keeps_function


@pytest.mark.parametrize("name", WIDENINGS)
def test_which_leave_the_old_network_inside(name: str) -> None:
    channels = WIDENINGS[name](3, 7, generator())
    assert channels.keeps_old == (name not in ("net2net", "unequal_split", "rms_pad"))
    assert not keep(3, [1, 0, 2]).keeps_old
    assert not keep(3, [0, 1]).keeps_old


def test_rms_pad_keeps_the_variance_of_sums() -> None:
    torch.manual_seed(0)
    channels = rms_pad(100, 400, generator())
    assert channels.share.square().sum() == pytest.approx(100)
    assert channels.totals.tolist() == [0.5] * 100


def test_same_seed_same_map() -> None:
    one, other = (unequal_split(5, 11, generator(3)) for _ in range(2))
    assert torch.equal(one.source, other.source)
    assert torch.equal(one.share, other.share)


def test_keep() -> None:
    channels = keep(4, [2, 0])
    assert channels.source.tolist() == [2, 0]
    assert not channels.keeps_function
    permuted = keep(3, [2, 0, 1])
    assert permuted.is_exact(Allow.UNIFORM)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ([], "at least 1 channel everywhere"),
        ([0, 4], "between 0 and 3, got 0 to 4"),
        ([-1, 2], "between 0 and 3, got -1 to 2"),
        ([1, 1], "kept twice"),
        ([0.7, 1.2], "by their indices, not by torch.float32"),
        ([True, False, True, True], "not by torch.bool; of a mask"),
    ],
)
def test_keep_refuses(kept: list[int], message: str) -> None:
    with pytest.raises(WidthError, match=message):
        keep(4, kept)
