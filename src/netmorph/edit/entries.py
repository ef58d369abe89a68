"""Which entries of a network's parameters the last edits made."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from netmorph.edit.numbered import renamed
from netmorph.edit.snapshot import Before, Parts, before_of
from netmorph.edit.tensors import spread
from netmorph.edit.width import WidthEdit
from netmorph.errors import EditError
from netmorph.graph import Graph, Group


def new_entries(graph: Graph, edits: int = 1) -> dict[str, Tensor]:
    """The entries that the last edit added: bool tensors of the parameters' shapes, by name; only those with any.

    New are fresh channels, copies of a channel behind its first one (a warm-up tells these apart from it), and the
    parameters of modules that were put in. Narrowing adds nothing.

    Args:
        graph: as the last `apply` returned it; the network may have been trained since.
        edits: how many of the last edits are meant. Of a group that one of them widened and a later one changed again,
            what the later one added counts.

    Raises:
        EditError: the journal holds not so many edits that were made in this process, or `forget` dropped what they
            replaced; or an edit is one of the user's that resizes tensors, of which nothing is known.
    """
    befores = [before_of(entry) for entry in graph.journal[-edits:]]
    known = [before for before in befores if before is not None and before.parts[0].model is graph.model]
    if edits < 1 or len(known) < edits:
        raise EditError(
            "what is new in this network is not known: that takes the graph that apply returned, before forget and "
            "not from a file"
        )
    parts = [before.parts[0] for before in known]
    parameters = dict(graph.model.named_parameters())
    inserted = {id(parameter) for number in range(edits) for parameter in _put_in(graph.model, parts[number:])}
    found = {name: torch.full_like(p, id(p) in inserted, dtype=torch.bool) for name, p in parameters.items()}
    for number, before in enumerate(known):
        if isinstance(before.edit, WidthEdit):
            _mark_channels(graph, before.edit, parts[number + 1 :], found)
        else:
            _check_modules_alone(graph, before, parts[number + 1 :])
    return {name: entries for name, entries in found.items() if entries.any()}


def _put_in(model: nn.Module, parts: Sequence[Parts]) -> list[nn.Parameter]:
    """The parameters of the modules that the first of these edits put in, without those of the modules in them."""
    first, *later = parts
    there = {id(parameter) for module in first.modules.values() for parameter in module.parameters()}
    modules = [_module_now(model, path, later) for path in (*first.modules, *first.removed)]
    return [parameter for module in modules for parameter in module.parameters() if id(parameter) not in there]


def _module_now(model: nn.Module, path: str, later: Sequence[Parts]) -> nn.Module:
    """The module that had a path before some later edits, whether it is still in the network or not."""
    for parts in later:
        for place, module in (parts.modules | parts.inserted).items():
            if f"{path}.".startswith(f"{place}."):
                return module.get_submodule(path[len(place) + 1 :])
        path = _path_after(path, parts)
    return model.get_submodule(path)


def _path_after(path: str, parts: Parts) -> str:
    """The path after an edit of what had this one before."""
    for entry in reversed(parts.removed):  # that the edit put in, the first one first
        path = renamed(path, entry, 1)
    for entry in reversed(parts.inserted):  # that it took out, the last one first
        path = renamed(path, entry, -1)
    return path


def _mark_channels(graph: Graph, edit: WidthEdit, later: Sequence[Parts], found: dict[str, Tensor]) -> None:
    """Mark the entries of the channels that an edit added."""
    for name, channels in edit.changes.items():
        if not bool(channels.is_new.any()):
            continue  # a narrowed group may have gone, into another or into a plain size
        for parts in later:
            name = _path_after(name, parts)
        group = graph.groups.get(name) if later else graph.group(name)
        if later and (group is None or group.size != channels.m):
            continue
        if group is None or group.size != channels.m:
            raise EditError(
                f"group {name!r} has {_size(group)} channels, and the last edit made {channels.m}; give the graph "
                "that apply returned"
            )
        mark = partial(_marked, new=channels.is_new)
        for site in group.sites:
            if site.tensor in found:
                found[site.tensor] = site.change(found[site.tensor], {group.atom: mark})


def _check_modules_alone(graph: Graph, before: Before, later: Sequence[Parts]) -> None:
    """Refuse an edit that resizes tensors in its own way."""
    parts = before.parts[0]
    after = {name: list(parameter.shape) for name, parameter in graph.model.named_parameters()}
    for others in reversed(later):
        after |= others.shapes  # those before that later edit
    resized = [name for name in parts.changed if name in after and parts.shapes.get(name, after[name]) != after[name]]
    if resized:
        raise EditError(
            f"{type(before.edit).__name__} resizes {resized[0]!r} in its own way, so which entries are new is not "
            "known; a WidthEdit tells it by its channel maps"
        )


def _size(group: Group | None) -> int:
    return 0 if group is None else group.size


def _marked(entries: Tensor, dim: int, new: Tensor) -> Tensor:
    return entries | spread(new, entries, dim)
