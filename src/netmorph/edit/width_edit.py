"""A width edit as a value: channel groups get other numbers of channels, in all their tensors at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from netmorph.draws import Draw, Joined, layer_spread
from netmorph.edit.fit import Fit, Growth, fit
from netmorph.edit.plan import Described, MomentMap, Plan
from netmorph.edit.recurrence import equal_rows
from netmorph.edit.tensors import full_like, mean_like, mix, read, read_moment, spread, write, write_moment
from netmorph.errors import EditError
from netmorph.graph import Allow, Attribute, Fill, Graph, Group, Role, Site
from netmorph.graph.axis import Atom, atoms
from netmorph.graph.held import look
from netmorph.graph.journal import Description
from netmorph.graph.root_scale import foldings
from netmorph.seeds import generator_of
from netmorph.widenings import FRESH, ChannelMap, WidthError

Channels = Mapping[Atom, ChannelMap]
Place = tuple[str, int]


@dataclass(frozen=True, eq=False)
class Reading:
    """How a reader makes do with fewer channels, see `reconstruct`.

    Attributes:
        consume: float64 `[n, m]`: its weight becomes `W @ consume`.
        constant: float64 `[n]`: what the matrix leaves out of each old channel.
        offsets: where `W @ constant` goes: by tensor, the factor with which it is added.
    """

    consume: Tensor
    constant: Tensor
    offsets: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class WidthEdit(Described):
    """Any number of groups go through channel maps, in one step.

    Attributes:
        changes: a channel map by group.
        method: its name, for people and the journal.
        seed: draws the weights of fresh channels that `fresh` does not give.
        fresh: by tensor and dimension: the values of the fresh channels there. Of the tensor's shape when the turn of
            this place comes (groups in the order of `changes`), but along the dimension only the fresh channels: as
            many as the map has `classes`, each with the block of entries that a channel owns there.
        readings: by group, tensor and dimension: readers that do more than the channel map's shares say.
        left_out: groups that whoever chose the widths meant to change, and why they cannot; for people.
        draw: how large the weights are that `seed` draws, see `netmorph.draws`.
    """

    changes: Mapping[str, ChannelMap]
    method: str
    seed: int = 0
    fresh: Mapping[Place, Tensor] = field(default_factory=dict)
    readings: Mapping[tuple[str, str, int], Reading] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    draw: Draw = layer_spread

    def plan(self, graph: Graph) -> Plan:
        """See `Edit`."""
        groups = self._groups(graph)
        names = {group.atom: name for name, group in groups.items()}
        channels = {atom: self.changes[name] for atom, name in names.items()}
        sites = {(site.tensor, site.dim): site for group in groups.values() for site in group.sites}
        current = dict(graph.model.named_parameters()) | dict(graph.model.named_buffers())
        tensors = {site.tensor: current[site.tensor].detach() for site in sites.values()}
        for (name, tensor, dim), reading in self.readings.items():
            for offset, factor in reading.offsets.items():
                constant = _constant(current[tensor].detach(), sites[tensor, dim], groups[name].atom, reading.constant)
                tensors[offset] = tensors.get(offset, current[offset].detach()) + factor * constant
        generator = generator_of(self.seed)
        sizes = {atom: entry.m for atom, entry in channels.items()}
        growth = Growth(tensors, {}, generator, self.draw)
        folded = foldings(graph.recording, sizes)
        for folding in folded:
            growth.fold(folding, current)
        plain = {atom: name for atom, name in names.items() if not channels[atom].fitted or atom.allow == Allow.ANY}
        places: dict[str, list[Site]] = {}
        for site in sites.values():  # a tensor may have several sites: one after the other
            if _crossing(site, plain):
                places.setdefault(site.tensor, []).append(site)
                tensors[site.tensor] = self._change(tensors[site.tensor], site, plain, generator)
        own = {atom: channels[atom] for atom in plain}
        for name, found in places.items():
            tensors[name] = equal_rows(tensors[name], found, own)
            growth.moments.setdefault(name, []).append(partial(_moment, sites=found, channels=own))
        growth.sizes.update((atom, sizes[atom]) for atom in plain)
        fits: list[Fit] = []
        for name, group in groups.items():
            if group.atom not in plain:
                fits.append(fit(graph, group, sizes[group.atom], growth.sizes, current))
                growth.widen(name, fits[-1], group.sites, current)
        exact = all(channels[atom].is_exact(atom.allow) for atom in plain) and not any(made.problems for made in fits)
        claims = all(channels.keeps_function for channels in self.changes.values())
        epsilons = _epsilons(graph, fits)
        attributes = _attributes(graph, groups.values(), sizes)
        attributes += [(path, name, new) for (path, name), (_, new) in epsilons.items()]
        return Plan(
            sizes=sizes,
            exact=not self.readings and claims and exact,
            tensors=tensors,
            moments={name: partial(_moved, steps=steps) for name, steps in growth.moments.items()},
            attributes=attributes,
            numbers=dict(epsilons.values()),
            inverse=self._inverse(
                {name: list(graph.shapes[name]) for name in tensors},
                [(path, name, look(graph.modules[path], name)) for path, name, _ in attributes],
                growth.multiplied,
            ),
        )

    def _inverse(
        self,
        shapes: dict[str, list[int]],
        attributes: list[tuple[str, str, Any]],
        multiplied: list[dict[str, Any]],
    ) -> dict[str, Any] | None:
        """What is needed to put copies together again, unless channels are lost."""
        sources = {name: channels.source.tolist() for name, channels in self.changes.items()}
        kept = {name: len({source for source in found if source != FRESH}) for name, found in sources.items()}
        if any(kept[name] < channels.n for name, channels in self.changes.items()):
            return None
        totals = {
            name: channels.totals.tolist()
            for name, channels in self.changes.items()
            if bool(((channels.totals - 1).abs() > 1e-12).any())
        }
        if any(0 in found for found in totals.values()):
            return None
        return {
            "kind": "width",
            "sources": sources,
            "totals": totals,
            "shapes": shapes,
            "keeps_old": not self.readings and all(channels.keeps_old for channels in self.changes.values()),
            "attributes": attributes,
            "multiplied": multiplied,
        }

    def describe(self) -> Description:
        """See `Edit`. Of several groups, `before` and `after` count all channels, `widths` holds those of each."""
        widths = {name: [channels.n, channels.m] for name, channels in self.changes.items()}
        before, after = (sum(pair[end] for pair in widths.values()) for end in (0, 1))
        first, *others = widths
        return Description(
            "widen" if after > before else "narrow",
            self.method,
            f"{first} and {len(others)} more" if others else first,
            before,
            after,
            widths if others else None,
        )

    def _groups(self, graph: Graph) -> dict[str, Group]:
        if not self.changes:
            raise WidthError("this edit changes no group; give at least one")
        groups = {name: graph.group(name) for name in self.changes}
        for name, group in groups.items():
            if group.size != self.changes[name].n:
                raise EditError(
                    f"this edit was made for {self.changes[name].n} channels, but group {group.name!r} has "
                    f"{group.size}; make the edit again from the current graph"
                )
            check_free(group)
        check_distinct(groups)
        self._check_bounds(graph, groups)
        sites = {(site.tensor, site.dim) for group in groups.values() for site in group.sites}
        if unknown := {*self.fresh, *(key[1:] for key in self.readings)} - sites:
            raise EditError(f"values are given for {sorted(unknown)}, which this edit does not change")
        return groups

    def _check_bounds(self, graph: Graph, groups: Mapping[str, Group]) -> None:
        """The forward has to go the same way as before, whatever it compares."""
        sizes = {group.atom: self.changes[name].m for name, group in groups.items()}
        for bound in graph.bounds:
            if not bound.holds(sizes):
                several = [name for name, group in groups.items() if group.atom in bound.atoms()]
                told = ", ".join(f"{name!r} to {self.changes[name].m}" for name in several)
                free = "; ".join(f"{name!r} takes {_widths(groups[name])}" for name in several)
                raise WidthError(f"this edit takes {told}, but {bound.told(sizes)}. With all else as it is, {free}")

    def _change(self, tensor: Tensor, site: Site, names: Mapping[Atom, str], generator: torch.Generator) -> Tensor:
        place = site.tensor, site.dim
        uses = {name: site.use_of(atom) for atom, name in names.items() if atom in _crossing(site, names)}

        def change(part: Tensor, dim: int, name: str) -> Tensor:
            if (reading := self.readings.get((name, *place))) is not None:
                return mix(part, dim, reading.consume)
            channels, given, use = self.changes[name], self.fresh.get(place), uses[name]
            shape = [*part.shape[:dim], channels.classes, *part.shape[dim + 1 :]]
            if given is None:
                joined = Joined(part, dim, channels.classes, channels.n, channels.m, name, use.role)
                fresh = _fresh(joined, use.fill, self.draw, generator)
            elif given.numel() == math.prod(shape):
                fresh = given.to(part).reshape(shape)
            else:
                raise EditError(
                    f"the values for fresh channels of dimension {site.dim} of {site.tensor!r} have shape "
                    f"{tuple(given.shape)}, but {tuple(shape)} is needed"
                )
            return (read if use.role is Role.READ else write)(part, dim, channels, fresh)

        return site.change(tensor, {atom: partial(change, name=names[atom]) for atom in _crossing(site, names)})


def _constant(weight: Tensor, site: Site, atom: Atom, values: Tensor) -> Tensor:
    """What a reader `[out, in, ...]` (or `[in, out, ...]`) makes of channels that hold `values` everywhere: `[out]`."""
    held = replace(site, dim=0).change(
        torch.zeros(weight.shape[site.dim], dtype=values.dtype),
        {atom: lambda part, dim: part + spread(values, part, dim)},
    )
    products = weight.double() * spread(held, weight.double(), site.dim)
    return products.movedim(0 if site.dim else 1, 0).flatten(1).sum(1).to(weight)


def _moved(moment: Tensor, power: int, steps: Sequence[MomentMap]) -> Tensor:
    for step in steps:
        moment = step(moment, power)
    return moment


def _epsilons(graph: Graph, fits: Iterable[Fit]) -> dict[tuple[str, str], tuple[float, float]]:
    """By module and attribute: the number that it holds, and what it has to be."""
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for made in fits:
        for path, name, factor in made.epsilons:
            held = vars(graph.modules[path])[name]
            found[path, name] = (held, found.get((path, name), (held, held))[1] * factor)
    return found


def _moment(moment: Tensor, power: int, sites: Sequence[Site], channels: Channels) -> Tensor:
    for site in sites:
        changes = {
            atom: partial(
                read_moment if site.use_of(atom).role is Role.READ else write_moment,
                channels=channels[atom],
                power=power,
            )
            for atom in _crossing(site, channels)
        }
        moment = site.change(moment, changes)
    return moment


def _crossing(site: Site, changed: Iterable[Atom]) -> list[Atom]:
    """The atoms of the site's axis that change, in one order for all sites: an axis may run over several groups."""
    crossed = set(atoms(site.axis))
    return [atom for atom in changed if atom in crossed]


