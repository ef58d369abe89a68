"""Take edits back, the last one first.

The rule: as long as nothing that the edit changed has changed since (weights, buffers, the optimizers' state of them),
the old parts are put back, bit for bit. Once it has been trained, the edit is inverted on the trained weights, as far
as it has an inverse:

- widen: the new channels go, and what reads copies of a channel reads the channel with the sum of their weights. What
  fresh channels have learnt is lost.
- deepen: the block goes, and what it has learnt with it.
- factorize: the two layers are multiplied into one.
- shallow, linearize: the module comes back as it was when it was taken out, unless its effect was folded into
  neighbours that were trained since.

Anything else (narrowed channels, say) is lost by then, and `undo` says so. What the edit did not touch stays as it is,
and what was frozen since stays frozen. A journal that was read from a file, or forgot the old parts, knows the inverses
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.edit.depth import module_at
from netmorph.edit.fit import times
from netmorph.edit.plan import Described, MomentMap, Plan
from netmorph.edit.rank import merge
from netmorph.edit.snapshot import Before, Parts, before_of, kinds_of, tensors_of
from netmorph.edit.tensors import spread
from netmorph.errors import EditError
from netmorph.graph import Graph, Role, Site
from netmorph.graph.axis import atoms
from netmorph.graph.journal import Description, Entry
from netmorph.widenings import FRESH


def undo(graph: Graph) -> UndoEdit:
    """The edit that takes back the last one of the graph's journal; `apply(graph, undo(graph), optimizer)` makes it.

    The new graph then has a journal without that edit. Where old parts come back, optimizers that carried the edit get
    their old state back.

    Raises:
        EditError: there is nothing to undo. By `apply`: the edit cannot be inverted now, or the network was moved to
            another device or converted to another type since.
    """
    if not graph.journal:
        raise EditError("there is no edit to undo: the graph's journal is empty")
    return UndoEdit(graph.journal[-1])


def forget(graph: Graph) -> Graph:
    """The same graph with a journal that holds no replaced parts: their memory is free, and only inverses are left."""
    return replace(graph, journal=tuple(replace(entry, before=None) for entry in graph.journal))


@dataclass(frozen=True, eq=False, repr=False)
class UndoEdit(Described):
    """The edit that takes another one back.

    Attributes:
        entry: the other one's, the last of the journal.
    """

    entry: Entry

    def plan(self, graph: Graph) -> Plan:
        """See `Edit`."""
        if not graph.journal or graph.journal[-1] is not self.entry:
            told = self.describe()
            raise EditError(
                f"the edit to undo, {told.method} of {told.layer!r}, is not the last one of this graph; make the "
                "undo of the graph that it is applied to"
            )
        before = before_of(self.entry)
        parts = next((p for p in before.parts if p.model is graph.model), None) if before is not None else None
        if parts is not None:
            _check_not_moved(parts)
        if before is None or parts is None or not _is_untouched(parts, before):
            return replace(_inverted(self.entry, graph, parts), undoes=self.entry)
        return Plan(
            exact=before.exact,
            tensors=dict(parts.tensors),
            attributes=list(parts.attributes),
            modules=_in_mode(parts.modules, graph.model),
            inserted=_entries_in_mode(parts.inserted, graph.model),
            removed=parts.removed,
            undoes=self.entry,
        )

    def describe(self) -> Description:
        """See `Edit`."""
        undone = self.entry.edit
        return Description("undo", undone.kind, undone.layer, undone.after, undone.before)


def _is_untouched(parts: Parts, before: Before) -> bool:
    """Whether the parts that the edit put in are as it left them, the state of its optimizers included."""
    is_first = parts is before.parts[0]
    return parts.is_untouched([entry.optimizer for entry in before.optimizers] if is_first else ())


def _inverted(entry: Entry, graph: Graph, parts: Parts | None) -> Plan:
    inverse = entry.inverse or {"kind": "none"}
    plan = INVERSES[inverse["kind"]](inverse, graph, parts) if inverse["kind"] in INVERSES else None
    if plan is None:
        told = entry.edit
        raise EditError(
            f"{told.kind} ({told.method}) of {told.layer!r} cannot be undone any more. What it left out is "
            "not in the network. The old parts are known until what it made is trained, of the model and the copies "
            "that apply edited, in the journal that it returned (not in files, not after forget)"
        )
    return plan


def inverse_of_width(told: dict[str, Any], graph: Graph, parts: Parts | None) -> Plan:
    """Copies are summed where they are read, fresh channels go."""
    groups = {name: graph.group(name) for name in told["sources"]}
    other = [name for name, group in groups.items() if group.size != len(told["sources"][name])]
    if other:
        raise EditError(
            f"group {other[0]!r} has {groups[other[0]].size} channels, the edit to undo made "
            f"{len(told['sources'][other[0]])}; give the network that the journal is of"
        )
    changes = {group.atom: torch.tensor(told["sources"][name]) for name, group in groups.items()}
    totals = {
        groups[name].atom: torch.tensor(found, dtype=torch.float64) for name, found in told.get("totals", {}).items()
    }
    places: dict[str, list[Site]] = {}
    for site in {(site.tensor, site.dim): site for group in groups.values() for site in group.sites}.values():
        places.setdefault(site.tensor, []).append(site)

    def changed(tensor: Tensor, sites: list[Site], is_weight: bool) -> Tensor:
        for site in sites:
            found = [atom for atom in atoms(site.axis) if atom in changes]
            drops = {atom: partial(first_copies, source=changes[atom]) for atom in found}
            if is_weight:
                drops |= {
                    atom: partial(summed_copies, source=changes[atom], totals=totals.get(atom))
                    for atom in found
                    if site.use_of(atom).role is Role.READ
                }
            tensor = site.change(tensor, drops)
        return tensor

    def moment(sites: list[Site]) -> MomentMap:
        return lambda moment, power: changed(moment, sites, is_weight=False)  # copies of a channel have one gradient

    current = tensors_of(graph.model)
    tensors = {name: changed(current[name].detach(), sites, is_weight=True) for name, sites in places.items()}
    _check_shapes(graph, tensors, told.get("shapes", {}))
    return Plan(
        exact=False,
        tensors=_divided(tensors, told.get("multiplied", ())),
        moments={name: moment(sites) for name, sites in places.items()},
        attributes=[(path, name, value) for path, name, value in told["attributes"]],
    )


def _check_shapes(graph: Graph, tensors: Mapping[str, Tensor], told: Mapping[str, Sequence[int]]) -> None:
    """A width that a forward works out with plain integers may look like another one once it is as large."""
    for name, before in told.items():
        found = list(tensors[name].shape if name in tensors else graph.shapes[name])
        if found != before:
            raise EditError(
                f"the edit cannot be taken back: {name!r} had the shape {before}, and would have {found} now. The "
                "forward works with plain integers (`int(x.shape[1])`), of which tracing cannot tell equal ones apart, "
                "so at these widths it finds other channels that belong together. Undo before training, or narrow"
            )


def _divided(tensors: dict[str, Tensor], multiplied: Iterable[dict[str, Any]]) -> dict[str, Tensor]:
    """Take back what norms and the scale of attention were made up for with."""
    for step in reversed(list(multiplied)):
        tensor, rows = tensors[step["tensor"]], None
        if step["rows"] is not None:
            dim, chosen = step["rows"]
            rows = (dim, torch.zeros(tensor.shape[dim], dtype=torch.bool).index_fill(0, torch.tensor(chosen), True))
        tensors[step["tensor"]] = times(tensor, 1 / step["factor"], step["offset"], rows)
    return tensors


def inverse_of_deepening(told: dict[str, Any], graph: Graph, parts: Parts | None) -> Plan:
    """What was there stands before the block."""
    first, *_ = module_at(graph, told["after"]).children()
    return Plan(exact=False, modules={told["after"]: first})


def inverse_of_entry(told: dict[str, Any], graph: Graph, parts: Parts | None) -> Plan:
    """The entry goes, and those behind it get their numbers back."""
    module_at(graph, told["path"])
    attributes = [(path, name, value) for path, name, value in told["attributes"]]
    return Plan(exact=False, removed=(told["path"],), attributes=attributes)


def inverse_of_factoring(told: dict[str, Any], graph: Graph, parts: Parts | None) -> Plan:
    """The two layers' product."""
    return replace(merge(graph, told["layer"]).plan(graph), specs={})


