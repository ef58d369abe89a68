"""Where a layer or a block can come into a network, and which can go out of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from netmorph.edit import copy_block
from netmorph.edit.depth import identity
from netmorph.errors import EditError
from netmorph.graph import Graph, Value
from netmorph.graph.axis import Atom, resolve
from netmorph.neighbours.steps import OUT, resized
from netmorph.neighbours.values import Step
from netmorph.policy.places import behind_activations


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
                found.append([resized(graph, {one: output.shape[differing[0]]}), Step(OUT, path)])
    return found


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
