"""Which entries of a network's parameters and buffers the last edit made."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from netmorph.edit.snapshot import Before, tensors_of
from netmorph.edit.tensors import spread
from netmorph.edit.width import WidthEdit
from netmorph.errors import EditError
from netmorph.graph import Graph


def new_entries(graph: Graph) -> dict[str, Tensor]:
    """The entries that the last edit added: bool tensors of the parameters' shapes, by name; only those with any.

    New are fresh channels, copies of a channel behind its first one (a warm-up tells these apart from it), and the
    parameters of modules that were put in. Narrowing adds nothing.

    Args:
        graph: as the last `apply` returned it; the network may have been trained since.

    Raises:
        EditError: the journal holds no edit that was made in this process, or `forget` dropped what it replaced; or
            the edit is one of the user's that resizes tensors, of which nothing is known.
    """
    return _of_last_edit(graph, dict(graph.model.named_parameters()))


def new_statistics(graph: Graph) -> dict[str, Tensor]:
    """The same of buffers, such as the running statistics of norms; of all of them."""
    buffers = dict(graph.model.named_buffers())
    found = _of_last_edit(graph, buffers)
    return {name: found.get(name, torch.zeros_like(buffer, dtype=torch.bool)) for name, buffer in buffers.items()}


def last_edit(graph: Graph) -> Before:
    """What is known of the last edit of a graph.

    Raises:
        EditError: nothing is, see `new_entries`.
    """
    before = graph.journal[-1].before if graph.journal else None
    if not isinstance(before, Before) or before.parts[0].model is not graph.model:
        raise EditError(
            "what is new in this network is not known: that takes the graph that apply returned, before forget and "
            "not from a file"
        )
    return before


def _of_last_edit(graph: Graph, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    before = last_edit(graph)
    parts, edit = before.parts[0], before.edit
    there = {id(tensor) for module in parts.modules.values() for tensor in tensors_of(module).values()}
    put_in = [graph.model.get_submodule(path) for path in (*parts.modules, *parts.removed)]
    inserted = {id(tensor) for module in put_in for tensor in tensors_of(module).values()} - there
    found = {name: torch.full_like(held, id(held) in inserted, dtype=torch.bool) for name, held in tensors.items()}
    if isinstance(edit, WidthEdit):
        mark_new_channels(graph, edit, found)
    else:
        now = {name: list(tensor.shape) for name, tensor in tensors.items()}
        resized = [name for name in parts.changed if name in now and parts.shapes.get(name, now[name]) != now[name]]
        if resized:
            raise EditError(
                f"{type(edit).__name__} resizes {resized[0]!r} in its own way, so which entries are new is not known; "
                "a WidthEdit tells it by its channel maps"
            )
    return {name: entries for name, entries in found.items() if entries.any()}


def mark_new_channels(graph: Graph, edit: WidthEdit, found: dict[str, Tensor]) -> None:
    """Mark what belongs to channels that an edit has added.

    Args:
        graph: of the network after the edit.
        found: bool tensors of some of its tensors' shapes, by name.

    Raises:
        EditError: the graph is another one.
    """
    for name, channels in edit.changes.items():
        if not bool(channels.is_new.any()):
            continue  # a narrowed group may have gone, into another or into a plain size
        group = graph.group(name)
        if group.size != channels.m:
            raise EditError(
                f"group {name!r} has {group.size} channels, and the last edit made {channels.m}; give the graph "
                "that apply returned"
            )
        mark = partial(_marked, new=channels.is_new)
        for site in group.sites:
            if site.tensor in found:
                found[site.tensor] = site.change(found[site.tensor], {group.atom: mark})


def _marked(entries: Tensor, dim: int, new: Tensor) -> Tensor:
    return entries | spread(new, entries, dim)
