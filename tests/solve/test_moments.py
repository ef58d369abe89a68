"""Moments: exact sums, streamed, merged, taken apart, with new targets, on disk."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from netmorph.solve import Moments, SolveError, one_hot
from netmorph.tensor_files import FileError

TENSORS = ("gram", "cross", "squares", "mean", "target_mean")


def samples(count: int = 60, features: int = 5, targets: int = 3, far: float = 0.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    x = torch.randn(count, features, generator=generator, dtype=torch.float64) + far
    return x, torch.randn(count, targets, generator=generator, dtype=torch.float64)


def agree(one: Moments, other: Moments, tolerance: float = 1e-10) -> bool:
    assert one.count == other.count
    return all(torch.allclose(getattr(one, name), getattr(other, name), rtol=0, atol=tolerance) for name in TENSORS)


def test_they_are_the_sums_over_all_batches() -> None:
    x, y = samples()
    found = Moments.of(zip(x.split(7), y.split(7), strict=True))
    about = x - x.mean(0)
    assert torch.allclose(found.gram, about.T @ about)
    assert torch.allclose(found.cross, about.T @ (y - y.mean(0)))
    assert torch.allclose(found.squares, (y - y.mean(0)).square().sum(0))
    assert torch.allclose(found.mean, x.mean(0))
    assert torch.allclose(found.target_mean, y.mean(0))
    assert found.count == 60


def test_a_large_mean_drowns_nothing() -> None:
    near, far = samples(), samples(far=1e6)
    found = Moments.of(zip(far[0].split(7), far[1].split(7), strict=True))
    assert torch.allclose(found.gram, Moments.of([near]).gram, rtol=1e-8)


def test_shards_add_up_and_can_be_taken_out() -> None:
    x, y = samples()
    all_of_them = Moments.of([(x, y)])
    first, second = Moments.of([(x[:22], y[:22])]), Moments.of([(x[22:], y[22:])])
    assert agree(first + second, all_of_them)
    assert agree(all_of_them - first, second)
    assert agree(Moments.nothing(5, 3) + first, first)
    assert first.count == 22  # neither was changed
    with pytest.raises(SolveError, match="22 samples cannot be taken out of 22: none would be left"):
        first - first
    with pytest.raises(SolveError, match=r"moments of \[5, 3\] features and targets do not go with \[4, 3\]"):
        first + Moments.nothing(4, 3)


def test_features_that_are_trained_are_taken_as_they_are() -> None:
    x, y = samples()
    assert not Moments.of([(x.requires_grad_(), y)]).gram.requires_grad


def test_float32_is_summed_in_float64() -> None:
    x, y = samples(2000)
    single = Moments.of(zip(x.float().split(100), y.float().split(100), strict=True))
    assert single.gram.dtype == torch.float64
    assert torch.allclose(single.gram, Moments.of([(x, y)]).gram, rtol=1e-5, atol=1e-3)


def test_further_targets_are_those_of_classes_that_had_no_sample() -> None:
    x, _ = samples()
    labels = torch.arange(60) % 3
    wide = Moments.of([(x, one_hot(labels, 3))]).with_targets(5)
    assert agree(wide, Moments.of([(x, one_hot(labels, 5))]))
    with pytest.raises(SolveError, match="there are 5 targets; 4 would be fewer"):
        wide.with_targets(4)


def test_a_file_gives_them_back(tmp_path: Path) -> None:
    moments = Moments.of([samples()])
    moments.save(tmp_path / "one.safetensors")
    again = Moments.load(tmp_path / "one.safetensors")
    assert agree(again, moments, tolerance=0)
    damaged = bytearray((tmp_path / "one.safetensors").read_bytes())
    damaged[-3] ^= 1
    (tmp_path / "damaged.safetensors").write_bytes(damaged)
    with pytest.raises(FileError, match=r"damaged.safetensors is damaged .*; take the moments anew"):
        Moments.load(tmp_path / "damaged.safetensors")


@pytest.mark.parametrize(
    ("features", "targets", "told"),
    [
        (torch.zeros(4, 2, 2), torch.zeros(4, 1), r"got torch.float32 \[4, 2, 2\]; see Tensor.flatten"),
        (torch.zeros(4, 2).long(), torch.zeros(4, 1), r"features are float32 or float64 \[B, d\], got torch.int64"),
        (torch.zeros(4, 2), torch.zeros(4).long(), r"labels become targets by one_hot\(labels, classes\)"),
        (torch.zeros(4, 2), torch.zeros(3, 1), r"B = 4 as the features, got \[3, 1\]"),
        (torch.zeros(4, 3), torch.zeros(4, 1), "3 features and 1 targets, where those before had 2 and 1"),
    ],
)
def test_what_does_not_fit(features: Tensor, targets: Tensor, told: str) -> None:
    moments = Moments.nothing(2, 1)
    with pytest.raises(SolveError, match=told):
        moments.add(features, targets)


def test_labels_as_targets() -> None:
    assert one_hot(torch.tensor([1, 0]), 3).tolist() == [[0, 1, 0], [1, 0, 0]]
    with pytest.raises(SolveError, match="labels go from 0 to 3, but there are 3 classes: 0 to 2"):
        one_hot(torch.tensor([0, 3]), 3)
    with pytest.raises(SolveError, match=r"labels are integers \[B\], got torch.float32 \[2\]"):
        one_hot(torch.ones(2), 3)
    with pytest.raises(SolveError, match="there are no batches to solve for"):
        Moments.of([])
