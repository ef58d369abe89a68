"""Which networks live on."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from netmorph.errors import require


class Candidate(NamedTuple):
    """A trained network: its score on the validation set (high is good), FLOPs and validation loss (low is good).

    Networks of one family descend from the same start.
    """

    id: int
    score: float
    flops: float
    loss: float
    family: int


def select(candidates: Sequence[Candidate], count: int, per_family: int) -> list[int]:
    """The ids of the best `count` candidates, best first: by Pareto rank of score against FLOPs, then by score.

    So a network that is beaten on both counts lives on only if too few are not, and of a long front the good
    end is kept. Equal scores are told apart by their loss, then by FLOPs. At most `per_family` of one family are
    taken, as long as there are others: related networks make the same mistakes.

    Raises:
        MissingExtra: moocore is not installed.
    """
    ranked = sorted(
        zip(_pareto_ranks(candidates), candidates, strict=True),
        key=lambda pair: (pair[0], -pair[1].score, pair[1].loss, pair[1].flops),
    )
    order = [candidate for _, candidate in ranked]
    places = Counter[int]()
    within: list[Candidate] = []
    beyond: list[Candidate] = []
    for candidate in order:
        places[candidate.family] += 1
        (within if places[candidate.family] <= per_family else beyond).append(candidate)
    chosen = [*within, *beyond][:count]
    return [candidate.id for candidate in order if candidate in chosen]


def contenders(candidates: Sequence[Candidate], count: int) -> list[Candidate]:
    """Those that `select` may yet take, whatever joins them, where each family is of one network.

    Behind the first `count` Pareto fronts nothing is ever among the best `count`: ranks only grow as others join.

    Raises:
        MissingExtra: moocore is not installed.
    """
    ranks = _pareto_ranks(candidates)
    return [candidate for rank, candidate in zip(ranks, candidates, strict=True) if rank < count]


def _pareto_ranks(candidates: Sequence[Candidate]) -> list[int]:
    """The front of each candidate, from 0: score against FLOPs."""
    moocore = require("moocore", "evolve")
    if not candidates:
        return []
    points = np.array([(-candidate.score, candidate.flops) for candidate in candidates])
    return [int(rank) for rank in moocore.pareto_rank(points)]
