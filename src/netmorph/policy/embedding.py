"""Search in a learnt space: a graph network places networks by their wiring, and points of that space are decoded.

Whenever the policy is asked, a small graph network learns on the search's own records to tell scores; what its last
layer sees of a network, a few numbers, is the network's place. A Gaussian process over places (`.surrogate`) says
what is expected of any of them, of places where no network is too. So one may look for the best place first, by
CMA-ES (Hansen 2016, arXiv 1604.00772), and walk to a network near it, or walk by what is expected alone. NAO (Luo et
al. 2018, arXiv 1808.07233) searches like that by gradients and has a decoder that writes networks; here moves decode,
so that whatever comes out is a network, and in a space of edits one that keeps what it has learnt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from netmorph.errors import require
from netmorph.policy.searches import Parents, at_random, front
from netmorph.policy.spaces import Judged, Move, Space
from netmorph.policy.surrogate import Fitted, Gain, below_the_best, fit, front_gain
from netmorph.policy.wiring import Wiring, stacked

Point = TypeVar("Point", bound=Hashable)

Place = Callable[[Sequence[Wiring]], Tensor]  # wirings -> places, float64 [wirings, numbers]
Learn = Callable[[Sequence[Wiring], Tensor, np.random.Generator], Place]  # from wirings and their values


# -- places -----------------------------------------------------------------------------------------------------------


class GraphNetwork(nn.Module):
    """Messages go along the edges and against them; the place of a network is told by the sums over its nodes.

    Args:
        numbers: of a node.
        width: of what a node holds.
        place: how many numbers a place has.
        rounds: of messages.
    """

    def __init__(self, numbers: int, width: int, place: int, rounds: int) -> None:
        super().__init__()
        self.first = nn.Linear(numbers, width)
        self.rounds = nn.ModuleList(nn.Linear(3 * width, width) for _ in range(rounds))
        self.place = nn.Linear(width, place)
        self.score = nn.Linear(place, 1)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Places `[wirings, place]` of nodes `[wirings, most, numbers]` and edges `[wirings, most, most]`."""
        there = nodes.any(-1, keepdim=True)
        held = torch.relu(self.first(nodes)) * there
        back, ahead = (e / e.sum(-1, keepdim=True).clamp(min=1) for e in (edges, edges.mT))
        for layer in self.rounds:
            heard = torch.cat([held, ahead @ held, back @ held], -1)
            held = (held + torch.relu(layer(heard))) * there
        placed: Tensor = self.place(held.sum(1))
        return placed


