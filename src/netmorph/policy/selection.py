"""Which networks live on: orders of candidates, the best first, and a choice that heeds families.

An order is a function, and each begins with the network that it would keep if it were to keep one:

    by_score    the best on the validation set
    by_rank     by Pareto rank of score against cost, the good end of each front first
    by_volume   by Pareto rank, of each front those first without which its hypervolume would shrink most
    by_cover    one after another, each the best for the examples that those before it do not answer well
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from netmorph.errors import NetmorphError, require


class Candidate(NamedTuple):
    """A trained network: its score on the validation set (high is good), what it costs, its validation loss.

    Attributes:
        cost: FLOPs, parameters or seconds (low is good).
        loss: tells equals apart (low is good).
        family: networks of one family descend from the same start.
        worths: how well it answers each example of the validation set, from 0 to 1, `[examples]`; None where nobody
            has asked.
    """

    id: int
    score: float
    cost: float
    loss: float
    family: int
    worths: NDArray[np.float64] | None = None


Order = Callable[[Sequence[Candidate]], list[Candidate]]  # all of them, the best first


def by_volume(candidates: Sequence[Candidate]) -> list[Candidate]:
    """By Pareto rank of score against cost; within a front whoever is dispensable comes last.

    Again and again the one goes without which the front's hypervolume shrinks least (as in SMS-EMOA, Beume et al.
    2007), never its best score. Volume counts from the lowest score of all candidates, so the cheap end stays only
    for what it is worth.

    Raises:
        MissingExtra: moocore is not installed.
    """
    floor = min((candidate.score for candidate in candidates), default=0.0)
    return [candidate for front in _fronts(candidates) for candidate in _thinned(front, floor)]


def by_rank(candidates: Sequence[Candidate]) -> list[Candidate]:
    """By Pareto rank of score against cost, then by score.

    Raises:
        MissingExtra: moocore is not installed.
    """
    return [candidate for front in _fronts(candidates) for candidate in sorted(front, key=_merit)]


def by_score(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The best on the validation set, whatever it costs."""
    return sorted(candidates, key=_merit)


def by_cover(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Each is the best of those left for the examples that the chosen ones do not answer well: so they complement each
    other (co-evolution).

    The first is the one that answers best in all. An example counts `1 / (1 + s)` then, `s` being the sum of its
    worths to those that were chosen: as voters do in Thiele's sequential method (1895), which makes the choice
    proportional.

    Raises:
        NetmorphError: a candidate was not asked about each example.
    """
    left, chosen = by_score(candidates), list[Candidate]()
    worths = {candidate.id: _worths(candidate) for candidate in left}
    answered: Any = 0.0
    while left:
        gains = [float((worths[candidate.id] / (1 + answered)).sum()) for candidate in left]
        chosen.append(left.pop(int(np.argmax(gains))))  # of equals, the first by merit
        answered = answered + worths[chosen[-1].id]
    return chosen


def select(candidates: Sequence[Candidate], count: int, per_family: int, order: Order = by_volume) -> list[int]:
    """The ids of the first `count` candidates in an order.

    At most `per_family` of one family are taken, as long as there are others: related networks make the same mistakes.
    """
    ordered = order(candidates)
    places = Counter[int]()
    within, beyond = list[int](), list[int]()
    for candidate in ordered:
        places[candidate.family] += 1
        (within if places[candidate.family] <= per_family else beyond).append(candidate.id)
    chosen = {*[*within, *beyond][:count]}
    return [candidate.id for candidate in ordered if candidate.id in chosen]


def _merit(candidate: Candidate) -> tuple[float, float, float]:
    return -candidate.score, candidate.loss, candidate.cost


def _fronts(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Those that nothing beats in score and cost, then those that nothing else beats, and so on."""
    moocore = require("moocore", "evolve")
    if not candidates:
        return []
    points = np.array([(-candidate.score, candidate.cost) for candidate in candidates])
    ranks = [int(rank) for rank in moocore.pareto_rank(points)]
    fronts: list[list[Candidate]] = [[] for _ in range(max(ranks) + 1)]
    for rank, candidate in zip(ranks, candidates, strict=True):
        fronts[rank].append(candidate)
    return fronts


def _thinned(front: Sequence[Candidate], floor: float) -> list[Candidate]:
    """One front, the most dispensable last; its best score comes first."""
    # Up the front; of equals the one of the least loss last, which stays.
    left = sorted(front, key=lambda candidate: (candidate.cost, candidate.score, -candidate.loss))
    gone: list[Candidate] = []
    while len(left) > 1:
        scores = np.array([floor, *(candidate.score for candidate in left)])
        costs = np.array([candidate.cost for candidate in left])
        volumes = np.diff(costs) * np.diff(scores)[:-1]
        gone.append(left.pop(int(volumes.argmin())))
    return [*left, *reversed(gone)]


def _worths(candidate: Candidate) -> NDArray[np.float64]:
    if candidate.worths is None:
        raise NetmorphError(
            f"networks are chosen by their answers to each example, and those of network {candidate.id} were not kept; "
            "its training has to put them on the store"
        )
    return candidate.worths
