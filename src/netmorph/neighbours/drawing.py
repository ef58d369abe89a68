"""Small edits around a network, in both directions, so that they cost about as much as it does."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from netmorph.errors import EditError
from netmorph.graph import Graph, trace
from netmorph.measure.cost import parameters
from netmorph.measure.prediction import predict_flops
from netmorph.neighbours.layers import less, more
from netmorph.neighbours.room import Room
from netmorph.neighbours.steps import OUT, WIDTHS, resized, walk
from netmorph.neighbours.values import ITSELF, Neighbour, NeighbourError, Step

TRIES = 12  # draws of a kind, of which none is a new neighbour, before there are no more of it
SHOWN = 4  # widths that are told one by one


@dataclass(frozen=True)
class Reach:
    """How far neighbours may be.

    Attributes:
        flops: that are wanted, of a forward on the example inputs.
        tolerance: by which they may be missed, as a share.
        step: the largest factor by which the first width of an edit changes.
    """

    flops: int
    tolerance: float
    step: float

    def room(self, graph: Graph) -> Room:
        """The widths of a graph that make up for a cost."""
        return Room(graph, self.flops, self.tolerance)


# Draws steps from a graph to a neighbour, or finds none.
Draw = Callable[[Graph, Reach, np.random.Generator], Sequence[Step] | None]


def trade(graph: Graph, reach: Reach, generator: np.random.Generator) -> Sequence[Step] | None:
    """One group gets wider or narrower, and another one makes up for it."""
    first = _moved(reach, graph, bool(generator.integers(2)), generator)
    if first is None:
        return None
    (name, width), *_ = first.items()
    both = reach.room(graph).balanced(first, generator, down=width > graph.groups[name].size)
    return None if both is None else [resized(graph, both)]


def deeper(graph: Graph, reach: Reach, generator: np.random.Generator) -> Sequence[Step] | None:
    """A layer, or a block, more; all widths make up for it."""
    found = more(graph)
    if not found:
        return None
    kind = [*found][generator.integers(len(found))]
    layer = found[kind][generator.integers(len(found[kind]))]
    return _made_up([Step(kind, layer)], graph, reach, generator)


def shallower(graph: Graph, reach: Reach, generator: np.random.Generator) -> Sequence[Step] | None:
    """A layer, or a block, less; all widths make up for it."""
    found = less(graph)
    return _made_up(found[generator.integers(len(found))], graph, reach, generator) if found else None


def wider(graph: Graph, reach: Reach, generator: np.random.Generator) -> Sequence[Step] | None:
    """One group gets wider, and the network costs more."""
    widths = _moved(reach, graph, True, generator)
    return None if widths is None else [resized(graph, widths)]


def narrower(graph: Graph, reach: Reach, generator: np.random.Generator) -> Sequence[Step] | None:
    """One group gets narrower, and the network costs less."""
    widths = _moved(reach, graph, False, generator)
    return None if widths is None else [resized(graph, widths)]


KINDS: Mapping[str, Draw] = {
    "trade": trade,
    "deeper": deeper,
    "shallower": shallower,
    "wider": wider,
    "narrower": narrower,
}
# In which they are drawn, again and again: half of all are trades.
ORDER = ("trade", "deeper", "shallower", "trade", "wider", "trade", "narrower", "trade")
OF_OTHER_COST = ("wider", "narrower")


def neighbours(
    graph: Graph, count: int, tolerance: float, generator: np.random.Generator, step: float = 1.5, moves: int = 1
) -> tuple[Neighbour, ...]:
    """The network itself, and distinct networks around it; the graph's model is not touched.

    Trades, and layers more or less, cost as many FLOPs as the network, within the tolerance. Single groups that get
    wider or narrower cost what comes of it.

    Args:
        count: as many as can be drawn, and no more than this.
        tolerance: a share of the network's FLOPs.
        generator: draws them.
        step: the largest factor by which the first width of an edit changes, above 1.
        moves: so many edits of one kind make a neighbour: of a network of many groups one is hardly felt.

    Raises:
        NeighbourError: there are none.
    """
    reach = Reach(predict_flops(graph).at(), tolerance, step)
    itself = Neighbour(ITSELF, "itself", "the network itself", (), parameters(graph.model), _flops(graph))
    found = [itself]
    known, directions = {_structure(graph.model)}, set[object]()
    for once in (True, False):  # one in each direction, and then others that differ from these by widths alone
        left = dict.fromkeys(ORDER, TRIES)
        for kind in cycle(ORDER):
            if len(found) > count or not any(left.values()):
                break
            while left[kind]:
                left[kind] -= 1
                made, steps = _moves(graph, KINDS[kind], reach, generator, moves)
                if made is None or _structure(made.model) in known or (once and _direction(steps) in directions):
                    continue
                flops = _flops(made)
                if kind not in OF_OTHER_COST and abs(flops / itself.flops - 1) > tolerance:
                    continue
                known.add(_structure(made.model))
                directions.add(_direction(steps))
                found.append(Neighbour(len(found), kind, told(steps), steps, parameters(made.model), flops))
                left[kind] = TRIES
                break
    if len(found) == 1:
        free = len(graph.editable())
        raise NeighbourError(
            f"{type(graph.model).__name__} has no neighbour: {free} of its {len(graph.groups)} groups of channels may "
            f"change, and no edit costs the same within {tolerance:.0%} FLOPs. Allow a larger tolerance, or a larger "
            "step; `netmorph groups` tells what may change"
        )
    return tuple(found)


def told(steps: Sequence[Step]) -> str:
    """Steps for people: the widths one by one, of more than a few their mean factor."""
    words = {"identity": "a layer more behind", "residual": "a block more behind", "copy": "a copy of", OUT: "without"}
    parts = []
    for step in steps:
        if step.kind != WIDTHS:
            parts.append(f"{words[step.kind]} {step.layer}")
            continue
        factors = {name: width / step.before[name] for name, width in step.widths.items()}
        up = sum(factor > 1 for factor in factors.values())
        if len(factors) <= SHOWN:
            parts.append(", ".join(f"{name} {step.before[name]} → {width}" for name, width in step.widths.items()))
        elif up in (0, len(factors)):
            parts.append(f"{len(factors)} widths × {math.prod(factors.values()) ** (1 / len(factors)):.2f}")
        else:
            parts.append(f"{up} widths up, {len(factors) - up} down")
    return "; ".join(parts)


def _moves(
    graph: Graph, draw: Draw, reach: Reach, generator: np.random.Generator, moves: int
) -> tuple[Graph | None, tuple[Step, ...]]:
    """So many draws one after another, on copies; no graph where one of them finds nothing."""
    made: Graph | None = graph
    steps: tuple[Step, ...] = ()
    for _ in range(moves):
        drawn = None if made is None else draw(made, reach, generator)
        if drawn is None:
            return None, ()
        steps = _merged((*steps, *drawn))
        made = _made(graph, steps)
    return made, steps


def _merged(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The same with one step for widths that change one after another."""
    merged: list[Step] = []
    for step in steps:
        if merged and merged[-1].kind == step.kind == WIDTHS:
            last = merged.pop()
            widths, before = {**last.widths, **step.widths}, {**step.before, **last.before}
            changed = [name for name, width in widths.items() if width != before[name]]
            step = Step(WIDTHS, "", {name: widths[name] for name in changed}, {name: before[name] for name in changed})
        merged.append(step)
    return tuple(merged)


