"""What fits what, and the stitch where it does not."""

import itertools

import pytest
import torch
from torch import nn

from netmorph import zoo
from netmorph.bank import (
    Bank,
    BankError,
    CannotAttach,
    Signature,
    attachable,
    can_attach,
    cost_of,
    fit_stitch,
    fits,
    refine_stitch,
    seen_at_home,
    stitch_for,
)


@pytest.fixture
def bank(tmp_path):
    torch.manual_seed(0)
    made = Bank(tmp_path)
    made.add(zoo.build("resnet", (3, 16, 16), 10, width=0.5), torch.randn(2, 3, 16, 16), "resnet")
    return made


def seen(*shape, channel=None):
    return Signature.of(torch.randn(2, *shape), channel)


def test_what_fits_without_a_stitch(bank):
    blocks = bank.entries(keeping_shape=True)

    assert [fits(seen(8, 16, 16), entry) for entry in blocks] == [True, True, False, False, False]
    assert fits(seen(8, 5, 7), blocks[0])
    assert not fits(Signature.of(torch.zeros(2, 8, 16, 16, dtype=torch.float64)), blocks[0])
    assert stitch_for(seen(8, 16, 16), blocks[0]) is None


def test_all_that_a_stitch_brings_together(bank):
    shapes = [(3, 16, 16), (8, 16, 16), (16, 8, 8), (32, 4, 4), (5, 3, 20)]
    for shape, entry in itertools.product(shapes, bank.entries()):
        stitch = stitch_for(seen(*shape), entry)
        result = bank.load(entry.id)(torch.randn(2, *shape) if stitch is None else stitch(torch.randn(2, *shape)))
        assert result.shape[1:] == entry.output.shape or fits(seen(*shape), entry)
        assert (
            stitch is None
            or cost_of(stitch, seen(*shape)).parameters == shape[0] * entry.input.shape[0] + (entry.input.shape[0])
        )


def test_other_ranks(tmp_path):
    bank = Bank(tmp_path)
    vector = bank.add_whole(nn.Linear(6, 4), torch.randn(2, 6), "vector")
    tokens = bank.add_whole(nn.Sequential(nn.Linear(6, 6), nn.GELU()), torch.randn(2, 5, 6), "tokens")
    wave = bank.add_whole(nn.Conv1d(4, 4, 3, padding=1), torch.randn(2, 4, 9), "wave")

    assert stitch_for(seen(3, 8, 8), vector)(torch.randn(2, 3, 8, 8)).shape == (2, 6)
    assert stitch_for(seen(9), vector)(torch.randn(2, 9)).shape == (2, 6)
    assert stitch_for(seen(7, 3), tokens)(torch.randn(2, 7, 3)).shape == (2, 7, 6)
    assert stitch_for(seen(3, 20, channel=0), wave)(torch.randn(2, 3, 20)).shape == (2, 4, 9)
    assert not can_attach(seen(9), wave)
    with pytest.raises(CannotAttach, match="no stitch brings features of shape 9 to"):
        stitch_for(seen(9), wave)


def test_nothing_to_attach(bank):
    assert len(attachable(seen(8, 16, 16), bank.entries(), stitches=False)) == 3
    with pytest.raises(BankError, match="the bank is empty"):
        attachable(seen(8), ())
    with pytest.raises(CannotAttach, match=r"none of the 8 entries takes features of shape 8; they take .*8x16\*x16\*"):
        attachable(seen(8), bank.entries())


@pytest.mark.parametrize(("size", "target"), [((8, 8), (8, 8)), ((8, 8), (4, 4)), ((4, 4), (8, 8))])
def test_a_stitch_that_can_be_found_is_found(tmp_path, size, target):
    torch.manual_seed(0)
    entry = Bank(tmp_path).add_whole(nn.Conv2d(5, 5, 3, padding=1), torch.randn(2, 5, *target), "a layer")
    features = [torch.randn(16, 3, *size) for _ in range(2)]
    true = stitch_for(seen(3, *size), entry)
    pairs = [(x, true(x).detach()) for x in features]
    stitch = stitch_for(seen(3, *size), entry)

    assert fit_stitch(stitch, pairs, ridge=1e-9) < 1e-3
    assert torch.allclose(stitch(features[0]), pairs[0][1], atol=1e-4)


def test_features_that_vary_in_few_directions(tmp_path):
    entry = Bank(tmp_path).add_whole(nn.Linear(3, 2), torch.randn(2, 3), "a layer")
    stitch = stitch_for(seen(6), entry)
    x = torch.randn(50, 1).expand(50, 6)

    assert fit_stitch(stitch, [(x, x[:, :3])]) < 1e-3
    with pytest.raises(BankError, match="no batch"):
        fit_stitch(stitch, [])
    with pytest.raises(BankError, match="not finite"):
        fit_stitch(stitch, [(x / 0, x[:, :3])])


def test_towards_what_was_seen_at_home(bank):
    entries = bank.entries(network="resnet")
    images = torch.randn(32, 3, 16, 16)
    block = entries[4]
    home = seen_at_home([bank.load(one.id) for one in bank.before(block)], images)
    assert Signature.of(home).shape == block.input.shape
    features = seen_at_home([bank.load(one.id) for one in bank.before(entries[2])], images)
    stitch = stitch_for(Signature.of(features), block)

    error = fit_stitch(stitch, [(features, home)])

    assert error < 1
    with torch.no_grad():
        worse = (stitch(features) - home).square().sum() / (home - home.mean((0, 2, 3), keepdim=True)).square().sum()
    assert worse.sqrt() == pytest.approx(error, rel=1e-3)


def test_towards_features_far_behind_the_cut(bank):
    torch.manual_seed(0)
    entries = bank.entries(network="resnet")
    images = torch.randn(32, 3, 16, 16)
    rest = nn.Sequential(*(bank.load(entry.id) for entry in entries[4:7]), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    home = seen_at_home([bank.load(one.id) for one in bank.before(entries[4])], images)
    features = seen_at_home([bank.load(one.id) for one in bank.before(entries[2])], images)
    stitch = stitch_for(Signature.of(features), entries[4])
    fit_stitch(stitch, [(features, home)])
    before = [parameter.clone() for parameter in rest.parameters()]
    target = rest(home).detach()

    first = refine_stitch(stitch, rest, [(features, target)], steps=0)
    last = refine_stitch(stitch, rest, [(features, target)], steps=30, learning_rate=1e-2)

    assert last < first
    assert all(torch.equal(*pair) for pair in zip(before, rest.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in rest.parameters())
