"""Policies that choose parents and draw moves of them: random, local search, ageing, mutation, a bandit over moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from netmorph.errors import require
from netmorph.policy.selection import Candidate, Order, by_volume, select
from netmorph.policy.spaces import FOUND, Judged, Move, Space

Point = TypeVar("Point", bound=Hashable)
TRIES = 20  # draws for a point that was not judged before

Parents = Callable[[Sequence[Judged[Any]]], Sequence[int]]  # the indices of those that children are made of


# -- parents ----------------------------------------------------------------------------------------------------------


def front(judged: Sequence[Judged[Any]]) -> list[int]:
    """All that no other beats in score and cost; of equals the first.

    Raises:
        MissingExtra: moocore is not installed.
    """
    moocore = require("moocore", "evolve")
    points = np.array([(-one.score, one.cost) for one in judged])
    return [int(index) for index in np.flatnonzero(moocore.is_nondominated(points))]


@dataclass(frozen=True)
class Best:
    """So many of the highest score."""

    count: int

    def __call__(self, judged: Sequence[Judged[Any]]) -> list[int]:
        """See `Parents`."""
        return sorted(range(len(judged)), key=lambda index: -judged[index].score)[: self.count]


@dataclass(frozen=True)
class Selected:
    """So many as `netmorph evolve` selects, see `netmorph.policy.selection`."""

    count: int
    order: Order = by_volume

    def __call__(self, judged: Sequence[Judged[Any]]) -> list[int]:
        """See `Parents`."""
        candidates = [Candidate(index, one.score, one.cost, 0.0, 0) for index, one in enumerate(judged)]
        return select(candidates, self.count, self.count, self.order)


# -- policies ---------------------------------------------------------------------------------------------------------


def at_random(
    space: Space[Point], judged: Sequence[Judged[Point]], generator: np.random.Generator
) -> list[Move[Point]]:
    """One random point that was not judged before."""
    return [Move(*FOUND, _new(space, {one.point for one in judged}, generator))]


@dataclass(frozen=True)
class Ageing:
    """One move of the best of a few drawn from the latest (regularized evolution, Real et al. 2019).

    Attributes:
        population: how many of the latest may have children.
        drawn: how many of them compete for each.
    """

    population: int = 20
    drawn: int = 5

    def __call__(
        self, space: Space[Point], judged: Sequence[Judged[Point]], generator: np.random.Generator
    ) -> list[Move[Point]]:
        """See `netmorph.policy.spaces.Policy`."""
        alive = judged[-self.population :]
        drawn = generator.integers(len(alive), size=self.drawn)
        parent = max((alive[index] for index in drawn), key=lambda one: one.score)
        return [*islice(space.moves(parent.point, generator), 1)]


def local_search(
    space: Space[Point], judged: Sequence[Judged[Point]], generator: np.random.Generator
) -> list[Move[Point]]:
    """A move of the best of this ascent; a random point where none of its moves is new, which begins the next.

    Goes to the first neighbour that is better (White et al. 2020, arXiv 2005.02960). The founders are one ascent.
    """
    begun = max(index for index, one in enumerate(judged) if (one.kind, one.place) == FOUND)
    best = max(judged[begun:], key=lambda one: one.score)
    seen = {one.point for one in judged}
    for move in space.moves(best.point, generator):
        if move.to not in seen:
            return [move]
    return [Move(*FOUND, _new(space, seen, generator))]


@dataclass(frozen=True)
class Mutate:
    """One random move of each of some parents, drawn evenly.

    Attributes:
        parents: who has children.
        children: how many are asked for at once.
    """

    parents: Parents = front
    children: int = 10

    def __call__(
        self, space: Space[Point], judged: Sequence[Judged[Point]], generator: np.random.Generator
    ) -> list[Move[Point]]:
        """See `netmorph.policy.spaces.Policy`."""
        seen, parents = {one.point for one in judged}, self.parents(judged)
        made: list[Move[Point]] = []
        for _ in range(self.children * TRIES):
            parent = judged[parents[int(generator.integers(len(parents)))]]
            made += [move for move in islice(space.moves(parent.point, generator), 1) if move.to not in seen]
            seen.update(move.to for move in made[-1:])
            if len(made) == self.children:
                break
        return made or at_random(space, judged, generator)


@dataclass(frozen=True)
class Bandit:
    """Moves drawn by what paid before: Thompson sampling over their kinds and places.

    A move has paid where its point was beaten by nothing that was judged before. Each kind at each place has a rate of
    success with a uniform prior; of a parent's moves, the one is made whose rate, drawn from what is known of it, is
    the highest.

    Attributes:
        parents: who has children.
        children: how many are asked for at once.
        choice: at most so many moves of a parent are looked at.
    """

    parents: Parents = front
    children: int = 10
    choice: int = 32

    def __call__(
        self, space: Space[Point], judged: Sequence[Judged[Point]], generator: np.random.Generator
    ) -> list[Move[Point]]:
        """See `netmorph.policy.spaces.Policy`."""
        made, paid = payoffs(judged)
        seen, parents = {one.point for one in judged}, self.parents(judged)
        chosen: list[Move[Point]] = []
        for _ in range(self.children):
            parent = judged[parents[int(generator.integers(len(parents)))]]
            moves = [move for move in islice(space.moves(parent.point, generator), self.choice) if move.to not in seen]
            if moves:
                drawn = thompson([(move.kind, move.place) for move in moves], made, paid, generator)
                chosen.append(moves[int(drawn.argmax())])
                seen.add(chosen[-1].to)
        return chosen or at_random(space, judged, generator)


def payoffs(judged: Sequence[Judged[Any]]) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
    """By kind and place: how many moves were made, and how many gave what nothing before it had beaten."""
    made, paid = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for one, good in zip(judged, unbeaten([one.score for one in judged], [one.cost for one in judged]), strict=True):
        made[one.kind, one.place] += 1
        paid[one.kind, one.place] += good
    return made, paid


def unbeaten(scores: Sequence[float], costs: Sequence[float]) -> list[bool]:
    """Of each in turn, whether none before it was as good at no higher cost."""
    told, paid = np.array(scores), np.array(costs)
    return [
        not ((told[:index] >= score) & (paid[:index] <= cost)).any()
        for index, (score, cost) in enumerate(zip(scores, costs, strict=True))
    ]


def thompson(
    asked: Sequence[tuple[str, str]],
    made: Mapping[tuple[str, str], int],
    paid: Mapping[tuple[str, str], int],
    generator: np.random.Generator,
) -> NDArray[np.float64]:
    """For each kind and place a rate of success, drawn from what is known of it after a uniform prior; `[asked]`."""
    wins = np.array([paid.get(arm, 0) for arm in asked])
    losses = np.array([made.get(arm, 0) for arm in asked]) - wins
    return generator.beta(1 + wins, 1 + losses)


def _new(space: Space[Point], seen: set[Point], generator: np.random.Generator) -> Point:
    """A random point that was not judged before, if a few draws find one."""
    for _ in range(TRIES):
        point = space.random(generator)
        if point not in seen:
            break
    return point