def _made_up(
    steps: Sequence[Step], graph: Graph, reach: Reach, generator: np.random.Generator
) -> Sequence[Step] | None:
    """The steps, and widths after them that bring the cost back."""
    made = _made(graph, steps)
    widths = None if made is None else reach.room(made).scaled(generator)
    if made is None or widths is None:
        return None
    return [*steps, resized(made, widths)] if widths else steps


def _moved(reach: Reach, graph: Graph, up: bool, generator: np.random.Generator) -> dict[str, int] | None:
    """A random group at a random width on one side of its own."""
    room = reach.room(graph)
    ends = {name: room.ends(group) for name, group in room.groups.items()}
    names = [name for name, (low, high) in ends.items() if (high if up else low) != room.groups[name].size]
    if not names:
        return None
    group = room.groups[names[generator.integers(len(names))]]
    low, high = ends[group.name]
    factor = generator.uniform((1 + reach.step) / 2, reach.step)
    width = max(round(group.size * factor), group.size + 1) if up else min(round(group.size / factor), group.size - 1)
    return {group.name: min(high, max(low, width))}


def _made(graph: Graph, steps: Sequence[Step]) -> Graph | None:
    """The neighbour on a copy of the network; None where a step is not possible."""
    with contextlib.suppress(EditError):
        return walk(trace(copy.deepcopy(graph.model), graph.inputs, auxiliary=graph.auxiliary), steps)
    return None


def _direction(steps: Sequence[Step]) -> object:
    """Which layers come in or go out; or which groups get wider, and which narrower."""
    layers = tuple((step.kind, step.layer) for step in steps if step.kind != WIDTHS)
    changed = [(name, width > step.before[name]) for step in steps for name, width in step.widths.items()]
    return layers or frozenset(changed)


def _structure(model: nn.Module) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, tuple(parameter.shape)) for name, parameter in model.named_parameters())


def _flops(graph: Graph) -> int:
    """Of one sample; each example input is one."""
    samples = next(len(leaf) for leaf in tree_leaves(graph.inputs) if isinstance(leaf, Tensor) and leaf.dim())
    return predict_flops(graph).at() // samples
