"""Channel groups get wider or narrower: the verbs that make width edits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from netmorph.draws import Draw, layer_spread
from netmorph.edit.fit import fit
from netmorph.edit.width_edit import WidthEdit, check_distinct, check_free, name_of
from netmorph.errors import EditError
from netmorph.graph import Allow, Graph, Group
from netmorph.graph.axis import size
from netmorph.graph.running import check_default_device
from netmorph.memory import check_fits
from netmorph.seeds import generator_of
from netmorph.widenings import ChannelMap, Widening, WidthError, keep, lemon, net2net, r2r


def widen(
    graph: Graph, group: str, to: int, method: Widening | None = None, seed: int = 0, draw: Draw = layer_spread
) -> WidthEdit:
    """An edit that gives a group `to` channels.

    Args:
        method: one of `netmorph.widenings.WIDENINGS`, or any function `(n, m, generator) -> ChannelMap`. Without it,
            one that is exact on the group: `r2r` where every channel is on its own, `lemon` where norms or attention
            look at all of them, `net2net` where only equal copies are exact and `to` is a multiple of the width. The
            edit's description, and the journal, say which.
        seed: draws which channels are copied and the weights of fresh ones.
        draw: how large these weights are: one of `netmorph.draws.DRAWS`, or any function of that kind.

    Raises:
        UnknownGroup: no such group.
        WidthError: `to` is not above the group's width, or the method or the draw is no function.
        EditError: the group is frozen, or the method is exact elsewhere but not through what acts on this group, or no
            method is.
    """
    return widen_all(graph, {group: to}, method, seed, draw)


def widen_all(
    graph: Graph,
    widths: Mapping[str, int],
    method: Widening | None = None,
    seed: int = 0,
    draw: Draw = layer_spread,
) -> WidthEdit:
    """One edit that widens several groups, each to its number of channels; see `widen`."""
    check_default_device(EditError)
    if not callable(draw):
        raise WidthError(f"a draw is a function, such as netmorph.draws.fan_in (see DRAWS there), got {draw!r}")
    check_distinct({name: graph.group(name) for name in widths})
    _check_room(graph, widths)
    chosen: dict[str, Widening] = {}
    changes: dict[str, ChannelMap] = {}
    for name, to in widths.items():
        group = graph.group(name)
        _check_widening(group, name, to)
        chosen[name] = _exact_method(graph, group, int(to)) if method is None else method
        changes[name] = _widening(graph, group, name, int(to), chosen[name], seed)
    names = dict.fromkeys(map(name_of, chosen.values()))
    return WidthEdit(changes, " and ".join(names), seed, draw=draw)


def narrow(graph: Graph, group: str, kept: Sequence[int]) -> WidthEdit:
    """An edit that keeps only some channels of a group (not exact, unless the others were unread).

    Raises:
        UnknownGroup: no such group.
        WidthError: no channel is kept, or an index is out of range or repeated.
        EditError: the group is frozen.
    """
    return narrow_all(graph, {group: kept})


def narrow_all(graph: Graph, kept: Mapping[str, Sequence[int]]) -> WidthEdit:
    """One edit that narrows several groups, each to its kept channels; see `narrow`."""
    groups = {name: graph.group(name) for name in kept}
    check_distinct(groups)
    for group in groups.values():
        check_free(group)
    return WidthEdit({name: keep(group.size, kept[name]) for name, group in groups.items()}, "keep")


def _check_room(graph: Graph, widths: Mapping[str, int]) -> None:
    """Refuse widths whose tensors no memory holds, before any of them is made.

    Raises:
        OutOfMemory: they cannot fit.
    """
    groups = {name: graph.group(name) for name in widths}
    sizes = {groups[name].atom: to for name, to in widths.items() if isinstance(to, int | np.integer)}
    current = dict(graph.model.named_parameters()) | dict(graph.model.named_buffers())
    lengths = {name: list(tensor.shape) for name, tensor in current.items()}
    for site in {(site.tensor, site.dim): site for group in groups.values() for site in group.sites}.values():
        lengths[site.tensor][site.dim] = size(site.axis, {atom: int(to) for atom, to in sizes.items()})
    needed = sum(math.prod(shape) * current[name].element_size() for name, shape in lengths.items())
    told = ", ".join(f"{name!r} with {to}" for name, to in widths.items())
    check_fits(needed, f"the network with so many channels ({told})", next(graph.model.parameters()).device)


def _check_widening(group: Group, name: str, to: int) -> None:
    check_free(group)
    if not isinstance(to, int | np.integer) or to <= group.size:
        raise WidthError(
            f"widening {name!r} needs more than its {group.size} channels, a whole number, got {to!r}; "
            "see narrow to shrink"
        )


def _exact_method(graph: Graph, group: Group, to: int) -> Widening:
    """The first method that is exact; `lemon`, which tells what is in the way, where none is."""
    if group.allow == Allow.ANY:
        return r2r
    copies = group.allow == Allow.UNIFORM and to % group.size == 0
    return net2net if copies and misfits(graph, group, to) else lemon


def misfits(graph: Graph, group: Group, to: int) -> tuple[str, ...]:
    """Why the widening `lemon` of a group to a width would not be exact; empty where it is."""
    if group.allow == Allow.ANY:
        return ()
    return fit(graph, group, to, {}, dict(graph.model.named_parameters())).problems


def _widening(graph: Graph, group: Group, name: str, to: int, method: Widening, seed: int) -> ChannelMap:
    if not callable(method):
        raise WidthError(
            f"a method is a function, such as netmorph.widenings.r2r (see WIDENINGS there), got {method!r}"
        )
    channels = method(group.size, to, generator_of(seed))
    if not channels.keeps_function or (not channels.fitted and channels.is_exact(group.allow)):
        return channels
    found = misfits(graph, group, to)
    if channels.fitted and not found:
        return channels
    hints = [] if found else ["take netmorph.widenings.lemon"]
    if group.allow == Allow.UNIFORM:
        hints.append(f"copy every channel equally often: net2net to a multiple of {group.size}")
    elif found:
        hints.append("no change of its width is exact")
    if found:
        hints.append("approximate comes as near as it gets, and the error is measured")
    why = found[0] if found else group.reasons[0]
    raise EditError(f"{name_of(method)} to {to} channels is not exact on {name!r}: {why}. There, {', or '.join(hints)}")
