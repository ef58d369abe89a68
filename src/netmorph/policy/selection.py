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
    moocore = require("moocore", "evolve")
    if not candidates:
        return []
    points = np.array([(-candidate.score, candidate.flops) for candidate in candidates])
    ranks = moocore.pareto_rank(points)
    ranked = sorted(
        zip(ranks, candidates, strict=True), key=lambda pair: (pair[0], -pair[1].score, pair[1].loss, pair[1].flops)
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
