"""The attributes that name sizes: those that a forward reads, and those that say what a layer is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from netmorph.graph.axis import Axis, Fixed
from netmorph.graph.bounds import Place
from netmorph.graph.documented import documented_axes
from netmorph.graph.held import look
from netmorph.graph.rules import Coupling
from netmorph.graph.uses import Attribute
from netmorph.graph.value import Value


def attributes_of(modules: dict[str, nn.Module], coupling: Coupling, tensors: Mapping[str, Value]) -> list[Attribute]:
    """The attributes that the forward used as sizes, and those that modules hold for people to read.

    What PyTorch documents of its own layers is true even where no operator that was run says so.
    """
    used: dict[tuple[str, str], dict[int | None, Axis]] = {}
    for held, axis in coupling.sizes.held.items():
        used.setdefault((held.module, held.name), {})[held.index] = axis
    followed = [
        Attribute(path, name, (axes[None],))
        if None in axes
        else Attribute(
            path,
            name,
            tuple(axes.get(place, (Fixed(entry),)) for place, entry in enumerate(look(modules[path], name))),
        )
        for (path, name), axes in used.items()
    ]
    told = [entry for entry in coupling.attributes if (entry.module, entry.name) not in used]
    known = used.keys() | {(e.module, e.name) for e in told if e.is_true(vars(modules[e.module]).get(e.name))}
    documented = [
        Attribute(path, name, axes)
        for path, module in modules.items()
        for name, axes in documented_axes(path, module, tensors).items()
        if (path, name) not in known
    ]
    return followed + told + documented


def counted(attributes: Sequence[Attribute]) -> dict[Place, Axis]:
    """The axes by the places of the integers that are as long."""
    several = {(a.module, a.name, place): axis for a in attributes for place, axis in enumerate(a.axes)}
    return several | {(a.module, a.name, None): a.axes[0] for a in attributes if len(a.axes) == 1}