def _attributes(
    graph: Graph, groups: Iterable[Group], sizes: dict[Atom, int]
) -> list[tuple[str, str, int | float | tuple[int, ...]]]:
    """The new values of the attributes that held a true size; what is no size in this module stays."""
    entries = dict.fromkeys(entry for group in groups for entry in group.attributes)
    return [
        (entry.module, entry.name, new)
        for entry in entries
        if (new := entry.changed(held := _held(graph, entry), sizes)) != held
    ]


def _held(graph: Graph, entry: Attribute) -> Any:
    """What the module holds under the attribute's name, if anything: only a size that was true is kept true."""
    try:
        return look(graph.model.get_submodule(entry.module), entry.name)
    except KeyError:
        return None


def _fresh(joined: Joined, fill: Fill | float, draw: Draw, generator: torch.Generator) -> Tensor:
    tensor, dim, count = joined.tensor, joined.dim, joined.count
    if count == 0:
        return tensor.narrow(dim, 0, 0)
    if fill is Fill.RANDOM:
        return _drawn(joined, draw, generator)
    return mean_like(tensor, dim, count) if fill is Fill.MEAN else full_like(tensor, dim, count, fill)


def _drawn(joined: Joined, draw: Draw, generator: torch.Generator) -> Tensor:
    drawn: object = draw(joined, generator)
    shape = [*joined.tensor.shape[: joined.dim], joined.count, *joined.tensor.shape[joined.dim + 1 :]]
    if not isinstance(drawn, Tensor) or list(drawn.shape) != shape:
        got = tuple(drawn.shape) if isinstance(drawn, Tensor) else type(drawn).__name__
        raise EditError(
            f"a draw returns a tensor of the shape that it joins, with as many fresh channels as are asked for, here "
            f"{tuple(shape)}; {name_of(draw)} returned {got}"
        )
    return drawn.to(joined.tensor)


def _widths(group: Group) -> str:
    return f"{group.least} or more" if group.most is None else f"from {group.least} to {group.most}"


def name_of(method: Callable[..., Any]) -> str:
    """For the journal: a plain function's name, or what a partial or an object of the user's is."""
    return getattr(method, "__name__", type(method).__name__)


def check_free(group: Group) -> None:
    """Raises EditError, with the reasons, for a group whose width cannot change."""
    if group.allow == Allow.FROZEN:
        raise EditError(f"group {group.name!r} is frozen: {'; '.join(group.reasons)}. Choose another group")


def check_distinct(groups: Mapping[str, Group]) -> None:
    """Several names may stand for one group, but one edit changes it once."""
    first: dict[str, str] = {}
    for name, group in groups.items():
        other = first.setdefault(group.name, name)
        if other != name:
            raise EditError(f"{other!r} and {name!r} are the same channel group {group.name!r}; give it once")
