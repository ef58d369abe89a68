"""Rank and norms of square matrices that use nearly all of their directions, without their spectrum.

Whether a singular value is below the tolerance is a question about the smallest few. These are the leading ones of the
inverse: an LU factorization in float32 and two rounds of subspace iteration find them, far apart as they are there, and
the products of the matrix itself with what was found say how small they are. Where one of them is below the tolerance,
the others are blurred, and take more rounds, or float64; where more than a few are, or one lies at the tolerance, the
whole spectrum decides. The largest is found by Lanczos' method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from netmorph.measure.lanczos import SAFE, leading
from netmorph.measure.spectrum import check_matrix, spectra

SHORTEST = 128  # below that a spectrum costs as little
DIRECTIONS = 4  # how many of the smallest are looked for
ROUNDS = 2
# In multiples of the tolerance:
BLURRED = 0.1  # a value below that takes away the digits of float32 from the next one
BELOW = 1.1  # what was found is an upper bound: up to this it may be below
EQUAL = (0.999, 1.001)  # the largest value is known to so much
BEYOND = 3.0  # the largest of those that were found is so far above, or others may be below


@dataclass(frozen=True)
class RankAndNorms:
    """What is known of a matrix without its spectrum.

    Attributes:
        rank: as `numpy.linalg.matrix_rank` says.
        largest: the largest singular value, within 0.05%.
        frobenius: the root of the sum of squares of all entries.
    """

    rank: int
    largest: float
    frobenius: float


def ranks_and_norms(matrices: Mapping[str, Tensor]) -> dict[str, RankAndNorms]:
    """The numerical rank and both norms of each matrix, the quick way where there is one.

    Quick are square matrices in float32 that lack at most three directions. The answer is then right with high
    probability over random starts, not for certain: a direction is missed if four random vectors together hold next to
    nothing of it; see `leading` for the norm. Others, and those that stay undecided, go through `spectra`.

    Args:
        matrices: `[rows, columns]` by name, real or complex, of any floating type and on any device.

    Raises:
        SpectrumError: one is no matrix, is empty, or holds NaN or infinite entries.
    """
    for name, matrix in matrices.items():
        check_matrix(name, matrix)
    generator = torch.Generator().manual_seed(0)
    found: dict[str, RankAndNorms] = {}
    with torch.no_grad():
        for name, matrix in matrices.items():
            quick = _by_both_ends(matrix.detach(), generator) if _suits(matrix) else None
            if quick is not None:
                found[name] = quick
        for name, spectrum in spectra({name: own for name, own in matrices.items() if name not in found}).items():
            found[name] = RankAndNorms(spectrum.rank(), spectrum.largest, spectrum.frobenius)
    return {name: found[name] for name in matrices}


def _suits(matrix: Tensor) -> bool:
    rows, columns = matrix.shape
    return rows == columns >= SHORTEST and matrix.dtype == torch.float32


def _by_both_ends(matrix: Tensor, generator: torch.Generator) -> RankAndNorms | None:
    """Of `[n, n]`, by its largest and its smallest singular values; None where these do not decide the rank."""
    n = matrix.shape[0]
    if not 1 / SAFE < float(torch.linalg.vector_norm(matrix)) < SAFE:
        return None  # zeros, no numbers, or squares that vanish or overflow
    starts = torch.randn(n, DIRECTIONS + 1, generator=generator).to(matrix.device)
    norms = leading(matrix, starts[:, 0])
    tolerance = norms.largest * n * torch.finfo(matrix.dtype).eps
    smallest = _smallest(matrix, starts[:, 1:], tolerance)
    if smallest and smallest[0] < BLURRED * tolerance:
        smallest = _smallest(matrix.double(), starts[:, 1:].double(), tolerance)
    if not smallest or smallest[-1] < BEYOND * tolerance:
        return None
    low, high = EQUAL
    if any(low * tolerance <= value <= high * tolerance for value in smallest):
        return None
    return RankAndNorms(n - sum(value < tolerance for value in smallest), norms.largest, norms.frobenius)


def _smallest(matrix: Tensor, directions: Tensor, tolerance: float) -> list[float]:
    """The smallest singular values of `[n, n]`, from above, the smallest first; none of a matrix that is singular.

    By subspace iteration on the inverse, from `[n, k]` directions; twice as long where some are below the tolerance.
    """
    factors, pivots, singular = torch.linalg.lu_factor_ex(matrix.mT)  # laid out as LAPACK wants it
    if int(singular):
        return []
    values: list[float] = []
    for turn in range(1, 2 * ROUNDS + 1):
        inner = torch.linalg.lu_solve(factors, pivots, directions, adjoint=True)
        directions, _ = torch.linalg.qr(torch.linalg.lu_solve(factors, pivots, inner))
        if turn % ROUNDS == 0:
            reached = directions.mT @ matrix
            if not bool(reached.isfinite().all()):
                return []
            values = torch.linalg.svdvals(reached.double()).flip(0).tolist()
            if values[0] > BELOW * tolerance:
                break
    return values
