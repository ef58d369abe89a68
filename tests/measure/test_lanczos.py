"""The largest singular value, and norms, against a decomposition in float64."""

import math

import pytest
import torch
from torch import Tensor

from netmorph.measure import NORMS, Leading, SpectrumError, leading, spectra
from netmorph.measure.lanczos import Follower


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def start(matrix: Tensor, seed: int = 0) -> Tensor:
    return torch.randn(min(matrix.shape), generator=drawn(seed))


def made(values: Tensor, seed: int = 0) -> Tensor:
    """A matrix with these singular values."""
    n = len(values)
    left, right = (torch.linalg.qr(torch.randn(n, n, generator=drawn(seed + k)).double())[0] for k in range(2))
    return (left * values) @ right


def largest(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix.to(torch.complex128 if matrix.is_complex() else torch.float64), 2))


def check(matrix: Tensor, found: Leading, tolerance: float = 1e-3) -> None:
    wide = matrix.to(torch.complex128 if matrix.is_complex() else torch.float64)
    assert found.largest == pytest.approx(largest(matrix), rel=tolerance)
    assert found.largest <= largest(matrix) * (1 + 1e-5)
    assert found.frobenius == pytest.approx(float(torch.linalg.vector_norm(wide)), rel=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (30, 30), (20, 90), (90, 20)])
def test_norms_are_those_of_a_decomposition(shape: tuple[int, int], dtype: torch.dtype, scale: float) -> None:
    matrix = (torch.randn(shape, generator=drawn(0), dtype=torch.complex64 if dtype.is_complex else None) * scale).to(
        dtype
    )
    check(matrix, leading(matrix, start(matrix)))


CLUSTERED = {
    "one above a hundred": torch.cat([torch.ones(1), torch.full((100,), 0.99), torch.linspace(0.9, 0, 49)]),
    "five together": torch.cat([1 - 1e-4 * torch.arange(5), torch.linspace(0.9, 0, 145)]),
    "all together": 1 - 1e-5 * torch.arange(150),
    "evenly down": torch.linspace(1, 0, 150),
    "far below each other": torch.logspace(0, -8, 150),
    "equal": torch.ones(150),
    "one alone": torch.eye(150)[0],
    "three alone": torch.eye(150)[:3].sum(0),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CLUSTERED)
def test_leading_values_that_are_close_to_each_other(name: str, dtype: torch.dtype) -> None:
    for seed in range(5):
        matrix = made(CLUSTERED[name].double(), seed).to(dtype)
        check(matrix, leading(matrix, start(matrix, seed)))


def test_random_matrices_whose_leading_values_are_close() -> None:
    """The start may happen to hold next to nothing of the leading direction."""
    for seed in range(60):
        matrix = torch.randn(60, 200, generator=drawn(seed))
        check(matrix, leading(matrix, start(matrix, 1000 + seed)))


def test_a_looser_tolerance_takes_it_easier_and_never_tells_too_much() -> None:
    matrix = torch.randn(200, 200, generator=drawn(0))
    check(matrix, leading(matrix, start(matrix), tolerance=0.1), tolerance=0.05)


def test_the_vector_is_the_singular_vector() -> None:
    values = torch.cat([torch.tensor([2.0]), torch.linspace(1, 0, 49)]).double()
    for matrix in (made(values)[:, :40], made(values)[:40]):
        vector = leading(matrix, start(matrix)).vector
        tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.mT
        assert float(torch.linalg.vector_norm(tall @ vector)) == pytest.approx(largest(matrix), rel=1e-4)


def test_the_measures_are_those_of_the_whole_spectrum() -> None:
    matrices = {"a": torch.randn(40, 60, generator=drawn(1)), "b": torch.randn(30, 8, generator=drawn(2))}
    whole, norms = spectra(matrices), Follower()(matrices)
    for name in matrices:
        for measure in NORMS.values():
            assert measure(norms[name]) == pytest.approx(measure(whole[name]), rel=2e-3)


def test_zeros_have_no_rank() -> None:
    (found,) = Follower()({"zeros": torch.zeros(3, 5)}).values()
    assert [measure(found) for measure in NORMS.values()] == [0.0, 0.0, 0.0]


def test_entries_that_are_not_finite_are_named() -> None:
    for bad in (math.nan, math.inf):
        with pytest.raises(SpectrumError, match=r"'b' holds NaN or infinite entries"):
            Follower()({"a": torch.ones(3, 3), "b": torch.full((3, 3), bad)})
    with pytest.raises(SpectrumError, match=r"'b' is no matrix of real or complex numbers: \(3,\)"):
        Follower()({"b": torch.ones(3)})


@pytest.mark.parametrize("bad", [torch.ones(4), torch.zeros(3), torch.full((3,), math.nan), torch.ones(3, 1)])
def test_a_start_that_leads_nowhere(bad: Tensor) -> None:
    with pytest.raises(SpectrumError, match=r"a start is a vector .* such as torch\.randn\(3\); got"):
        leading(torch.ones(3, 5), bad)


def test_a_training_in_mixed_precision_takes_nothing_from_it() -> None:
    matrix = torch.randn(60, 60, generator=drawn(0))
    expected = leading(matrix, start(matrix)).largest
    with torch.autocast("cpu", torch.bfloat16):
        assert leading(matrix, start(matrix)).largest == expected


def test_a_new_leading_direction_is_found_at_right_angles_to_the_old() -> None:
    """Two blocks that have nothing in common: no product leads from the old vector to the new."""
    follow = Follower()
    matrix = torch.zeros(80, 80)
    matrix[:40, :40] = torch.randn(40, 40, generator=drawn(1))
    for growth in (0.5, 0.9, 1.02, 1.2, 3.0):
        matrix[40:, 40:] = growth * matrix[:40, :40].flip(0)
        check(matrix, follow({"w": matrix})["w"])


def test_matrices_that_change_in_shape_or_come_and_go() -> None:
    follow = Follower()
    for rows in (10, 10, 14, 6):
        matrices = {name: torch.randn(rows, 12, generator=drawn(rows)) for name in ("a", "b")[: 1 + rows % 4]}
        for name, found in follow(matrices).items():
            check(matrices[name], found)


def test_the_training_draws_the_same_random_numbers() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    Follower()({"w": torch.ones(4, 4)})
    assert torch.equal(torch.rand(3), expected)
