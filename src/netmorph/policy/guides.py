"""Guides: which of some edits is made. What a guide has learnt is bound to it, so that it travels with a birth.

A guide is a function of a `Menu` and a generator; it returns the numbers of all edits of the menu, in the order in
which they are tried: the first one that can be made is. Guides that look at data find batches and a loss with the
menu. Guides that learn are made of what was `Tried`; they keep nothing, so a search that was killed learns the same
again from its records.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from netmorph.graph import Role
from netmorph.graph.journal import Description
from netmorph.measure.spectrum import Spectrum, effective_rank, of_gram
from netmorph.observe.samples import channel_sums
from netmorph.policy.menus import Menu, Slope
from netmorph.policy.searches import thompson, unbeaten
from netmorph.policy.surrogate import below_the_best, fit, front_gain

Guide = Callable[[Menu, np.random.Generator], Sequence[int]]


class Made(NamedTuple):
    """An edit, as records and journals tell it.

    Attributes:
        kind: "widen", say.
        place: path of the layer, or name of the group.
        before, after: widths, or counts of layers; of a layer that was put in 0 and its width.
    """

    kind: str
    place: str
    before: int
    after: int


@dataclass(frozen=True)
class Tried:
    """A network of the search, trained.

    Attributes:
        edits: that made it from the start network, the oldest first.
        new: how many of the last of these made it from its parent.
        trainings: how many times in a row what it inherits was trained.
        score: more is better.
        flops: of a sample's forward pass.
    """

    edits: tuple[Made, ...]
    new: int
    trainings: int
    score: float
    flops: int
    parameters: int


# -- by gradients -----------------------------------------------------------------------------------------------------


def gradient(menu: Menu, generator: np.random.Generator) -> list[int]:
    """Where the loss asks for it most: by the squared gradient that a new parameter brings, on average.

    That is what GradMax makes large (Evci et al., arXiv 2201.05125), of the weights as the edit sets them. Edits that
    take parameters away come by how little the loss rises for each. Kinds are drawn.
    """
    before = menu.slope(menu.samples.graph.model)
    children = map(menu.child, range(len(menu.edits)))
    values = [-math.inf if child is None else _asked_for(before, menu.slope(child)) for child in children]
    return menu.kind_by_kind(generator.permutation(len(values)), values)


def _asked_for(before: Slope, after: Slope) -> float:
    more = after.parameters - before.parameters
    if more > 0:
        return (after.steepness - before.steepness) / more
    return (before.loss - after.loss) / max(1, -more)


# -- by ranks ---------------------------------------------------------------------------------------------------------


def rank(menu: Menu, generator: np.random.Generator) -> list[int]:
    """Grow where features use all their directions, narrow where they use few; kinds are drawn.

    The measure is the effective rank of what the readers of a group see, about its mean, as a share of the width. An
    edit of what is no group counts where the last group before it stands.
    """
    return _by_group(menu, generator, _rank_shares(menu))


def _by_group(menu: Menu, generator: np.random.Generator, asked: Mapping[str, float]) -> list[int]:
    """Growth first where a number is high, the reverse where it is low; kinds are drawn.

    Args:
        asked: the number, by group.
    """
    order = [*menu.samples.graph.modules]
    values = []
    for told in menu.told:
        value = asked.get(told.layer, _last_before(told.layer, order, asked))
        values.append(value if told.after > told.before else -value)
    return menu.kind_by_kind(generator.permutation(len(values)), values)


def _rank_shares(menu: Menu) -> dict[str, float]:
    """By group: effective rank over width, the mean over its readers."""
    found: dict[str, list[float]] = {}
    for (group, _, _), seen in menu.samples.seen.items():
        width = len(seen.shift)
        spectrum = Spectrum(of_gram(seen.covariance), width, width, torch.finfo(torch.float32).eps)
        found.setdefault(group, []).append(effective_rank(spectrum) / width)
    return {group: math.fsum(shares) / len(shares) for group, shares in found.items()}


def _last_before(path: str, order: Sequence[str], shares: Mapping[str, float]) -> float:
    """The number of the last group that is named by a module up to this one; the mean of all where there is none."""
    reached = order[: order.index(path) + 1] if path in order else []
    found = next((shares[other] for other in reversed(reached) if other in shares), None)
    return math.fsum(shares.values()) / max(1, len(shares)) if found is None else found


# -- by the trend of gradients ----------------------------------------------------------------------------------------


def trend(menu: Menu, generator: np.random.Generator) -> list[int]:
    """Grow where gradients are as large in the last channels as in the first, narrow where they die out; kinds are
    drawn.

    Widening appends channels, so a higher index is a later one: where the last ones are still asked to move as much as
    the first, the loss asks for more of them. An edit of what is no group counts where the last group before it stands.
    """
    trends = dict[str, float]()
    for group in menu.samples.graph.editable():
        sites = [site for site in group.where(Role.WRITE) if site.tensor in menu.gradients]
        squares = torch.zeros(group.size, dtype=torch.float64)
        for site in sites:
            squares += channel_sums(menu.gradients[site.tensor].square(), site, group.atom)
        trends[group.name] = trend_of(squares.sqrt())
    return _by_group(menu, generator, trends)


def trend_of(values: Tensor) -> float:
    """By how much of their mean values `[n]` change from the first to the last, by least squares; -2 if they come to
    nothing."""
    mean, position = values.mean(), torch.linspace(-0.5, 0.5, len(values), dtype=values.dtype)
    return float(position @ values / position.square().sum() / mean) if len(values) > 1 and mean > 0 else 0.0


# -- by what paid before ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rates:
    """Thompson sampling over kinds and places, see `netmorph.policy.Bandit`: the rates of success are drawn.

    Groups of different networks are the same place where they have the same name.

    Attributes:
        made, paid: by kind and place, how many edits were made, and how many of them made a network that nothing before
            had beaten in score and FLOPs.
    """

    made: Mapping[tuple[str, str], int] = field(default_factory=dict)
    paid: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @classmethod
    def of(cls, tried: Sequence[Tried]) -> Rates:
        """What earlier networks teach, in the order in which they were made."""
        made, paid = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        good = unbeaten([one.score for one in tried], [one.flops for one in tried])
        for one, pays in zip(tried, good, strict=True):
            for edit in one.edits[len(one.edits) - one.new :]:
                made[edit.kind, edit.place] += 1
                paid[edit.kind, edit.place] += pays
        return cls(dict(made), dict(paid))

    def __call__(self, menu: Menu, generator: np.random.Generator) -> list[int]:
        """See `Guide`."""
        drawn = thompson([(told.kind, told.layer) for told in menu.told], self.made, self.paid, generator)
        return [int(number) for number in np.argsort(-drawn, kind="stable")]


# -- by what a model expects ------------------------------------------------------------------------------------------

LATEST = 200  # networks that a model is fitted on
FEWEST = 5


@dataclass(frozen=True)
class Expected:
    """The edits of which a Gaussian process expects the largest growth of the front, see `netmorph.policy.Surrogate`.

    A network is described by its size, by how often what it has was trained, and by what its edits did at each place:
    how often the width doubled, and layers that came. What an edit would cost is known before it is made.

    Attributes:
        places: that features tell apart, in their order.
        features: of each network that was tried.
        scores, costs: of the same; costs are logarithms of FLOPs, to base 2.
        trainings: of what is to be made.
    """

    places: tuple[str, ...] = ()
    features: tuple[tuple[float, ...], ...] = ()
    scores: tuple[float, ...] = ()
    costs: tuple[float, ...] = ()
    trainings: int = 1

    @classmethod
    def of(cls, tried: Sequence[Tried]) -> Expected:
        """What the latest networks teach."""
        latest = tried[-LATEST:]
        places = tuple(sorted({edit.place for one in latest for edit in one.edits}))
        return cls(
            places,
            tuple(_features(places, one.edits, one.trainings, one.parameters, one.flops) for one in latest),
            tuple(one.score for one in latest),
            tuple(math.log2(one.flops) for one in latest),
            max((one.trainings for one in latest), default=1),
        )

    def __call__(self, menu: Menu, generator: np.random.Generator) -> list[int]:
        """See `Guide`. As long as too little was tried, any order."""
        turns: list[int] = generator.permutation(len(menu.edits)).tolist()
        if len(self.scores) < FEWEST:
            return turns
        before = [made_by(entry.edit) for entry in menu.samples.graph.journal]
        sizes = {number: size for number, size in enumerate(menu.sizes) if size is not None}
        offered = [
            _features(self.places, [*before, made_by(menu.told[number])], self.trainings, *size)
            for number, size in sizes.items()
        ]
        if not offered:
            return turns
        values, costs = below_the_best(_tensor(self.scores)), _tensor(self.costs)
        means, deviations = fit(_tensor(self.features), values)(_tensor(offered))
        taken = _tensor([math.log2(flops) for _, flops in sizes.values()])
        gains = dict(zip(sizes, front_gain(means, deviations, taken, values, costs).tolist(), strict=True))
        return sorted(turns, key=lambda number: -gains.get(number, -math.inf))


def made_by(told: Description) -> Made:
    """An edit that a network's journal tells of."""
    return Made(told.kind, told.layer, told.before, told.after)


def _features(
    places: Sequence[str], edits: Iterable[Made], trainings: int, parameters: int, flops: int
) -> tuple[float, ...]:
    doublings, layers = dict.fromkeys(places, 0.0), dict.fromkeys(places, 0.0)
    for kind, place, before, after in edits:
        if kind in ("widen", "narrow"):
            doublings[place] = doublings.get(place, 0.0) + math.log2(after / before)
        else:  # `after` may be the width of the new layer
            layers[place] = layers.get(place, 0.0) + (1.0 if after > before else -1.0)
    by_place = (table[place] for table in (doublings, layers) for place in places)
    return (math.log2(parameters), math.log2(flops), float(trainings), *by_place)


def _tensor(values: Sequence[object]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
