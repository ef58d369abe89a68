"""Small edits around a network, in both directions, so that they cost about as much as it does."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle

import numpy as np
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from netmorph.edit import copy_block
from netmorph.edit.depth import identity
from netmorph.errors import EditError
from netmorph.graph import Graph, Value, trace
from netmorph.graph.axis import Atom, resolve
from netmorph.measure.cost import parameters
from netmorph.measure.prediction import predict_flops
from netmorph.neighbours.room import Room
from netmorph.neighbours.steps import OUT, WIDTHS, walk
from netmorph.neighbours.values import ITSELF, Neighbour, NeighbourError, Step
from netmorph.policy.places import behind_activations

TRIES = 12  # draws of a kind, of which none is a new neighbour, before there are no more of it
SHOWN = 3  # widths that are told one by one
# Draws steps to a neighbour of a graph, or finds none. The last argument is the largest factor of a width.
Draw = Callable[[Graph, float, float, np.random.Generator], Sequence[Step] | None]


def trade(graph: Graph, tolerance: float, step: float, generator: np.random.Generator) -> Sequence[Step] | None:
    """One group gets wider or narrower, and another one makes up for it."""
    room = _room(graph, graph, tolerance)
    first = _moved(room, bool(generator.integers(2)), step, generator)
    if first is None:
        return None
    (name, width), *_ = first.items()
    both = room.balanced(first, generator, down=width > graph.group(name).size)
    return None if both is None else [_widths(graph, both)]


def deeper(graph: Graph, tolerance: float, step: float, generator: np.random.Generator) -> Sequence[Step] | None:
    """A layer, or a block, more; all widths make up for it."""
    found = more(graph)
    if not found:
        return None
    kind = [*found][generator.integers(len(found))]
    layer = found[kind][generator.integers(len(found[kind]))]
    return _made_up([Step(kind, layer)], graph, tolerance, generator)


def shallower(graph: Graph, tolerance: float, step: float, generator: np.random.Generator) -> Sequence[Step] | None:
    """A layer, or a block, less; all widths make up for it."""
    found = less(graph)
    if not found:
        return None
    return _made_up(found[generator.integers(len(found))], graph, tolerance, generator)


def wider(graph: Graph, tolerance: float, step: float, generator: np.random.Generator) -> Sequence[Step] | None:
    """One group gets wider, and the network costs more."""
    widths = _moved(_room(graph, graph, tolerance), True, step, generator)
    return None if widths is None else [_widths(graph, widths)]


def narrower(graph: Graph, tolerance: float, step: float, generator: np.random.Generator) -> Sequence[Step] | None:
    """One group gets narrower, and the network costs less."""
    widths = _moved(_room(graph, graph, tolerance), False, step, generator)
    return None if widths is None else [_widths(graph, widths)]


# In the order in which they are drawn, again and again: half of all are trades.
KINDS: Mapping[str, Draw] = {
    "trade": trade,
    "deeper": deeper,
    "shallower": shallower,
    "wider": wider,
    "narrower": narrower,
}
ORDER = ("trade", "deeper", "shallower", "trade", "wider", "trade", "narrower", "trade")
OF_OTHER_COST = ("wider", "narrower")


def neighbours(
    graph: Graph, count: int, tolerance: float, generator: np.random.Generator, step: float = 1.5
) -> tuple[Neighbour, ...]:
    """The network itself, and distinct networks around it; the graph's model is not touched.

    Trades, and layers more or less, cost as many FLOPs as the network, within the tolerance. Single groups that get
    wider or narrower cost what comes of it.

    Args:
        count: as many as can be drawn, and no more than this.
        tolerance: a share of the network's FLOPs.
        generator: draws them.
        step: the largest factor by which the first width of an edit changes, above 1.

    Raises:
        NeighbourError: there are none.
    """
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
                steps = KINDS[kind](graph, tolerance, step, generator)
                if steps is None or (once and _direction(graph, steps) in directions):
                    continue
                made = _made(graph, steps)
                if made is None or _structure(made.model) in known:
                    continue
                flops = _flops(made)
                if kind not in OF_OTHER_COST and abs(flops / itself.flops - 1) > tolerance:
                    continue
                known.add(_structure(made.model))
                directions.add(_direction(graph, steps))
                found.append(Neighbour(len(found), kind, told(steps), tuple(steps), parameters(made.model), flops))
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


def more(graph: Graph) -> dict[str, list[str]]:
    """Where a layer can come in: by the kind of the step its layers."""
    places = behind_activations(graph)
    found: dict[str, list[str]] = {"identity": [], "residual": [*places], "copy": []}
    for path, again in places.items():
        with contextlib.suppress(EditError):
            # Without an activation of its own it would only be a product with its neighbour.
            if again and len(identity(graph, path).spec.parts[-1].parts) > 1:
                found["identity"].append(path)
    for path in _with_products(graph):
        with contextlib.suppress(EditError):
            copy_block(graph, path)
            found["copy"].append(path)
    return {kind: layers for kind, layers in found.items() if layers}


def less(graph: Graph) -> list[list[Step]]:
    """Which layers and blocks can go out: those that keep their input's shape, perhaps once it has as many channels."""
    found = []
    names = {group.atom: name for name, group in graph.groups.items()}
    free = {group.name for group in graph.editable()}
    for path in _with_products(graph):
        given, output = _given(graph, path), graph.recording.module_outputs[path]
        if given is None or len(given.shape) != len(output.shape):
            continue
        differing = [
            dim for dim, (one, other) in enumerate(zip(given.shape, output.shape, strict=True)) if one != other
        ]
        if not differing:
            found.append([Step(OUT, path)])
        elif len(differing) == 1:
            one, other = (_group(value, differing[0], names) for value in (given, output))
            if one in free and other in free:
                found.append([_widths(graph, {one: output.shape[differing[0]]}), Step(OUT, path)])
    return found


