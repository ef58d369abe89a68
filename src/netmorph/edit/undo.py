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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, singledispatch
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.edit.apply import apply
from netmorph.edit.depth import DeepenEdit, module_at
from netmorph.edit.plan import Edit, Moment, Plan
from netmorph.edit.rank import FactorizeEdit, merge
from netmorph.edit.shallow import ShallowEdit
from netmorph.edit.snapshot import Before, Parts, Remembered, kinds_of, tensors_of
from netmorph.edit.width import WidthEdit
from netmorph.errors import EditError
from netmorph.graph import Graph, Role, Site
from netmorph.graph.axis import atoms
from netmorph.widenings import ChannelMap

Drop = Callable[..., Tensor]


def undo(
    graph: Graph,
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] = (),
    copies: Sequence[nn.Module] = (),
) -> Graph:
    """Take back the last edit of the graph's journal, in place.

    Args:
        graph: the current graph. Edits of a journal that was loaded from a file cannot be undone.
        optimizer, copies: as for `apply`. Old optimizer state comes back if these are the ones that the edit carried.

    Returns:
        The new graph, with a journal without that edit.

    Raises:
        EditError: there is nothing to undo, or the edit cannot be inverted now, or the network was moved to another
            device or converted to another type since. All is as it was.
    """
    before = graph.journal[-1].before if graph.journal else None
    if before is None or before.parts[0].model is not graph.model:
        raise EditError(
            "there is no edit of this model to undo; what an edit replaced is kept in the journal of the graph that "
            "apply returned, but not in files, and not by forget"
        )
    optimizers = [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else list(optimizer)
    edit = UndoEdit(before, tuple(optimizers))
    is_untouched = edit.is_untouched(before.parts[0])
    held = {id(parameter) for parameter in graph.model.parameters()}
    trained = [pair for parts in before.parts for pair in _trained(parts)]
    after = apply(graph, edit, optimizers, copies)
    parameters = dict(graph.model.named_parameters())
    for parameter in parameters.values():
        if id(parameter) not in held:
            parameter.grad = None  # of a step long gone
    for parameter, flag in trained:
        parameter.requires_grad_(flag)
    for remembered in before.optimizers:
        if any(remembered.optimizer is given for given in optimizers):
            _restore(remembered, parameters, is_untouched)
    return replace(after, journal=graph.journal[:-1])


def forget(graph: Graph) -> Graph:
    """The same graph with a journal that holds no replaced parts: their memory is free, and nothing can be undone."""
    return replace(graph, journal=tuple(replace(entry, before=None) for entry in graph.journal))


@dataclass(frozen=True, eq=False)
class UndoEdit:
    """The edit that takes another one back."""

    before: Before
    optimizers: tuple[torch.optim.Optimizer, ...]

    def plan(self, graph: Graph) -> Plan:
        """See `Edit`."""
        parts = next((parts for parts in self.before.parts if parts.model is graph.model), None)
        if parts is not None:
            _check_not_moved(parts)
        if parts is None or not self.is_untouched(parts):
            return inverse(self.before.edit, graph, self.before)
        return Plan(
            exact=self.before.exact,
            tensors=dict(parts.tensors),
            moments={name: partial(_blank, like=tensor) for name, tensor in parts.tensors.items()},
            attributes=list(parts.attributes),
            modules=_in_mode(parts.modules, graph.model),
        )

    def describe(self) -> dict[str, Any]:
        """See `Edit`."""
        told = self.before.edit.describe()
        return {"kind": "undo", "method": told["kind"], "layer": told["layer"]} | {
            "before": told["after"],
            "after": told["before"],
        }

    def is_untouched(self, parts: Parts) -> bool:
        """Whether the parts that the edit put in are as it left them, optimizer state included."""
        if parts is not self.before.parts[0]:
            return parts.is_untouched()
        carried = [remembered.optimizer for remembered in self.before.optimizers]
        same = len(carried) == len(self.optimizers) and all(
            a is b for a, b in zip(carried, self.optimizers, strict=True)
        )
        return same and parts.is_untouched(self.optimizers)


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
        f"{told['kind']} ({told['method']}) of {told['layer']!r} cannot be undone any more: what it made was trained "
        "since (or the optimizers and copies are not those that apply was given), and what it left out is not in there"
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


def _trained(parts: Parts) -> list[tuple[nn.Parameter, bool]]:
    """The `requires_grad` of parameters that come back: frozen (or not) since the edit, they stay so."""
    current = tensors_of(parts.model)
    flags = [
        (old, current[name].requires_grad)
        for name, old in parts.tensors.items()
        if isinstance(old, nn.Parameter) and name in current
    ]
    for path, module in parts.modules.items():
        now = [parameter.requires_grad for parameter in parts.model.get_submodule(path).parameters()]
        if now and not any(now):
            flags += [(parameter, False) for parameter in module.parameters()]
    held = {id(parameter) for parameter in parts.model.parameters()}
    return [(parameter, flag) for parameter, flag in flags if id(parameter) not in held]


def _in_mode(modules: dict[str, nn.Module], model: nn.Module) -> dict[str, nn.Module]:
    """Modules that come back, in the mode that the network was put into while they were out."""
    for path, module in modules.items():
        mode = model.get_submodule(path).training
        if module.training != mode:
            module.train(mode)
    return dict(modules)


def _blank(moment: Tensor, power: int, like: Tensor) -> Tensor:
    """In place of a moment that comes back from memory."""
    return moment.new_zeros(like.shape)


def _restore(remembered: Remembered, parameters: dict[str, nn.Parameter], is_untouched: bool) -> None:
    """Give an optimizer back the state and the order of its parameters that it had."""
    optimizer = remembered.optimizer
    for name, (old, state) in remembered.states.items():
        now = parameters.get(name)
        if now is not None and (is_untouched or now is old):
            optimizer.state[now] = state
    groups = optimizer.param_groups
    wanted = [[parameters.get(p) if isinstance(p, str) else p for p in own] for own in remembered.members]
    held = {id(p) for group in groups for p in group["params"]}
    if len(groups) != len(wanted) or held != {id(p) for own in wanted for p in own}:
        return  # the user has added parameters since: the order is theirs
    names = {id(p): name for name, p in reversed(list(parameters.items()))}
    for group, own in zip(groups, wanted, strict=True):
        if "param_names" in group:
            known = names | dict(zip(map(id, group["params"]), group["param_names"], strict=True))
            group["param_names"][:] = [known[id(p)] for p in own]
        group["params"][:] = own
