"""Fresh channels that fit what acts on a group: see `netmorph.widenings.lemon` and `netmorph.graph.flow`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from netmorph.draws import Draw, Joined, fresh_like, layer_spread
from netmorph.edit.plan import MomentMap
from netmorph.edit.tensors import fresh_moment, full_like, mean_like, spread
from netmorph.graph import Allow, Fill, Graph, Group, Role, Site
from netmorph.graph.axis import Atom, Axis, along, size
from netmorph.graph.flow import Flow, Holds, Place, followed
from netmorph.graph.root_scale import Folding

ROUNDING = 1e-12
# Where queries and keys are normed, both have to hold zeros, and zero times zero has no gradient. What is this small,
# relative to the other channels, changes sums of squares and of products by less than double precision holds.
FAINT = 2.0**-28


@dataclass(frozen=True)
class Fit:
    """What a group's tensors do so that `to` channels compute what the present ones did.

    Attributes:
        atom: the channels.
        to: their new number.
        flow: what is demanded of whom.
        problems: why the network does not compute the same function; empty where it does.
        epsilons: `(module, attribute, factor)`.
    """

    atom: Atom
    to: int
    flow: Flow
    problems: tuple[str, ...]
    epsilons: tuple[tuple[str, str, float], ...]


def fit(graph: Graph, group: Group, to: int, sizes: Mapping[Atom, int], tensors: Mapping[str, Tensor]) -> Fit:
    """Work out how a group is widened by channels that norms do not notice.

    Args:
        sizes: of atoms that are changed before, in the same edit.
        tensors: the parameters by name; whether gains are the same number everywhere is seen in them.
    """
    flow = followed(graph.recording, {group.atom}, sizes, to)
    epsilons, unset = _epsilons(graph, flow)
    uneven = [
        f"the norm's gain {name!r} differs between channels, and what it scales is summed and normalized again: the "
        "mean of that is in none of its channels"
        for name, _ in sorted(flow.uniform)
        if _is_uneven(tensors[name])
    ]
    tied = [place for place in flow.reads if _writes(group, place) and not _are_free(flow, place)]
    problems = [
        *flow.problems.values(),
        *uneven,
        *unset,
        *(f"{name} both reads and writes these channels (tied weights)" for name, _ in tied),
        *(entry.reason for entry in group.atom.limits if entry.allow < Allow.ANY and not _is_met(flow, entry.reason)),
    ]
    return Fit(group.atom, to, flow, tuple(dict.fromkeys(problems)), epsilons)


def _is_met(flow: Flow, reason: str) -> bool:
    if reason.endswith("(tied weights)"):
        return True  # looked at where it is read
    return any(reason.endswith(f": {where}") for where in flow.handled - flow.problems.keys())


def _writes(group: Group, place: Place) -> bool:
    uses = next((site.uses for site in group.sites if (site.tensor, site.dim) == place), ())
    return any(use.role is not Role.READ for use in uses)


def _are_free(flow: Flow, place: Place) -> bool:
    """Whether what is read at a place holds zeros in the new channels, so that any weights will do."""
    zero = all(flow.is_zero(state) for state in flow.reads[place])
    return zero and flow.read_factors.get(place, 1.0) == 1 and not _is_faint(flow)


def _is_faint(flow: Flow) -> bool:
    """Whether new channels would be zero on both sides of every product, where no gradient would ever reach them."""
    return bool(flow.products) and all(flow.products)


def _is_uneven(gain: Tensor) -> bool:
    values = gain.detach().double()
    return bool((values.max() - values.min()) > ROUNDING * values.abs().max())


def _epsilons(graph: Graph, flow: Flow) -> tuple[tuple[tuple[str, str, float], ...], list[str]]:
    """The attributes that hold the numbers that have to follow, and what holds none."""
    found: list[tuple[str, str, float]] = []
    unset: list[str] = []
    for (path, number), factor in flow.constants.items():
        table = vars(graph.modules[path])
        names = [name for name, held in table.items() if isinstance(held, float) and held == number]
        named = [name for name in names if "eps" in name.lower()]
        if len(names) != 1 and len(named) != 1:
            held = "in no attribute" if not names else f"in several attributes ({', '.join(names)})"
            unset.append(
                f"the epsilon {number} would have to become {number * factor:.3g}, and {path or 'the model'} holds it "
                f"{held}"
            )
        elif abs(factor - 1) > ROUNDING:
            found.append((path, named[0] if len(named) == 1 else names[0], factor))
    return tuple(found), unset


@dataclass
class Growth:
    """The tensors of a network on their way through fits, one group after the other.

    Attributes:
        tensors: the current values, by name.
        sizes: what atoms count by now.
        moments: what has happened to each tensor, as an optimizer's moments need it.
        generator: draws fresh weights, by `draw`.
    """

    tensors: dict[str, Tensor]
    sizes: dict[Atom, int]
    generator: torch.Generator
    draw: Draw = layer_spread
    moments: dict[str, list[MomentMap]] = field(default_factory=dict)
    multiplied: list[dict[str, Any]] = field(default_factory=list)

    def multiply(self, name: str, factor: float, offset: float = 0.0, rows: tuple[int, Tensor] | None = None) -> None:
        """Multiply a tensor, or some entries of one of its dimensions."""
        tensor = self.tensors[name]
        told = {"tensor": name, "factor": factor, "offset": offset, "rows": None}
        if rows is not None:
            told["rows"] = [rows[0], rows[1].nonzero().flatten().tolist()]
        self.multiplied.append(told)
        self.tensors[name] = times(tensor, factor, offset, rows)
        self.moments.setdefault(name, []).append(lambda moment, power: times(moment, factor**-power, 0.0, rows))

    def fold(self, folding: Folding, current: Mapping[str, Tensor]) -> None:
        """Multiply the rows of queries."""
        name, dim = folding.place
        self.tensors.setdefault(name, current[name].detach())
        self.multiply(name, folding.factor, rows=(dim, folding.rows))

    def widen(self, group: str, fit: Fit, sites: Sequence[Site], current: Mapping[str, Tensor]) -> None:
        """Widen a group as worked out."""
        flow, before = fit.flow, dict(self.tensors)
        for name, (factor, offset) in flow.factors.items():
            self.tensors.setdefault(name, current[name].detach())
            self.multiply(name, factor, offset)
        for (name, _), factor in flow.read_factors.items():
            if factor != 1 and name not in flow.factors:
                self.multiply(name, factor)
        carriers = {place: before[place[0]].double().square().mean().sqrt() for place in flow.weighted.values()}
        for site in sites:
            place = (site.tensor, site.dim)
            self._widen(group, site, fit, self._weight(before, flow.weighted.get(place), carriers), carriers.get(place))
        self.sizes[fit.atom] = fit.to

    @staticmethod
    def _weight(before: Mapping[str, Tensor], gain: Place | None, carriers: Mapping[Place, Tensor]) -> Tensor | None:
        if gain is None or carriers[gain] == 0:
            return None
        return before[gain[0]].double() / carriers[gain]

    def _widen(self, group: str, site: Site, fit: Fit, weight: Tensor | None, value: Tensor | None) -> None:
        tensor, dim, flow = self.tensors[site.tensor], site.dim, fit.flow
        place = (site.tensor, dim)
        count = fit.to - size((fit.atom,), self.sizes)

        def with_fresh(fresh: Tensor | None, over: Axis | None = None) -> Tensor:
            def change(part: Tensor, at: int) -> Tensor:
                if over is not None:
                    new = _means(part, at, list(over).index(fit.atom), len(over), count)
                elif fresh is not None:
                    new = full_like(part, at, count, float(fresh))
                elif site.use.fill is Fill.RANDOM:
                    joined = Joined(part, at, count, fit.to - count, fit.to, group, site.use.role)
                    new = self.draw(joined, self.generator)
                else:
                    new = (
                        mean_like(part, at, count)
                        if site.use.fill is Fill.MEAN
                        else full_like(part, at, count, site.use.fill)
                    )
                return torch.cat([part, new], at)

            source = tensor
            if over is not None and weight is not None:
                repeated = weight.repeat(tensor.shape[dim] // len(weight))
                source = (tensor.double() * spread(repeated, tensor.double(), dim)).to(tensor)
            return along(source, dim, site.axis, {fit.atom: change}, self.sizes)

        def asked(holds: Holds) -> Tensor:
            filled = with_fresh(zeros) if holds is Holds.ZERO else with_fresh(None, flow.averaged[place])
            if not _is_faint(flow) or site.use.role is not Role.WRITE:
                return filled
            noise = fresh_like(tensor, dim, made.shape[dim], self.generator) * FAINT
            if holds is Holds.MEAN:  # the mean of all is to stay
                noise = self._centred(noise, site, fit, count)
            return filled + noise

        zeros, codes = torch.zeros(()), flow.codes.get(place)
        if place in flow.reads and not _writes_too(site):
            made = with_fresh(None if _are_free(flow, place) else zeros)
        elif value is not None:
            made = with_fresh(value)
        elif codes is None:
            made = with_fresh(None if site.use.role is not Role.READ else zeros)
        else:
            made = with_fresh(None)
            codes = self._extended(codes, site, fit).to(tensor.device)
            is_new = self._is_new(site, fit, count).to(tensor.device)
            for holds in (Holds.ZERO, Holds.MEAN):
                if bool((codes == holds).any()):
                    made = torch.where(spread((codes == holds) & is_new, made.bool(), dim), asked(holds), made)
        self.tensors[site.tensor] = made
        sizes = dict(self.sizes)

        def moment(old: Tensor, power: int) -> Tensor:
            return along(
                old,
                dim,
                site.axis,
                {fit.atom: lambda part, at: torch.cat([part, fresh_moment(part, at, count, power)], at)},
                sizes,
            )

        self.moments.setdefault(site.tensor, []).append(moment)

    def _extended(self, codes: Tensor, site: Site, fit: Fit) -> Tensor:
        """What entries are asked for, over those that were there when the forward was recorded and all newer ones."""
        known: dict[Atom, int] = {}
        for atom, length in (*self.sizes.items(), (fit.atom, fit.to)):
            places = torch.arange(length).clamp_max(atom.size - 1)
            codes = along(codes, 0, site.axis, {atom: partial(_chosen, places=places)}, known)
            known[atom] = length
        return codes

    def _centred(self, noise: Tensor, site: Site, fit: Fit, count: int) -> Tensor:
        """Less the mean over the new channels."""

        def change(part: Tensor, at: int) -> Tensor:
            old, new = part.split([part.shape[at] - count, count], at)
            return torch.cat([old, new - new.mean(at, keepdim=True)], at)

        return along(noise, site.dim, site.axis, {fit.atom: change}, self.sizes | {fit.atom: fit.to})

    def _is_new(self, site: Site, fit: Fit, count: int) -> Tensor:
        old = torch.zeros(size(site.axis, self.sizes), dtype=torch.bool)
        change = {fit.atom: lambda part, at: torch.cat([part, full_like(part, at, count, True)], at)}
        return along(old, 0, site.axis, change, self.sizes)


def times(tensor: Tensor, factor: float, offset: float, rows: tuple[int, Tensor] | None) -> Tensor:
    """A tensor times a factor, with a number added before and taken off after.

    Args:
        rows: a dimension, and which of its entries (BoolTensor); None for all.
    """
    made = (tensor.double() + offset) * factor - offset
    if rows is not None:
        made = torch.where(spread(rows[1].to(tensor.device), made.bool(), rows[0]), made, tensor.double())
    return made.to(tensor)


def _chosen(part: Tensor, at: int, places: Tensor) -> Tensor:
    return part.index_select(at, places)


def _writes_too(site: Site) -> bool:
    return any(use.role is not Role.READ for use in site.uses)


def _means(part: Tensor, at: int, index: int, factors: int, count: int) -> Tensor:
    """The mean over all factors of an axis, the one at dimension `at` being one of them, for `count` new entries."""
    dims = range(at - index, at - index + factors)
    mean = part.double().mean(tuple(dims), keepdim=True).to(part)
    return mean.expand([count if dim == at else length for dim, length in enumerate(part.shape)])