@dataclass(frozen=True)
class Learnt:
    """Places of a graph network that has learnt to tell values: so many steps of AdamW on all of them.

    Attributes:
        width, place, rounds: see `GraphNetwork`.
    """

    width: int = 24
    place: int = 8
    rounds: int = 2
    steps: int = 40

    def __call__(self, wirings: Sequence[Wiring], values: Tensor, generator: np.random.Generator) -> Place:
        """See `Learn`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator.integers(2**62)))
            network = GraphNetwork(wirings[0].nodes.shape[1], self.width, self.place, self.rounds)
        batch = stacked(wirings)
        wanted = ((values - values.mean()) / (values.std() + 1e-12)).float()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=1e-2)
        for _ in range(self.steps):
            optimizer.zero_grad()
            nn.functional.mse_loss(network.score(network(*batch)).squeeze(1), wanted).backward()
            optimizer.step()

        def placed(asked: Sequence[Wiring]) -> Tensor:
            with torch.no_grad():
                found: Tensor = network(*stacked(asked))
            return found.double()

        known = placed(wirings)
        centre, size = known.mean(0), float(known.std(0).norm()) / self.place**0.5 + 1e-12
        return lambda asked: (placed(asked) - centre) / size


# -- where to go ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Landscape:
    """What is expected of places.

    Attributes:
        scores, costs: models of both over places. Costs of networks are known; those of other places are not.
        gain: what is expected of a mean and a deviation at a cost, see `netmorph.policy.surrogate`.
        values, paid: values and costs of what was judged, and of what was chosen since, `[known]`.
    """

    scores: Fitted
    costs: Fitted
    gain: Gain
    values: Tensor
    paid: Tensor

    def of_networks(self, places: Tensor, costs: Tensor) -> Tensor:
        """Gains of networks at these places, of these costs; `[networks]`."""
        return self.gain(*self.scores(places), costs, self.values, self.paid)

    def of_places(self, places: Tensor) -> Tensor:
        """Gains of places, at the costs that networks there are expected to have; `[places]`."""
        return self.of_networks(places, self.costs(places)[0])

    def after(self, places: Tensor, costs: Tensor) -> Landscape:
        """The same, as if networks there had come to what is expected of them."""
        means, _ = self.scores(places)
        return replace(self, values=torch.cat([self.values, means]), paid=torch.cat([self.paid, costs]))


# From places and costs to what a walk climbs, `[networks]`.
Worth = Callable[[Tensor, Tensor], Tensor]
# What to climb, given what is expected, a place where a walk begins, `[numbers]`, and a generator.
Aim = Callable[[Landscape, Tensor, np.random.Generator], Worth]


def uphill(landscape: Landscape, begin: Tensor, generator: np.random.Generator) -> Worth:
    """Local search: what is expected of networks."""
    return landscape.of_networks


@dataclass(frozen=True)
class Cloud:
    """The best place that CMA-ES finds, and then towards it.

    Attributes:
        generations: how often its cloud is drawn.
        spread: of the first one; places have a deviation of about 1.
    """

    generations: int = 15
    spread: float = 0.5

    def __call__(self, landscape: Landscape, begin: Tensor, generator: np.random.Generator) -> Worth:
        """See `Aim`.

        Raises:
            MissingExtra: cmaes is not installed.
        """
        cmaes: Any = require("cmaes", "embed")
        cloud = cmaes.CMA(mean=begin.numpy(), sigma=self.spread, seed=int(generator.integers(2**31)))
        best, most = begin, -math.inf
        for _ in range(self.generations):
            drawn = np.stack([cloud.ask() for _ in range(cloud.population_size)])
            gains = landscape.of_places(torch.from_numpy(drawn))
            cloud.tell([(place, -gain) for place, gain in zip(drawn, gains.tolist(), strict=True)])
            if float(gains.max()) > most:
                best, most = torch.from_numpy(drawn[int(gains.argmax())]), float(gains.max())
        return lambda places, costs: -(places - best).norm(dim=1)


@dataclass(frozen=True)
class _Places(Generic[Point]):
    """Places and costs of points: each is worked out once."""

    space: Space[Point]
    place: Callable[[Sequence[Point]], Tensor]
    known: dict[Point, tuple[Tensor, float]] = field(default_factory=dict)

    def __call__(self, points: Sequence[Point]) -> tuple[Tensor, Tensor]:
        """`[points, numbers]` and `[points]`, float64."""
        if new := [point for point in dict.fromkeys(points) if point not in self.known]:
            costs = map(self.space.cost, new)
            self.known.update(zip(new, zip(self.place(new), costs, strict=True), strict=True))
        found = [self.known[point] for point in points]
        costs_of = torch.tensor([cost for _, cost in found], dtype=torch.float64)
        return torch.stack([place for place, _ in found]), costs_of


# -- the policy -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Embedded:
    """Networks at the places of which the most is expected.

    Attributes:
        wiring: of a point: `of_blocks`, `of_cells`, `of_network`, or a function of one's own.
        aim: what a walk by moves climbs: `uphill`, or towards a place, `Cloud()`.
        learn: how wirings come to places.
        parents: where walks begin.
        gain: what is expected of a network.
        pace: how many points are asked for at once, as a share of those judged; at least one.
        walks: for each point that is asked for.
        choice: at most so many moves are looked at in each step of a walk.
    """

    wiring: Callable[[Any], Wiring]
    aim: Aim = uphill
    learn: Learn = field(default_factory=Learnt)
    parents: Parents = front
    gain: Gain = front_gain
    pace: float = 0.2
    walks: int = 3
    choice: int = 32

    def __call__(
        self, space: Space[Point], judged: Sequence[Judged[Point]], generator: np.random.Generator
    ) -> list[Move[Point]]:
        """See `netmorph.policy.spaces.Policy`."""
        scores = torch.tensor([one.score for one in judged], dtype=torch.float64)
        paid = torch.tensor([one.cost for one in judged], dtype=torch.float64)
        values, known = below_the_best(scores), [self.wiring(one.point) for one in judged]
        place = self.learn(known, values, generator)
        places = place(known)
        landscape = Landscape(fit(places, values), fit(places, paid), self.gain, values, paid)
        at = _Places(space, lambda points: place([self.wiring(point) for point in points]))
        parents, seen = self.parents(judged), {one.point for one in judged}
        chosen: list[Move[Point]] = []
        for _ in range(max(1, int(self.pace * len(judged)))):
            begins = [judged[parents[one]].point for one in generator.integers(len(parents), size=self.walks)]
            worth = self.aim(landscape, at(begins)[0][0], generator)
            ends = [end for begin in begins for end in self._walk(at, begin, worth, seen, generator)]
            if ends:
                places, costs = at([move.to for move in ends])
                best = int(landscape.of_networks(places, costs).argmax())
                chosen.append(ends[best])
                seen.add(ends[best].to)
                landscape = landscape.after(places[best : best + 1], costs[best : best + 1])
        return chosen or at_random(space, judged, generator)

    def _walk(
        self, at: _Places[Point], begin: Point, worth: Worth, seen: set[Point], generator: np.random.Generator
    ) -> list[Move[Point]]:
        """The best on the way of a walk to the top that was not judged yet, with the last move to it; or nothing."""
        point, height = begin, float(worth(*at([begin])))
        best: list[Move[Point]] = []
        most = -math.inf
        while moves := [*islice(at.space.moves(point, generator), self.choice)]:
            heights = worth(*at([move.to for move in moves]))
            for move, told in zip(moves, heights.tolist(), strict=True):
                if told > most and move.to not in seen:
                    best, most = [move], told
            if float(heights.max()) <= height:
                break
            point, height = moves[int(heights.argmax())].to, float(heights.max())
        return best
