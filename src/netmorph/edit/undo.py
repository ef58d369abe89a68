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
and what was frozen since stays frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, singledispatch

import torch
from torch import Tensor, nn

from netmorph.edit.depth import DeepenEdit, module_at
from netmorph.edit.plan import Edit, Moment, Plan
from netmorph.edit.rank import FactorizeEdit, merge
from netmorph.edit.shallow import ShallowEdit
from netmorph.edit.snapshot import Before, Parts, kinds_of, tensors_of
from netmorph.edit.width import WidthEdit
from netmorph.errors import EditError
from netmorph.graph import Graph, Role, Site
from netmorph.graph.axis import atoms
from netmorph.graph.journal import Description
from netmorph.widenings import ChannelMap

Drop = Callable[..., Tensor]


def undo(graph: Graph) -> UndoEdit:
    """The edit that takes back the last one of the graph's journal; `apply(graph, undo(graph), optimizer)` makes it.

    The new graph then has a journal without that edit. Optimizers that carried the edit get their old state back.

    Raises:
        EditError: there is nothing to undo: edits of a journal that was loaded from a file cannot be undone. By
            `apply`: the edit cannot be inverted now, or the network was moved to another device or converted to another
            type since.
    """
    before = graph.journal[-1].before if graph.journal else None
    if not isinstance(before, Before) or before.parts[0].model is not graph.model:
        raise EditError(
            "there is no edit of this model to undo; what an edit replaced is kept in the journal of the graph that "
            "apply returned, but not in files, and not by forget"
        )
    return UndoEdit(before)


def forget(graph: Graph) -> Graph:
    """The same graph with a journal that holds no replaced parts: their memory is free, and nothing can be undone."""
    return replace(graph, journal=tuple(replace(entry, before=None) for entry in graph.journal))


@dataclass(frozen=True, eq=False)
class UndoEdit:
    """The edit that takes another one back.

    Attributes:
        before: what the other one replaced.
    """

    before: Before

    def plan(self, graph: Graph) -> Plan:
        """See `Edit`."""
        if not graph.journal or graph.journal[-1].before is not self.before:
            told = self.describe()
            raise EditError(
                f"the edit to undo, {told.method} of {told.layer!r}, is not the last one of this graph; make the "
                "undo of the graph that it is applied to"
            )
        parts = next((parts for parts in self.before.parts if parts.model is graph.model), None)
        if parts is not None:
            _check_not_moved(parts)
        if parts is None or not self._is_untouched(parts):
            return replace(inverse(self.before.edit, graph, self.before), undoes=self.before)
        return Plan(
            exact=self.before.exact,
            tensors=dict(parts.tensors),
            attributes=list(parts.attributes),
            modules=_in_mode(parts.modules, graph.model),
            undoes=self.before,
        )

    def describe(self) -> Description:
        """See `Edit`."""
        undone = self.before.edit.describe()
        return Description("undo", undone.kind, undone.layer, undone.after, undone.before)

    def _is_untouched(self, parts: Parts) -> bool:
        """Whether the parts that the edit put in are as it left them, the state of its optimizers included."""
        is_first = parts is self.before.parts[0]
        return parts.is_untouched([entry.optimizer for entry in self.before.optimizers] if is_first else ())


@singledispatch
def inverse(edit: Edit, graph: Graph, before: Before) -> Plan:
    """What takes an edit back from a network that was trained since.

    Args:
        before: what the edit replaced.

    Raises:
        EditError: the edit has no inverse.
    """
    raise _lost(edit)


@inverse.register
def inverse_of_width(edit: WidthEdit, graph: Graph, before: Before) -> Plan:
    """See `inverse`: copies are summed where they are read, fresh channels go."""
    if any(len(set(channels.source[~channels.is_fresh].tolist())) < channels.n for channels in edit.changes.values()):
        raise _lost(edit)
    groups = {name: graph.group(name) for name in edit.changes}
    changes = {group.atom: edit.changes[name] for name, group in groups.items()}
    places: dict[str, list[Site]] = {}
    for site in {(site.tensor, site.dim): site for group in groups.values() for site in group.sites}.values():
        places.setdefault(site.tensor, []).append(site)

    def changed(tensor: Tensor, sites: list[Site], read: Drop) -> Tensor:
        for site in sites:
            drop = read if site.use.role is Role.READ else first_copies
            tensor = site.change(
                tensor, {atom: partial(drop, channels=changes[atom]) for atom in atoms(site.axis) if atom in changes}
            )
        return tensor

    def moment(sites: list[Site]) -> Moment:
        return lambda moment, power: changed(moment, sites, first_copies)  # copies of a channel have one gradient

    current = tensors_of(graph.model)
    return Plan(
        exact=False,
        tensors={name: changed(current[name].detach(), sites, summed_copies) for name, sites in places.items()},
        moments={name: moment(sites) for name, sites in places.items()},
        attributes=list(before.parts[0].attributes),
    )


@inverse.register
def inverse_of_deepening(edit: DeepenEdit, graph: Graph, before: Before) -> Plan:
    """See `inverse`: what was there stands before the block."""
    first, *_ = module_at(graph, edit.after).children()
    return Plan(exact=False, modules={edit.after: first})


@inverse.register
def inverse_of_factoring(edit: FactorizeEdit, graph: Graph, before: Before) -> Plan:
    """See `inverse`: the two layers' product."""
    return replace(merge(graph, edit.layer).plan(graph), specs={})


@inverse.register
def inverse_of_shallow(edit: ShallowEdit, graph: Graph, before: Before) -> Plan:
    """See `inverse`: the module was trained by nobody."""
    parts = next((parts for parts in before.parts if parts.model is graph.model), None)
    if parts is None or parts.tensors:
        raise _lost(edit)
    return Plan(exact=False, modules=_in_mode(parts.modules, graph.model))


def first_copies(tensor: Tensor, dim: int, channels: ChannelMap) -> Tensor:
    """Of `m` channels along a dimension, the first copy of each of the `n` old ones."""
    places = [int((channels.source == old).nonzero()[0]) for old in range(channels.n)]
    return tensor.index_select(dim, torch.tensor(places, device=tensor.device))


def summed_copies(tensor: Tensor, dim: int, channels: ChannelMap) -> Tensor:
    """Of `m` channels along a dimension, the sum of the copies of each of the `n` old ones."""
    copies = (~channels.is_fresh).nonzero().flatten()
    shape = [*tensor.shape[:dim], channels.n, *tensor.shape[dim + 1 :]]
    part = tensor.index_select(dim, copies.to(tensor.device))
    return tensor.new_zeros(shape).index_add(dim, channels.source[copies].to(tensor.device), part)


def _lost(edit: Edit) -> EditError:
    told = edit.describe()
    return EditError(
        f"{told.kind} ({told.method}) of {told.layer!r} cannot be undone any more: what it made was trained "
        "since (or a copy was not edited along when it was made), and what it left out is not in there"
    )


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
