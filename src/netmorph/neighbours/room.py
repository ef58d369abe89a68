"""What the widths of a network's groups cost, and how they make up for a cost that is wanted: nothing is built here."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from netmorph.edit.width import misfits
from netmorph.graph import Graph, Group
from netmorph.measure.prediction import Prediction, predict_flops

FARTHEST = 2.0  # no group of a neighbour is wider or narrower by more than this factor
HALVINGS = 24
Widths = dict[str, int]


@dataclass(frozen=True, eq=False)
class Room:
    """The widths that a graph's groups may take in a neighbour.

    Attributes:
        graph: of the network whose widths are to change.
        target: FLOPs of a forward on the example inputs that are wanted.
        tolerance: the share by which they may be missed.
    """

    graph: Graph
    target: int
    tolerance: float

    @cached_property
    def groups(self) -> dict[str, Group]:
        """Those that may change, by name."""
        return {group.name: group for group in self.graph.editable() if self.ends(group) != (group.size, group.size)}

    @cached_property
    def prediction(self) -> Prediction:
        """Of the FLOPs."""
        return predict_flops(self.graph)

    def flops(self, widths: Mapping[str, int]) -> int:
        """At some groups' widths, the others as they are."""
        return self.prediction.at({self.graph.groups[name].atom: width for name, width in widths.items()})

    def fits(self, widths: Mapping[str, int]) -> bool:
        """Whether they cost what is wanted."""
        return abs(self.flops(widths) / self.target - 1) <= self.tolerance

    def ends(self, group: Group) -> tuple[int, int]:
        """The smallest and the largest width: where no way to widen is exact, the group gets no wider."""
        least = max(1, group.least, math.ceil(group.size / FARTHEST))
        most = math.floor(group.size * FARTHEST)
        if group.most is not None:
            most = min(most, group.most)
        if misfits(self.graph, group, group.size + 1):
            most = group.size
        return min(least, group.size), max(most, group.size)

    def balanced(self, widths: Widths, generator: np.random.Generator, down: bool | None = None) -> Widths | None:
        """The widths with one more group changed, a random one of those that bring the cost to what is wanted.

        Args:
            down: whether that group gets narrower; None is either way.
        """
        others = [name for name in self.groups if name not in widths]
        for place in generator.permutation(len(others)):
            group = self.groups[others[place]]
            low, high = self.ends(group)
            if down is not None:
                low, high = (low, group.size - 1) if down else (group.size + 1, high)
            found = self._nearest(widths, group.name, low, high)
            if found is not None and found[group.name] != group.size:
                return found
        return None

    def scaled(self, generator: np.random.Generator) -> Widths | None:
        """All widths times one factor, so that the cost is what is wanted; where that is coarse, one bears the rest.

        Returns:
            The widths that change, none perhaps; None where no factor does it.
        """
        low, high = 1 / FARTHEST, FARTHEST
        for _ in range(HALVINGS):
            middle = math.sqrt(low * high)
            if self.flops(self._times(middle)) < self.target:
                low = middle
            else:
                high = middle
        for widths in ({}, self._times(low), self._times(high)):
            if self.fits(widths):
                return widths
            for name in widths:
                found = self._nearest(widths, name, *self.ends(self.groups[name]))
                if found is not None:
                    return {other: width for other, width in found.items() if width != self.groups[other].size}
        return self.balanced(self._times(low), generator) or self.balanced(self._times(high), generator)

    def _nearest(self, widths: Widths, name: str, low: int, high: int) -> Widths | None:
        """With that width of one group which brings the cost nearest to what is wanted, if that is near enough."""
        if low > high:
            return None

        def at(width: int) -> int:
            return self.flops(widths | {name: width})

        above = low + bisect_left(range(low, high + 1), self.target, key=at)
        near = [width for width in (above - 1, above) if low <= width <= high]
        found = widths | {name: min(near, key=lambda width: abs(at(width) - self.target))}
        return found if self.fits(found) else None

    def _times(self, factor: float) -> Widths:
        widths = {}
        for name, group in self.groups.items():
            low, high = self.ends(group)
            width = min(high, max(low, round(group.size * factor)))
            if width != group.size:
                widths[name] = width
        return widths
