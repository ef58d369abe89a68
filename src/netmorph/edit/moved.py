"""Names of before an edit, afterwards: paths move where entries come or go, or a container comes around a module.

Told by the modules themselves, which stay the same objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import nn

from netmorph.graph.slots import Kept


def paths_now(before: Mapping[str, nn.Module], model: nn.Module) -> dict[str, str]:
    """The paths of modules in a model as it is now, by those of before; of modules that went, none.

    Args:
        before: `dict(model.named_modules())` of before.
    """
    now = {id(module): path for path, module in model.named_modules()}
    return {path: now[id(module)] for path, module in before.items() if id(module) in now}


def kept_now(kept: Iterable[Kept], paths: Mapping[str, str]) -> tuple[Kept, ...]:
    """What a forward keeps, in the modules that are still there."""
    there = [entry for entry in kept if entry.slot.module in paths]
    return tuple(replace(entry, slot=replace(entry.slot, module=paths[entry.slot.module])) for entry in there)


def names_now(names: Iterable[str], paths: Mapping[str, str]) -> frozenset[str]:
    """Names of parameters, of those in modules that are still there."""
    parted = [name.rpartition(".") for name in names]
    return frozenset(f"{paths[path]}.{own}".lstrip(".") for path, _, own in parted if path in paths)
