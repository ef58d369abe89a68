"""What trainings say of a neighbourhood: paired differences, with what chance explains. Pure functions.

Networks are treatments and seeds are blocks (a randomized block design): a score is what its network and its seed are
good for, and noise that is as large for every network. The noise is estimated from all networks together, which is why
a handful of seeds can tell anything. Many neighbours are asked about at once: p-values are corrected by Holm's method
(S. Holm, A simple sequentially rejective multiple test procedure, 1979), bounds that hold at once by Bonferroni's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netmorph.errors import require
from netmorph.neighbours.rows import Row
from netmorph.neighbours.values import ITSELF, Neighbour, NeighbourError

ALPHA = 0.05
POWER = 0.8
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A neighbour's score less that of the network itself, over seeds.

    Attributes:
        neighbour: its number.
        mean: more is better.
        low, high: its 95% interval, by itself.
        p: two-sided, corrected for all neighbours of its family.
        spread: standard deviation over the seeds of this neighbour's own differences.
    """

    neighbour: int
    mean: float
    low: float
    high: float
    p: float
    spread: float

    @property
    def is_better(self) -> bool:
        """Beyond chance."""
        return self.p < ALPHA and self.mean > 0

    @property
    def is_worse(self) -> bool:
        """Beyond chance."""
        return self.p < ALPHA and self.mean < 0


@dataclass(frozen=True)
class Answer:
    """What one start says.

    Attributes:
        start: a name of `netmorph.neighbours.steps.STARTS`.
        seeds: how many of them count: where the network itself failed, nothing can be compared.
        own: the mean score of the network itself.
        rivals: the neighbours that cost at most as much as the network, within the tolerance.
        dearer: those that cost more: that they are better would refute no peak.
        failed: the numbers of neighbours that failed at a seed, which are left out.
        bound: no rival is better by more than this, all at once with 95% confidence.
        visible: a difference of a rival that would have been found with a probability of 80%.
    """

    start: str
    seeds: int
    own: float
    rivals: tuple[Difference, ...]
    dearer: tuple[Difference, ...]
    failed: tuple[int, ...]
    bound: float
    visible: float

    @property
    def better(self) -> list[Difference]:
        """The rivals that are better beyond chance, the best first."""
        return sorted((each for each in self.rivals if each.is_better), key=lambda each: -each.mean)

    @property
    def is_peak(self) -> bool:
        """Whether no rival was found to be better."""
        return not self.better


def answer(
    rows: Sequence[Row],
    found: Sequence[Neighbour],
    start: str,
    tolerance: float,
    score: Callable[[Row], float],
) -> Answer:
    """Compare neighbours with the network itself, seed by seed.

    Args:
        rows: of any starts.
        tolerance: a neighbour of so much more FLOPs, as a share, counts as one of the same cost.
        score: of a training that did not fail; more is better.

    Raises:
        NeighbourError: the network itself has been trained at fewer than two seeds, or every neighbour failed.
        MissingExtra: SciPy is not installed.
    """
    own = {row.job.seed: score(row) for row in rows if row.job.start == start if _is_whole(row, ITSELF)}
    if len(own) < 2:
        raise NeighbourError(
            f"{len(own)} trainings of the network itself from {start} weights did not fail, and two seeds are the "
            "least that can be compared"
        )
    scores = {ITSELF: np.asarray([own[seed] for seed in sorted(own)])}
    for each in found[1:]:
        its = {row.job.seed: score(row) for row in rows if row.job.start == start if _is_whole(row, each.number)}
        if own.keys() <= its.keys():
            scores[each.number] = np.asarray([its[seed] for seed in sorted(own)])
    if len(scores) == 1:
        raise NeighbourError(f"every neighbour failed at some seed from {start} weights; nothing can be compared")
    error, freedom = noise(np.stack([*scores.values()]))
    limit = (1 + tolerance) * found[ITSELF].flops
    rivals, dearer = (
        [number for number in scores if number != ITSELF and (found[number].flops <= limit) == cheap]
        for cheap in (True, False)
    )
    several = max(1, len(rivals))
    told = _differences(scores, rivals, error, freedom)
    return Answer(
        start=start,
        seeds=len(own),
        own=float(scores[ITSELF].mean()),
        rivals=told,
        dearer=_differences(scores, dearer, error, freedom),
        failed=tuple(each.number for each in found[1:] if each.number not in scores),
        bound=max((each.mean for each in told), default=0.0) + _quantile(1 - ALPHA / 2 / several, freedom) * error,
        visible=(_quantile(1 - ALPHA / 2 / several, freedom) + _quantile(POWER, freedom)) * error,
    )


def noise(scores: Scores) -> tuple[float, int]:
    """The standard error of the difference of two networks' means, and its degrees of freedom.

    Args:
        scores: `[networks, seeds]`, at least two of both.
    """
    networks, seeds = scores.shape
    left = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0, keepdims=True) + scores.mean()
    freedom = (networks - 1) * (seeds - 1)
    return math.sqrt(2 * float((left**2).sum()) / freedom / seeds), freedom


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for their number: below a level where the hypothesis is rejected at it, with all errors in."""
    corrected, highest = [0.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = highest
    return corrected


def _differences(
    scores: Mapping[int, Scores], family: Sequence[int], error: float, freedom: int
) -> tuple[Difference, ...]:
    by_seed = {number: scores[number] - scores[ITSELF] for number in family}
    means = {number: float(values.mean()) for number, values in by_seed.items()}
    corrected = holm([_p(mean, error, freedom) for mean in means.values()])
    half = _quantile(1 - ALPHA / 2, freedom) * error
    return tuple(
        Difference(number, mean, mean - half, mean + half, p, float(by_seed[number].std(ddof=1)))
        for (number, mean), p in zip(means.items(), corrected, strict=True)
    )


def _p(mean: float, error: float, freedom: int) -> float:
    """Two-sided, by Student's t."""
    if error == 0:
        return 0.0 if mean else 1.0
    return 2 * float(require("scipy.special", extra="plot").stdtr(freedom, -abs(mean) / error))


def _quantile(share: float, freedom: int) -> float:
    return float(require("scipy.special", extra="plot").stdtrit(freedom, share))


def _is_whole(row: Row, number: int) -> bool:
    return row.job.neighbour == number and row.failure is None
