"""Numerical ranks without a spectrum: as the singular values in float64 say, also where a few are planted."""

import pytest
import torch
from torch import Tensor, nn

from netmorph.measure import NORMS, SpectrumError, full_rank, ranks_and_norms, spectra


def ranks(matrices: dict[str, Tensor]) -> dict[str, int]:
    return {name: found.rank for name, found in ranks_and_norms(matrices).items()}


def planted(n: int, small: list[float], seed: int) -> Tensor:
    """`[n, n]`, singular values from 1 down to 0.05, but for the small ones, in multiples of the tolerance."""
    generator = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    values = torch.linspace(1, 0.05, n, dtype=torch.float64)
    values[n - len(small) :] = torch.tensor(small, dtype=torch.float64) * n * torch.finfo(torch.float32).eps
    return (left * values @ right).float()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No spectrum may be taken."""

    def refuse(matrices: dict[str, Tensor]) -> dict[str, object]:
        assert not matrices, "a whole spectrum"
        return {}

    monkeypatch.setattr(full_rank, "spectra", refuse)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("small", "rank"),
    [([], 200), ([1.2], 200), ([0.8], 199), ([1.02], 200), ([0.99], 199), ([1.5, 0.01], 199), ([0.9, 0.8, 0.2], 197)],
)
def test_a_few_small_values_decide(small: list[float], rank: int) -> None:
    matrices = {str(seed): planted(200, small, seed) for seed in range(8)}
    assert set(ranks(matrices).values()) == {rank}


def test_what_lacks_many_directions_or_lies_at_the_tolerance_takes_the_spectrum() -> None:
    matrices = {
        "low": planted(200, [0.5] * 100, 0),
        "at the tolerance": planted(200, [1.0], 1),
        "many above": planted(200, [1.3] * 20, 2),
        "equal rows": torch.ones(130, 130),
        "zero": torch.zeros(128, 128),
        "tiny": planted(200, [0.5], 3) * 1e-30,
        "huge": planted(200, [0.5], 3) * 1e30,
        "rectangular": torch.randn(150, 200),
        "small": torch.eye(4),
        "double": torch.eye(200, dtype=torch.float64),
        "complex": torch.eye(200, dtype=torch.complex64),
    }
    assert ranks(matrices) == {name: spectrum.rank() for name, spectrum in spectra(matrices).items()}


def test_random_layers_agree_with_their_spectra() -> None:
    torch.manual_seed(0)
    matrices: dict[str, Tensor] = {str(place): nn.Linear(256, 256).weight for place in range(40)}
    assert ranks(matrices) == {name: spectrum.rank() for name, spectrum in spectra(matrices).items()}


def test_norms_are_those_of_the_spectrum() -> None:
    matrices = {"quick": planted(200, [1.5], 0), "slow": torch.randn(20, 30)}
    for found, spectrum in zip(ranks_and_norms(matrices).values(), spectra(matrices).values(), strict=True):
        for measure in NORMS.values():
            assert measure(found) == pytest.approx(measure(spectrum), rel=1e-3)


def test_what_is_no_number_is_named() -> None:
    bad = torch.eye(200)
    bad[3, 3] = torch.nan
    with pytest.raises(SpectrumError, match="'fc1' holds NaN"):
        ranks({"fc0": torch.eye(200), "fc1": bad})
    with pytest.raises(SpectrumError, match="no matrix"):
        ranks({"fc0": torch.zeros(3)})
