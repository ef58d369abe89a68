"""Width edits: one channel group gets another number of channels, in all its tensors at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from netmorph.edit.channel_map import ChannelMap, Widening, WidthError, keep, r2r
from netmorph.edit.plan import EditError, Plan
from netmorph.edit.tensors import fresh_like, full_like, mean_like, read, read_moment, write, write_moment
from netmorph.graph import Allow, Attribute, Fill, Graph, Group, Role, Site


@dataclass(frozen=True)
class WidthEdit:
    """Group `group` goes through a channel map. `seed` draws the weights of fresh channels."""

    group: str
    channels: ChannelMap
    method: str
    seed: int = 0

    def plan(self, graph: Graph) -> Plan:
        """See `Edit`."""
        group = graph.group(self.group)
        if group.size != self.channels.n:
            raise EditError(
                f"this edit was made for {self.channels.n} channels, but group {group.name!r} has {group.size}; "
                "make the edit again from the current graph"
            )
        _check_free(group)
        current = dict(graph.model.named_parameters()) | dict(graph.model.named_buffers())
        tensors = {site.tensor: current[site.tensor].detach() for site in group.sites}
        generator = torch.Generator().manual_seed(self.seed)
        for site in group.sites:  # a tensor may have several sites: one after the other
            tensors[site.tensor] = self._change(tensors[site.tensor], site, group, generator)
        sizes = {group.atom: self.channels.m}
        return Plan(
            exact=self.channels.is_exact(group.allow),
            tensors=tensors,
            moments={name: self._moment(name, group) for name in tensors},
            attributes=[
                (
                    entry.module,
                    entry.name,
                    tuple(entry.value(sizes)) if isinstance(held, tuple) else entry.value(sizes)[0],
                )
                for entry in group.attributes
                if (held := _held(graph, entry)) in (entry.value(), entry.value()[0])
            ],
        )

    def describe(self) -> dict[str, Any]:
        """See `Edit`."""
        kind = "widen" if self.channels.m > self.channels.n else "narrow"
        return {
            "kind": kind,
            "method": self.method,
            "layer": self.group,
            "before": self.channels.n,
            "after": self.channels.m,
        }

    def _change(self, tensor: Tensor, site: Site, group: Group, generator: torch.Generator) -> Tensor:
        def change(part: Tensor, dim: int) -> Tensor:
            fresh = _fresh(part, dim, self.channels.classes, site.use.fill, generator)
            return (read if site.use.role is Role.READ else write)(part, dim, self.channels, fresh)

        return site.change(tensor, group.atom, change)

    def _moment(self, name: str, group: Group) -> Any:
        def carry(moment: Tensor, power: int) -> Tensor:
            for site in group.sites:
                if site.tensor == name:
                    change = read_moment if site.use.role is Role.READ else write_moment
                    moment = site.change(moment, group.atom, partial(change, channels=self.channels, power=power))
            return moment

        return carry


def widen(graph: Graph, group: str, to: int, method: Widening = r2r, seed: int = 0) -> WidthEdit:
    """An edit that gives a group `to` channels.

    Args:
        method: one of `netmorph.edit.WIDENINGS`, or any function `(n, m, generator) -> ChannelMap`.
        seed: draws which channels are copied and the weights of fresh ones.

    Raises:
        UnknownGroup: no such group.
        WidthError: `to` is not above the group's width.
        EditError: the group is frozen, or the method is exact elsewhere but not through what acts on this group.
    """
    found = graph.group(group)
    _check_free(found)
    if not isinstance(to, int) or to <= found.size:
        raise WidthError(
            f"widening {group!r} needs more than its {found.size} channels, a whole number, got {to!r}; "
            "see narrow to shrink"
        )
    channels = method(found.size, to, torch.Generator().manual_seed(seed))
    if channels.keeps_function and not channels.is_exact(found.allow):
        hint = (
            f"copy every channel equally often: net2net to a multiple of {found.size}"
            if found.allow == Allow.UNIFORM
            else "no change of its width is exact; random_pad makes an inexact one"
        )
        raise EditError(
            f"{_name(method)} to {to} channels is not exact on {group!r}: {found.reasons[0]}. There, {hint}"
        )
    return WidthEdit(group, channels, _name(method), seed)


def narrow(graph: Graph, group: str, kept: Sequence[int]) -> WidthEdit:
    """An edit that keeps only some channels of a group (not exact, unless the others were unread).

    Raises:
        UnknownGroup: no such group.
        WidthError: no channel is kept, or an index is out of range or repeated.
        EditError: the group is frozen.
    """
    found = graph.group(group)
    _check_free(found)
    return WidthEdit(group, keep(found.size, kept), "keep")


def _fresh(tensor: Tensor, dim: int, count: int, fill: Fill | float, generator: torch.Generator) -> Tensor:
    if fill is Fill.RANDOM:
        return fresh_like(tensor, dim, count, generator)
    return mean_like(tensor, dim, count) if fill is Fill.MEAN else full_like(tensor, dim, count, fill)


def _name(method: Widening) -> str:
    """For the journal: a plain function's name, or what a partial or an object of the user's is."""
    return getattr(method, "__name__", type(method).__name__)


def _check_free(group: Group) -> None:
    if group.allow == Allow.FROZEN:
        raise EditError(f"group {group.name!r} is frozen: {'; '.join(group.reasons)}. Choose another group")


def _held(graph: Graph, entry: Attribute) -> Any:
    """What the module holds under the attribute's name, if anything: only a size that was true is kept true."""
    return vars(graph.model.get_submodule(entry.module)).get(entry.name)
