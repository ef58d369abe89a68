"""What is searched, apart from how: one set of nouns for networks that are trained and for tables of trained ones.

    space     which points there are: a random one, the moves of one, what it costs, numbers that describe it
    point     a network: one that is there (`netmorph.policy.network_space`), or a row of a table (`.table`)
    move      a change of a point: of what kind, where, and the point that comes of it
    judge     what a point is worth: a training, or a look into the table
    policy    which points are judged next, from what was judged so far: the only place that decides

A policy never sees the judge, and a space never sees what was judged. A policy keeps nothing between two calls: what it
has learnt follows from the records, so a search that was killed goes on from them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from netmorph.errors import NetmorphError

Point = TypeVar("Point", bound=Hashable)
FOUND = ("random", "")  # kind and place of what no move has made


class SearchError(NetmorphError):
    """A search cannot be made as it was asked for."""


class Move(NamedTuple, Generic[Point]):
    """A change of a point.

    Attributes:
        kind: of change, "widen" say: what a bandit tells apart, together with the place.
        place: the layer or group that changes.
        to: the point that comes of it.
    """

    kind: str
    place: str
    to: Point


@dataclass(frozen=True)
class Judged(Generic[Point]):
    """A point whose worth is known.

    Attributes:
        score: more is better.
        cost: less is better; known before any training: FLOPs, parameters.
        kind, place: of the move that made it.
    """

    point: Point
    score: float
    cost: float
    kind: str
    place: str


class Space(Protocol[Point]):
    """The points that a search may go to."""

    def random(self, generator: np.random.Generator) -> Point:
        """A point for a search to start from."""
        ...

    def moves(self, point: Point, generator: np.random.Generator) -> Iterator[Move[Point]]:
        """Changes of a point in random order, each made when it is asked for: all there are, or some."""
        ...

    def cost(self, point: Point) -> float:
        """What using the point costs."""
        ...

    def features(self, point: Point) -> NDArray[np.float64]:
        """Numbers that describe it, `[features]` of the same length for all points: near points behave alike."""
        ...


Policy = Callable[[Space[Point], Sequence[Judged[Point]], np.random.Generator], Sequence[Move[Point]]]
Judge = Callable[[Point], float]


def explore(
    space: Space[Point],
    judge: Judge[Point],
    policy: Policy[Point],
    budget: int,
    generator: np.random.Generator,
    founders: int = 10,
) -> list[Judged[Point]]:
    """Judge random founders, then what the policy asks for, until so many points were judged.

    A point that a policy asks for again counts again.

    Args:
        budget: how many points are judged; what a policy asks for beyond is left out.
        founders: how many points are drawn at random first; at least 1.

    Returns:
        All that was judged, in its order.

    Raises:
        SearchError: the budget or the founders are no positive numbers, or the policy has asked for nothing.
    """
    if min(budget, founders) < 1:
        raise SearchError(f"budget and founders must be at least 1, got {budget} and {founders}")
    judged: list[Judged[Point]] = []
    asked: Sequence[Move[Point]] = [Move(*FOUND, space.random(generator)) for _ in range(founders)]
    while asked:
        for kind, place, point in asked[: budget - len(judged)]:
            judged.append(Judged(point, judge(point), space.cost(point), kind, place))
        if len(judged) == budget:
            return judged
        asked = policy(space, judged, generator)
    raise SearchError(f"the policy {policy!r} asked for nothing after {len(judged)} of {budget} points")
