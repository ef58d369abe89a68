"""Singular values against NumPy's in float64, and what follows from them on matrices whose ranks are known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from netmorph.measure.spectrum import SPECTRAL, Spectrum, SpectrumError, gavish_donoho, spectra

SHAPES = [(1, 1), (1, 7), (7, 1), (12, 12), (12, 30), (30, 12)]


def of_rank(rows: int, columns: int, rank: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(rank)
    left, right = (torch.randn(size, rank, dtype=torch.float64, generator=generator) for size in (rows, columns))
    return (scale * left @ right.T).to(dtype)


def one(matrix: Tensor) -> Spectrum:
    return spectra({"w": matrix})["w"]


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_are_numpys(shape: tuple[int, int], dtype: torch.dtype, scale: float) -> None:
    matrix = (scale * torch.randn(shape, dtype=torch.complex128 if dtype.is_complex else torch.float64)).to(dtype)
    exact = matrix.to(torch.complex128 if dtype.is_complex else torch.float64).numpy()
    expected = np.linalg.svd(exact, compute_uv=False)
    found = one(matrix)
    np.testing.assert_allclose(found.values.numpy(), expected, rtol=0, atol=1e-7 * expected[0])
    assert found.rank() == np.linalg.matrix_rank(matrix.numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rank", [1, 5, 60, 64])
def test_the_rank_of_products(rank: int, dtype: torch.dtype) -> None:
    matrix = of_rank(64, 100, rank, dtype)
    assert one(matrix).rank() == rank == np.linalg.matrix_rank(matrix.numpy())


def test_small_values_above_numpys_tolerance_are_seen() -> None:
    """Near the tolerance of float32 the Gram matrix must not lose them."""
    q, _ = torch.linalg.qr(torch.randn(50, 50, dtype=torch.float64))
    values = torch.logspace(0, -4.9, 50, dtype=torch.float64)
    matrix = (q * values) @ q.T
    assert one(matrix.float()).rank() == np.linalg.matrix_rank(matrix.float().numpy()) == 50
    values[-1] = 1e-12
    matrix = (q * values) @ q.T
    assert one(matrix).rank() == 50
    torch.testing.assert_close(one(matrix).values[-1], values[-1], rtol=1e-3, atol=0)


def test_shapes_in_any_order_keep_their_names() -> None:
    matrices = {"a": of_rank(4, 6, 2), "b": of_rank(5, 5, 3), "c": of_rank(4, 6, 1), "d": of_rank(6, 4, 4)}
    assert {name: spectrum.rank() for name, spectrum in spectra(matrices).items()} == {"a": 2, "b": 3, "c": 1, "d": 4}
    assert list(spectra(matrices)) == list(matrices)


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (8, 20)])
def test_of_equal_singular_values_all_ranks_are_the_width(rows: int, columns: int) -> None:
    q, _ = torch.linalg.qr(torch.randn(columns, columns, dtype=torch.float64))
    found = {name: measure(one(3 * q[:rows])) for name, measure in SPECTRAL.items()}
    for name in ("numerical_rank", "stable_rank", "effective_rank", "participation_ratio"):
        assert found[name] == pytest.approx(rows)
    assert found["spectral_norm"] == pytest.approx(3)
    assert found["nuclear_norm"] == pytest.approx(3 * rows)
    assert found["frobenius_norm"] == pytest.approx(3 * math.sqrt(rows))
    assert found["condition_number"] == pytest.approx(1)


@pytest.mark.parametrize("name", ["stable_rank", "effective_rank", "participation_ratio"])
def test_soft_ranks_lie_between_one_and_the_rank_and_know_no_scale(name: str) -> None:
    matrix = of_rank(20, 30, 6, torch.float64)
    rank = SPECTRAL[name](one(matrix))
    assert 1 <= rank <= 6
    assert SPECTRAL[name](one(1e-20 * matrix)) == pytest.approx(rank)


def test_a_zero_matrix_has_rank_nothing() -> None:
    found = {name: measure(one(torch.zeros(3, 5))) for name, measure in SPECTRAL.items()}
    assert found.pop("condition_number") == math.inf
    assert set(found.values()) == {0.0}


def test_noise_of_unknown_size_hides_no_signal() -> None:
    noise = torch.randn(200, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    q, _ = torch.linalg.qr(torch.randn(200, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    assert SPECTRAL["gavish_donoho_rank"](one(noise + 200 * q @ q.T)) == 5
    assert SPECTRAL["gavish_donoho_rank"](one(noise)) == 0


def test_gavish_and_donohos_own_figures() -> None:
    """Table IV of arXiv 1305.5870."""
    assert gavish_donoho(1.0) == pytest.approx(2.8582, abs=5e-4)
    assert gavish_donoho(0.5) == pytest.approx(2.1711, abs=2e-3)
    assert gavish_donoho(0.05) == pytest.approx(1.5194, abs=2e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_has_no_spectrum_is_named(value: float) -> None:
    bad = torch.ones(3, 3)
    bad[1, 1] = value
    with pytest.raises(SpectrumError, match="'b' holds NaN or infinite entries"):
        spectra({"a": torch.ones(3, 3), "b": bad})


@pytest.mark.parametrize("bad", [torch.ones(3), torch.ones(0, 3), torch.ones(2, 2, dtype=torch.int64)])
def test_what_is_no_matrix(bad: Tensor) -> None:
    with pytest.raises(SpectrumError, match="'b' is no matrix"):
        spectra({"b": bad})


def test_a_tolerance_of_ones_own() -> None:
    spectrum = one(torch.diag(torch.tensor([3.0, 2.0, 0.5])))
    assert [spectrum.rank(cut) for cut in (0, 1, 2.5, 4)] == [3, 2, 1, 0]
    with pytest.raises(SpectrumError, match="a tolerance is a number from 0, got nan"):
        spectrum.rank(math.nan)
