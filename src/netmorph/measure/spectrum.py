"""Singular values of many matrices in one pass, and the numbers that follow from them: ranks, norms, conditions.

Matrices of one shape are stacked, so that a network of equal layers costs a few calls. The singular values are the
roots of the eigenvalues of the smaller Gram matrix, formed in float64: that costs less than a decomposition of the
matrix itself, and loses what is below `1e-8` times the largest singular value. For float32 and coarser types that is
below the rounding of the entries (numpy's tolerance is `1.2e-7` times the longer side); matrices of float64, and those
whose tolerance would be lost all the same, are decomposed themselves (`svdvals`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from netmorph.errors import NetmorphError


class SpectrumError(NetmorphError):
    """A matrix that has no singular values: NaN or infinite entries, or none at all."""


class WithNorms(Protocol):
    """A matrix of which two norms are known: a `Spectrum`, or what `leading` finds without one."""

    @property
    def largest(self) -> float:
        """The largest singular value."""

    @property
    def frobenius(self) -> float:
        """The root of the sum of squares of all entries."""


@dataclass(frozen=True)
class Spectrum:
    """The singular values of a matrix.

    Attributes:
        values: `[min(rows, columns)]`, float64, the largest first.
        rows, columns: the shape of the matrix.
        epsilon: of the type in which its entries came: what is below its rounding is no rank.
    """

    values: Tensor
    rows: int
    columns: int
    epsilon: float

    @property
    def largest(self) -> float:
        """The largest singular value."""
        return float(self.values[0])

    @property
    def frobenius(self) -> float:
        """The root of the sum of squares of all entries."""
        return self.largest * math.sqrt(float(_squares(self).sum()))

    @property
    def tolerance(self) -> float:
        """Where `numpy.linalg.matrix_rank` cuts: the largest value times the longer side times epsilon."""
        return self.largest * max(self.rows, self.columns) * self.epsilon

    def rank(self, tolerance: float | None = None) -> int:
        """How many singular values are above a tolerance, `Spectrum.tolerance` where none is given.

        Raises:
            SpectrumError: the tolerance is negative or NaN.
        """
        if tolerance is not None and not tolerance >= 0:
            raise SpectrumError(f"a tolerance is a number from 0, got {tolerance}")
        return int((self.values > (self.tolerance if tolerance is None else tolerance)).sum())


Rank = Callable[[Spectrum], float]


def numerical_rank(spectrum: Spectrum) -> float:
    """What `numpy.linalg.matrix_rank` says."""
    return float(spectrum.rank())


def gavish_donoho_rank(spectrum: Spectrum) -> float:
    """How many values stand out of noise of unknown size: those above `gavish_donoho` times the median.

    Gavish and Donoho, "The optimal hard threshold for singular values is 4/sqrt(3)", arXiv 1305.5870.
    """
    smaller, larger = sorted((spectrum.rows, spectrum.columns))
    cut = gavish_donoho(smaller / larger) * float(spectrum.values.quantile(0.5))
    return float(spectrum.rank(max(cut, spectrum.tolerance)))


def stable_rank(norms: WithNorms) -> float:
    """The squared Frobenius norm over the squared spectral norm; 0 of a zero matrix."""
    return (norms.frobenius / norms.largest) ** 2 if norms.largest > 0 else 0.0


def effective_rank(spectrum: Spectrum) -> float:
    """The exponential of the entropy of the singular values over their sum; 0 of a zero matrix.

    Roy and Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.
    """
    total = spectrum.values.sum()
    if total == 0:
        return 0.0
    shares = spectrum.values / total
    return math.exp(-float(torch.xlogy(shares, shares).sum()))


def participation_ratio(spectrum: Spectrum) -> float:
    """`(sum s^2)^2 / sum s^4`: how many directions share the variance; 0 of a zero matrix."""
    squares = _squares(spectrum)
    total = float(squares.square().sum())
    return float(squares.sum()) ** 2 / total if total > 0 else 0.0


def spectral_norm(norms: WithNorms) -> float:
    """The largest singular value."""
    return norms.largest


def frobenius_norm(norms: WithNorms) -> float:
    """The root of the sum of squares of all entries."""
    return norms.frobenius


def nuclear_norm(spectrum: Spectrum) -> float:
    """The sum of the singular values."""
    return float(spectrum.values.sum())


def condition_number(spectrum: Spectrum) -> float:
    """The largest singular value over the smallest; infinite where that is below the tolerance."""
    smallest = float(spectrum.values[-1])
    return spectrum.largest / smallest if smallest > spectrum.tolerance else math.inf


SPECTRAL: dict[str, Rank] = {
    measure.__name__: measure
    for measure in (
        numerical_rank,
        gavish_donoho_rank,
        stable_rank,
        effective_rank,
        participation_ratio,
        spectral_norm,
        frobenius_norm,
        nuclear_norm,
        condition_number,
    )
}

# Of these the two norms tell all: they cost no whole spectrum where nothing else is asked for.
NORMS: dict[str, Callable[[WithNorms], float]] = {
    measure.__name__: measure for measure in (stable_rank, spectral_norm, frobenius_norm)
}


def spectra(matrices: Mapping[str, Tensor]) -> dict[str, Spectrum]:
    """The singular values of each matrix.

    Args:
        matrices: `[rows, columns]` by name, real or complex, of any floating type and on any device.

    Raises:
        SpectrumError: one is no matrix, is empty, or holds NaN or infinite entries.
    """
    stacks: dict[object, list[str]] = {}
    for name, matrix in matrices.items():
        check_matrix(name, matrix)
        stacks.setdefault((matrix.shape, matrix.dtype, matrix.device), []).append(name)
    found: dict[str, Spectrum] = {}
    with torch.no_grad():
        for names in stacks.values():
            stack = torch.stack([matrices[name].detach() for name in names])
            finite = stack.isfinite().flatten(1).all(1).tolist()
            check_finite(dict(zip(names, finite, strict=True)))
            rows, columns = stack.shape[1:]
            epsilon = torch.finfo(stack.dtype).eps
            values = singular_values(stack).cpu()
            found |= {name: Spectrum(own, rows, columns, epsilon) for name, own in zip(names, values, strict=True)}
    return {name: found[name] for name in matrices}


def singular_values(stack: Tensor) -> Tensor:
    """`[n, rows, columns]` -> `[n, min(rows, columns)]`, float64, the largest first.

    Through the smaller Gram matrix in float64 where the entries are coarser than that, else by `svdvals`.
    """
    if torch.finfo(stack.dtype).eps <= torch.finfo(torch.float64).eps:
        exact: Tensor = torch.linalg.svdvals(stack)
        return exact
    scale = stack.abs().amax((1, 2), keepdim=True).double()  # squares of entries must neither vanish nor overflow
    wide = stack.to(torch.complex128 if stack.is_complex() else torch.float64)
    wide /= torch.where(scale > 0, scale, 1)
    small = wide if wide.shape[1] <= wide.shape[2] else wide.mH
    return of_gram(small @ small.mH) * scale[:, 0]


def of_gram(gram: Tensor) -> Tensor:
    """`[..., n, n]`, float64 -> the singular values of what has these products, `[..., n]`, the largest first."""
    squares: Tensor = torch.linalg.eigvalsh(gram)
    return squares.clamp_min(0).sqrt().flip(-1)


@functools.lru_cache(maxsize=1024)
def gavish_donoho(aspect: float) -> float:
    """The optimal threshold in units of the median singular value, where the noise is unknown: 2.858 at aspect 1.

    Args:
        aspect: the shorter side over the longer, above 0 and at most 1.

    Raises:
        SpectrumError: it is not.
    """
    if not 0 < aspect <= 1:
        raise SpectrumError(
            f"an aspect ratio is above 0 and at most 1 (the shorter side over the longer), got {aspect}"
        )
    known = math.sqrt(2 * (aspect + 1) + 8 * aspect / (aspect + 1 + math.sqrt(aspect * aspect + 14 * aspect + 1)))
    return known / math.sqrt(_marchenko_pastur_median(aspect))


def _marchenko_pastur_median(aspect: float, places: int = 200_000) -> float:
    """The median of the Marchenko-Pastur law of squared singular values of noise, by the midpoint rule.

    With `x = middle + half * sin(t)` the root in the density becomes a smooth `cos(t)`.
    """
    low, high = (1 - math.sqrt(aspect)) ** 2, (1 + math.sqrt(aspect)) ** 2
    t = math.pi * ((torch.arange(places, dtype=torch.float64) + 0.5) / places - 0.5)
    x = (high + low) / 2 + (high - low) / 2 * t.sin()
    mass = (t.cos().square() / x).cumsum(0)
    return float(x[int(torch.searchsorted(mass, float(mass[-1]) / 2))])


def _squares(spectrum: Spectrum) -> Tensor:
    """Squared singular values in units of the largest."""
    largest = spectrum.values[0]
    return (spectrum.values / largest).square() if largest > 0 else torch.zeros_like(spectrum.values)


def check_matrix(name: str, matrix: Tensor) -> None:
    """Refuse what is no matrix.

    Raises:
        SpectrumError: it has not two dimensions, is empty, or holds no real or complex numbers.
    """
    if matrix.dim() != 2 or not matrix.numel() or not (matrix.is_floating_point() or matrix.is_complex()):
        raise SpectrumError(f"{name!r} is no matrix of real or complex numbers: {tuple(matrix.shape)}, {matrix.dtype}")


def check_finite(finite: Mapping[str, bool]) -> None:
    """Name the matrices that hold what is no number.

    Args:
        finite: by name, whether all entries are finite.

    Raises:
        SpectrumError: not all matrices are.
    """
    bad = [name for name, fine in finite.items() if not fine]
    if bad:
        raise SpectrumError(
            f"{', '.join(map(repr, bad[:3]))} {'holds' if len(bad) == 1 else 'hold'} NaN or infinite entries, which "
            "have no singular values: the training has diverged, or the weights were never set"
        )
