"""Recursive least squares: new samples and classes without the old data give what all data give."""

import pytest
import torch
from torch import Tensor

from netmorph.solve import Moments, Recursive, SolveError, one_hot, ridge


def samples() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2000) * 7 // 2000  # class after class
    centres = torch.randn(7, 30, generator=generator, dtype=torch.float64)
    return centres[labels] + torch.randn(2000, 30, generator=generator, dtype=torch.float64) + 2, labels


def assert_solved(recursive: Recursive, x: Tensor, y: Tensor) -> None:
    expected = ridge(Moments.of([(x, y)]), recursive.penalty)
    assert torch.allclose(recursive.head.weight, expected.weight, rtol=0, atol=1e-9)
    assert torch.allclose(recursive.head.bias, expected.bias, rtol=0, atol=1e-9)


def test_new_classes_give_what_all_data_give() -> None:
    x, labels = samples()
    first = labels < 3
    recursive = Recursive(Moments.of([(x[first], one_hot(labels[first], 3))]), penalty=2.0)
    for known in range(4, 8):
        new = labels == known - 1
        recursive.add(x[new], one_hot(labels[new], known))
        seen = labels < known
        assert_solved(recursive, x[seen], one_hot(labels[seen], known).double())
    assert recursive.count == 2000


def test_new_samples_one_by_one_and_many_at_once() -> None:
    x, labels = samples()
    y = one_hot(labels, 7).double()
    recursive = Recursive(Moments.of([(x[::100], y[::100])]), penalty=0.5)
    rest = torch.arange(2000) % 100 != 0
    for sample in range(1, 20):
        recursive.add(x[rest][sample - 1 : sample], y[rest][sample - 1 : sample])
    recursive.add(x[rest][19:], y[rest][19:])
    assert_solved(recursive, x, y)


def test_it_starts_from_fewer_samples_than_features() -> None:
    x, labels = samples()
    y = one_hot(labels, 7).double()
    recursive = Recursive(Moments.of([(x[:5], y[:5])]), penalty=1.0)
    recursive.add(x[5:], y[5:])
    assert_solved(recursive, x, y)


def test_what_does_not_fit_leaves_it_as_it_was() -> None:
    x, labels = samples()
    recursive = Recursive(Moments.of([(x, one_hot(labels, 7))]), penalty=1.0)
    before = recursive.head
    with pytest.raises(SolveError, match="30 features and 7 targets or more were expected, got 30 and 3"):
        recursive.add(x[:2], one_hot(labels[:2], 3))
    with pytest.raises(SolveError, match="nothing was learnt from this batch"):
        recursive.add(x[:2] / 0, one_hot(labels[:2], 9))
    with pytest.raises(SolveError, match="nothing was learnt from this batch"):
        recursive.add(x[:2], one_hot(labels[:2], 7).double().index_fill(1, torch.tensor([2]), float("nan")))
    assert torch.equal(recursive.head.weight, before.weight)
