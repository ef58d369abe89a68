"""Networks as a space: moves are edits that proposals draw, and a child keeps what its parent has learnt."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from netmorph.graph import Graph, trace
from netmorph.measure.cost import cost
from netmorph.policy.mutation import Mutation, mutate
from netmorph.policy.spaces import Move


@dataclass(frozen=True, eq=False)
class Network:
    """A point: one network with its weights. Two of the same structure are two points."""

    graph: Graph


@dataclass(frozen=True)
class Networks:
    """What edits make of a start network.

    Attributes:
        start: traced on at least two inputs; it is never changed.
        mutation: what edits are drawn from, and their bounds. A random network has as many as a child of it; a move is
            one.
        menu: how many moves of a network are offered; each is a network that is made.
    """

    start: Graph
    mutation: Mutation = field(default_factory=Mutation)
    menu: int = 16

    def random(self, generator: np.random.Generator) -> Network:
        """The start network with some edits."""
        return Network(mutate(_copied(self.start), generator, self.mutation))

    def moves(self, point: Network, generator: np.random.Generator) -> Iterator[Move[Network]]:
        """The network with one edit more, of its weights as they are when it is asked for; none where none fits."""
        single = replace(self.mutation, edits=1)
        for _ in range(self.menu):
            edited = mutate(_copied(point.graph), generator, single)
            if len(edited.journal) > len(point.graph.journal):
                told = edited.journal[-1].edit
                yield Move(told.kind, told.layer, Network(edited))

    def cost(self, point: Network) -> float:
        """FLOPs of a sample's forward pass; a multiply-add is two."""
        return cost(point.graph.model, point.graph.inputs).flops

    def features(self, point: Network) -> NDArray[np.float64]:
        """What the edits did, at each module of the start network: how often its width doubled, and layers that came.

        What lies in a module that an edit put in counts where that was put.
        """
        told = np.zeros((2, len(self._paths)))
        for entry in point.graph.journal:
            edit, place = entry.edit, self._place(entry.edit.layer)
            if edit.kind in ("widen", "narrow"):
                told[0, place] += math.log2(edit.after / edit.before)
            else:
                told[1, place] += 1 if edit.after > edit.before else -1
        return told.ravel()

    @cached_property
    def _paths(self) -> dict[str, int]:
        return {path: number for number, path in enumerate(self.start.modules)}

    def _place(self, layer: str) -> int:
        """Of the innermost module of the start network that holds the layer; the network itself holds all."""
        while layer and layer not in self._paths:
            layer = layer.rpartition(".")[0]
        return self._paths[layer]


def _copied(graph: Graph) -> Graph:
    return trace(copy.deepcopy(graph.model), graph.inputs, graph.journal)
