"""Which entries of a network's parameters and buffers the last edits made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from netmorph.edit.numbered import renamed
from netmorph.edit.snapshot import Before, Parts, before_of, tensors_of
from netmorph.edit.tensors import spread
from netmorph.edit.width_edit import WidthEdit
from netmorph.errors import EditError
from netmorph.graph import Graph, UnknownGroup


def new_entries(graph: Graph, edits: int = 1) -> dict[str, Tensor]:
    """The entries that the last edit added: bool tensors of the parameters' shapes, by name; only those with any.

    New are fresh channels, copies of a channel behind its first one (a warm-up tells these apart from it), and the
    parameters of modules that were put in. Narrowing adds nothing.

    Args:
        graph: as the last `apply` returned it; the network may have been trained since.
        edits: how many of the last edits are meant; what one of them added and a later one left is followed.

    Raises:
        EditError: the journal holds not so many edits that were made in this process, or `forget` dropped what they
            replaced; or an edit is one of the user's that resizes tensors, of which nothing is known.
    """
    return _of_last_edits(graph, edits, _is_parameter)


def new_statistics(graph: Graph, edits: int = 1) -> dict[str, Tensor]:
    """The same of buffers, such as the running statistics of norms; of all of them."""
    found = _of_last_edits(graph, edits, lambda tensor: not _is_parameter(tensor))
    buffers = dict(graph.model.named_buffers())
    return {name: found.get(name, torch.zeros_like(buffer, dtype=torch.bool)) for name, buffer in buffers.items()}


def last_edits(graph: Graph, edits: int = 1) -> list[Before]:
    """What is known of the last edits of a graph, the oldest first.

    Raises:
        EditError: nothing is of one of them, see `new_entries`.
    """
    befores = [before_of(entry) for entry in graph.journal[-edits:]]
    known = [before for before in befores if before is not None and before.parts[0].model is graph.model]
    if edits < 1 or len(known) < edits:
        raise EditError(
            "what is new in this network is not known: that takes the graph that apply returned, before forget and "
            "not from a file"
        )
    return known


def mark_new_channels(graph: Graph, new: Mapping[str, Tensor], found: dict[str, Tensor]) -> None:
    """Mark what belongs to new channels.

    Args:
        new: by group, a bool tensor `[m]`: which channels are new, such as `ChannelMap.is_new`.
        found: bool tensors of some of the graph's tensors' shapes, by name.

    Raises:
        EditError: the graph is another one than that of the network with these channels.
    """
    for name, channels in new.items():
        if not bool(channels.any()):
            continue
        group = graph.group(name)
        if group.size != len(channels):
            raise EditError(
                f"group {name!r} has {group.size} channels, and the last edit made {len(channels)}; give the graph "
                "that apply returned"
            )
        mark = partial(_marked, new=channels)
        for site in group.sites:
            if site.tensor in found:
                found[site.tensor] = site.change(found[site.tensor], {group.atom: mark})


def _of_last_edits(graph: Graph, edits: int, is_asked: Callable[[Tensor], bool]) -> dict[str, Tensor]:
    known = last_edits(graph, edits)
    parts = [before.parts[0] for before in known]
    tensors = {name: tensor for name, tensor in tensors_of(graph.model).items() if is_asked(tensor)}
    inserted = {id(tensor) for number in range(edits) for tensor in _put_in(graph.model, parts[number:])}
    found = {name: torch.full_like(held, id(held) in inserted, dtype=torch.bool) for name, held in tensors.items()}
    for number, before in enumerate(known):
        if not isinstance(before.edit, WidthEdit):
            _check_modules_alone(graph, before, parts[number + 1 :], is_asked)
    mark_new_channels(graph, _new_channels(graph, known), found)
    return {name: entries for name, entries in found.items() if entries.any()}


def _is_parameter(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter)


def _new_channels(graph: Graph, known: Sequence[Before]) -> dict[str, Tensor]:
    """By group of now: which of its channels these edits added, followed through the later ones."""
    new: dict[str, Tensor] = {}
    for number, before in enumerate(known):
        later = [other.parts[0] for other in known[number + 1 :]]
        for then, channels in before.edit.changes.items() if isinstance(before.edit, WidthEdit) else ():
            name = _group_now(graph, then, later)
            if name is not None:
                earlier = new.get(name, torch.zeros(channels.n, dtype=torch.bool))
                new[name] = channels.is_new | earlier[channels.source.clamp(min=0)]  # what is fresh is new anyway
    return new


def _group_now(graph: Graph, name: str, later: Sequence[Parts]) -> str | None:
    """The name of a group after some later edits; None where it is gone, or has become a plain size."""
    for parts in later:
        if _is_within(name, parts.inserted):
            return None
        name = _path_after(name, parts)
    try:
        return graph.group(name).name
    except UnknownGroup:
        return None


def _put_in(model: nn.Module, parts: Sequence[Parts]) -> list[Tensor]:
    """The tensors of the modules that the first of these edits put in, without those of the modules in them."""
    first, *later = parts
    there = {id(tensor) for module in first.modules.values() for tensor in tensors_of(module).values()}
    modules = [_module_now(model, path, later) for path in (*first.modules, *first.removed)]
    return [tensor for module in modules for tensor in tensors_of(module).values() if id(tensor) not in there]


def _module_now(model: nn.Module, path: str, later: Sequence[Parts]) -> nn.Module:
    """The module that had a path before some later edits, whether it is still in the network or not."""
    for parts in later:
        for place, module in (parts.modules | parts.inserted).items():
            if _is_within(path, [place]):
                return module.get_submodule(path[len(place) + 1 :])
        path = _path_after(path, parts)
    return model.get_submodule(path)


def _is_within(path: str, places: Iterable[str]) -> bool:
    return any(f"{path}.".startswith(f"{place}.") for place in places)


def _path_after(path: str, parts: Parts) -> str:
    """The path after an edit of what had this one before."""
    for entry in reversed(parts.removed):  # that the edit put in, the first one first
        path = renamed(path, entry, 1)
    for entry in reversed(parts.inserted):  # that it took out, the last one first
        path = renamed(path, entry, -1)
    return path


def _check_modules_alone(
    graph: Graph, before: Before, later: Sequence[Parts], is_asked: Callable[[Tensor], bool]
) -> None:
    """Refuse an edit that resizes tensors of this kind in its own way."""
    after = {name: list(tensor.shape) for name, tensor in tensors_of(graph.model).items()}
    for others in reversed(later):
        after |= others.shapes  # those before that later edit
    replaced = [(name, list(old.shape)) for name, old in before.parts[0].tensors.items() if is_asked(old)]
    resized = [name for name, shape in replaced if after.get(name, shape) != shape]
    if resized:
        raise EditError(
            f"{type(before.edit).__name__} resizes {resized[0]!r} in its own way, so which entries are new is not "
            "known; a WidthEdit tells it by its channel maps"
        )


def _marked(entries: Tensor, dim: int, new: Tensor) -> Tensor:
    return entries | spread(new, entries, dim)
