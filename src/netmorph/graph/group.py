"""Channel groups: the axes that must change width together, collected from what the rules stated."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from netmorph.graph.axis import Allow, Atom, Axis, Change, Limit, along, atoms, resolve
from netmorph.graph.bounds import Bound, Order, least, most
from netmorph.graph.rules import Coupling
from netmorph.graph.uses import Attribute, Fill, Role, Use
from netmorph.graph.value import Value
from netmorph.graph.views import of_group
from netmorph.showing import Shows, View

ROLES = list(Role)  # writers first: they name a group


@dataclass(frozen=True)
class Site:
    """One dimension of one parameter or buffer that runs over a group's channels.

    Attributes:
        uses: what it is to the channels: one use, unless the weight is tied to another or used in several ways.
        all_uses: those of all channels that the dimension runs over.
    """

    tensor: str
    dim: int
    axis: Axis
    uses: tuple[Use, ...]
    all_uses: tuple[Use, ...]

    @property
    def use(self) -> Use:
        """The first use."""
        return self.uses[0]

    def use_of(self, atom: Atom) -> Use:
        """The first use of any of the channels that the dimension runs over."""
        return next(use for use in self.all_uses if use.is_of(atom))

    def change(self, tensor: Tensor, changes: Mapping[Atom, Change]) -> Tensor:
        """`tensor` with `changes[atom](part, dim)` applied wherever this dimension runs over an atom's channels."""
        return along(tensor, self.dim, self.axis, changes)


@dataclass(frozen=True, repr=False)
class Group(Shows):
    """Channels that change width together, under the name of the module that first writes them.

    Where one module writes several groups (heads and their width), the others have the name of the attribute that
    counts them (`blocks.0.attn.num_heads`), or a number (`conv#2`).

    Attributes:
        bounds: comparisons of the forward that ask something of this width.
    """

    name: str
    atom: Atom
    sites: tuple[Site, ...]
    attributes: tuple[Attribute, ...]
    bounds: tuple[Bound | Order, ...] = ()

    @functools.cached_property
    def least(self) -> int:
        """The smallest width for which the forward goes the same way, all other widths as they are."""
        return least(self.atom, self.bounds)

    @functools.cached_property
    def most(self) -> int | None:
        """The largest such width; None where there is no limit."""
        return most(self.atom, self.bounds)

    @property
    def size(self) -> int:
        """The number of channels."""
        return self.atom.size

    @property
    def allow(self) -> Allow:
        """Which changes of width are possible, and which can be exact."""
        return self.atom.allow

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why no more is allowed; empty when anything is."""
        return tuple(dict.fromkeys(limit.reason for limit in self.atom.limits if limit.allow == self.allow))

    def where(self, role: Role) -> tuple[Site, ...]:
        """The sites of one role."""
        return tuple(site for site in self.sites if site.use.role is role)

    def view(self) -> View:
        """Where the channels occur."""
        return of_group(self)

    def __str__(self) -> str:
        """One line: name, width, sites by role, and what limits the group."""
        counts = ", ".join(f"{len(self.where(role))} {role.value}s" for role in Role if self.where(role))
        limits = f"; {self.allow.name.lower()}: {self.reasons[0]}" if self.reasons else ""
        return f"{self.name}: {self.size} channels ({counts}){limits}"


def groups_of(
    tensors: dict[str, Value], coupling: Coupling, attributes: Sequence[Attribute], asked: Sequence[Bound | Order]
) -> dict[str, Group]:
    """All groups by name, in the order in which the forward meets them.

    Args:
        tensors: parameters and buffers by name, with their axes.
        attributes: what modules hold as lengths of axes.
        asked: what comparisons and operators ask of widths.
    """
    sites: dict[Atom, list[Site]] = {}
    used: dict[Atom, None] = {}  # an ordered set: by an operator that knows what the axis is for
    for name, value in tensors.items():
        for dim, axis in enumerate(value.axes):
            known = (*coupling.uses.get((name, dim), ()), Use(Role.CARRY, Fill.MEAN))
            for atom in dict.fromkeys(atoms(axis)):
                uses = tuple(use for use in known[:-1] if use.is_of(atom)) or known[-1:]
                site = Site(name, dim, resolve(axis), uses, known)
                if len({use.role is Role.READ for use in uses}) > 1:
                    atom.limits.append(
                        Limit(Allow.INEXACT, f"{name} both reads and writes these channels (tied weights)")
                    )
                sites.setdefault(atom, []).append(site)
                if (name, dim) in coupling.uses:
                    used[atom] = None
    counting: dict[Atom, list[Attribute]] = {}
    for attribute in attributes:
        for atom in {atom for axis in attribute.axes for atom in atoms(axis)}:
            counting.setdefault(atom, []).append(attribute)
    bounding: dict[Atom, list[Bound | Order]] = {}
    for bound in asked:
        for atom in bound.atoms():
            bounding.setdefault(atom, []).append(bound)
    met = {place: number for number, place in enumerate(coupling.uses)}  # in the order of the forward
    for found in sites.values():
        found.sort(key=lambda site: (ROLES.index(site.use.role), met.get((site.tensor, site.dim), len(met))))
    order = sorted(used, key=lambda atom: met.get((sites[atom][0].tensor, sites[atom][0].dim), len(met)))
    groups: dict[str, Group] = {}
    for atom in order:
        first, held = sites[atom][0], counting.get(atom, [])
        base = f"{module_of(first)}.in" if first.use.role is Role.READ else module_of(first)
        alone = [entry for entry in held if [*map(resolve, entry.axes)] == [(atom,)]]
        counted = [f"{entry.module}.{entry.name}".lstrip(".") for entry in alone]
        name = _name(groups, base, counted)
        groups[name] = Group(name, atom, tuple(sites[atom]), tuple(held), tuple(bounding.get(atom, ())))
    return groups


def module_of(site: Site) -> str:
    """The module that holds a site's tensor; for a parameter of the model itself, the parameter."""
    return site.tensor.rpartition(".")[0] or site.tensor


def _name(taken: dict[str, Group], base: str, counted: Sequence[str]) -> str:
    """The base, for the first group of a module; for others the attribute that counts them (`attn.num_heads`).

    A module writes several groups where its output is a product: heads and their width, groups and what is in each.
    """
    numbered = (f"{base}#{count}" for count in itertools.count(2))
    return next(name for name in itertools.chain((base, *counted), numbered) if name not in taken)