def told(steps: Sequence[Step]) -> str:
    """Steps for people: the widths one by one, of more than a few their mean factor."""
    words = {"identity": "a layer more behind", "residual": "a block more behind", "copy": "a copy of", OUT: "without"}
    parts = []
    for step in steps:
        if step.kind != WIDTHS:
            parts.append(f"{words[step.kind]} {step.layer}")
        elif len(step.widths) <= SHOWN:
            parts.append(", ".join(f"{name} {step.before[name]} → {width}" for name, width in step.widths.items()))
        else:
            logs = [math.log(width / step.before[name]) for name, width in step.widths.items()]
            parts.append(f"{len(logs)} widths × {math.exp(sum(logs) / len(logs)):.2f}")
    return "; ".join(parts)


def _made_up(
    steps: Sequence[Step], graph: Graph, tolerance: float, generator: np.random.Generator
) -> Sequence[Step] | None:
    """The steps, and widths after them that bring the cost back."""
    made = _made(graph, steps)
    if made is None:
        return None
    widths = _room(made, graph, tolerance).scaled(generator)
    if widths is None:
        return None
    return [*steps, _widths(made, widths)] if widths else steps


def _moved(room: Room, up: bool, step: float, generator: np.random.Generator) -> dict[str, int] | None:
    """A random group at a random width on one side of its own."""
    ends = {name: room.ends(group) for name, group in room.groups.items()}
    names = [name for name, (low, high) in ends.items() if (high if up else low) != room.groups[name].size]
    if not names:
        return None
    group = room.groups[names[generator.integers(len(names))]]
    low, high = ends[group.name]
    factor = generator.uniform(1 + (step - 1) / 2, step)
    width = round(group.size * factor) if up else round(group.size / factor)
    width = max(width, group.size + 1) if up else min(width, group.size - 1)
    return {group.name: min(high, max(low, width))}


def _room(graph: Graph, original: Graph, tolerance: float) -> Room:
    return Room(graph, predict_flops(original).at(), tolerance)


def _made(graph: Graph, steps: Sequence[Step]) -> Graph | None:
    """The neighbour on a copy of the network; None where a step is not possible."""
    with contextlib.suppress(EditError):
        return _after(graph, steps)
    return None


def _after(graph: Graph, steps: Sequence[Step]) -> Graph:
    return walk(trace(copy.deepcopy(graph.model), graph.inputs, auxiliary=graph.auxiliary), steps)


def _with_products(graph: Graph) -> Iterator[str]:
    """The modules inside which products are summed, and that return one tensor."""
    inside = [call.module for call in graph.recording.calls if call.contractions]
    for path in graph.recording.module_outputs:
        if path and any(f"{module}.".startswith(f"{path}.") for module in inside):
            yield path


def _given(graph: Graph, path: str) -> Value | None:
    """The one tensor that a module reads of what others computed; None where it reads several."""
    inside = [call for call in graph.recording.calls if f"{call.module}.".startswith(f"{path}.")]
    made = {value for call in inside for value in call.outputs}
    given = {value for call in inside for value in call.values if value.name is None} - made
    return given.pop() if len(given) == 1 else None


def _group(value: Value, dim: int, names: Mapping[Atom, str]) -> str | None:
    """The group that a dimension runs over, if it is one alone."""
    if not value.axes:
        return None
    axis = resolve(value.axes[dim])
    return names.get(axis[0]) if len(axis) == 1 and isinstance(axis[0], Atom) else None


def _direction(graph: Graph, steps: Sequence[Step]) -> object:
    """Which layer comes in or goes out; or which groups get wider, and which narrower."""
    layers = tuple((step.kind, step.layer) for step in steps if step.kind != WIDTHS)
    changed = [(name, width) for step in steps for name, width in step.widths.items()]
    return layers or frozenset((name, width > graph.groups[name].size) for name, width in changed)


def _structure(model: nn.Module) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, tuple(parameter.shape)) for name, parameter in model.named_parameters())


def _widths(graph: Graph, widths: Mapping[str, int]) -> Step:
    return Step(WIDTHS, widths=widths, before={name: graph.groups[name].size for name in widths})


def _flops(graph: Graph) -> int:
    """Of one sample; each example input is one."""
    samples = next(len(leaf) for leaf in tree_leaves(graph.inputs) if isinstance(leaf, Tensor) and leaf.dim())
    return predict_flops(graph).at() // samples