def inverse_of_shallow(told: dict[str, Any], graph: Graph, parts: Parts | None) -> Plan | None:
    """The module was trained by nobody."""
    if parts is None or parts.tensors:
        return None
    return Plan(
        exact=False,
        modules=_in_mode(parts.modules, graph.model),
        inserted=_entries_in_mode(parts.inserted, graph.model),
        attributes=list(parts.attributes),
    )


# What takes an edit back from a network that was trained since, by the kind of a plan's `inverse`: that, the graph, and
# the parts that the edit replaced where they are still known, -> a plan, or None where it is lost.
INVERSES: dict[str, Callable[[dict[str, Any], Graph, Parts | None], Plan | None]] = {
    "width": inverse_of_width,
    "deepen": inverse_of_deepening,
    "entry": inverse_of_entry,
    "factorize": inverse_of_factoring,
    "shallow": inverse_of_shallow,
}


def first_copies(tensor: Tensor, dim: int, source: Tensor) -> Tensor:
    """Of channels along a dimension, the first copy of each old one that `source` [channels] names."""
    places = [int((source == old).nonzero()[0]) for old in range(int(source.max()) + 1)]
    return tensor.index_select(dim, torch.tensor(places, device=tensor.device))


def summed_copies(tensor: Tensor, dim: int, source: Tensor, totals: Tensor | None = None) -> Tensor:
    """Of channels along a dimension, the sum of the copies of each old one that `source` [channels] names.

    Args:
        totals: what the edit multiplied each old one by, where that was not one; it is divided by.
    """
    copies = (source != FRESH).nonzero().flatten()
    shape = [*tensor.shape[:dim], int(source.max()) + 1, *tensor.shape[dim + 1 :]]
    part = tensor.index_select(dim, copies.to(tensor.device))
    summed = tensor.new_zeros(shape).index_add(dim, source[copies].to(tensor.device), part)
    return summed if totals is None else summed / spread(totals, summed, dim)


def _check_not_moved(parts: Parts) -> None:
    now = kinds_of(parts.model)
    if now != parts.kinds:
        then, today = (
            ", ".join(sorted(f"{dtype} on {device}" for device, dtype in kinds)) for kinds in (parts.kinds, now)
        )
        raise EditError(
            f"the network's tensors were {then} when the edit was made, and are {today} now; what the edit replaced "
            "has stayed as it was. Move or convert the network back, undo the edit, and move it again"
        )


def _in_mode(modules: dict[str, nn.Module], model: nn.Module) -> dict[str, nn.Module]:
    """Modules that come back, in the mode that the network was put into while they were out."""
    for path, module in modules.items():
        mode = model.get_submodule(path).training
        if module.training != mode:
            module.train(mode)
    return dict(modules)


def _entries_in_mode(entries: dict[str, nn.Module], model: nn.Module) -> dict[str, nn.Module]:
    """The same for entries; the mode is that of what they are put into."""
    for path, module in entries.items():
        mode = model.get_submodule(path.rpartition(".")[0]).training
        if module.training != mode:
            module.train(mode)
    return dict(entries)
