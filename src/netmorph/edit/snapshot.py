"""What an edit took the place of: kept in the journal's entry, so that `undo` can put it back."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from netmorph.edit.numbered import former, moving
from netmorph.edit.plan import Edit, Plan
from netmorph.graph.held import look
from netmorph.graph.journal import Entry

Kind = tuple[torch.device, torch.dtype]


@dataclass(frozen=True, eq=False)
class Remembered:
    """An optimizer before an edit.

    Attributes:
        members: the parameters of each of its groups, in order: the model's by name, others as they are.
        states: of the parameters that the edit replaced or took out, by name, with the parameter itself.
    """

    optimizer: torch.optim.Optimizer
    members: list[list[str | nn.Parameter]]
    states: dict[str, tuple[nn.Parameter, dict[str, Any]]]


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of one network that an edit replaced. Nothing else is kept.

    Attributes:
        modules, tensors, attributes: the old ones, as in a `Plan`. Parameters are the same objects when they come back,
            so that other snapshots and optimizers know them.
        inserted: entries that come back, likewise; removed: the paths of those that the edit put in.
        shapes: of the old tensors, also of those in the modules, by name.
        changed: the names of the tensors that the edit changed.
        checksum: of what is there now, see `sealed`.
        kinds: the devices and types of the whole network's tensors then.
    """

    model: nn.Module
    modules: dict[str, nn.Module]
    inserted: dict[str, nn.Module]
    removed: tuple[str, ...]
    tensors: dict[str, Tensor]
    attributes: list[tuple[str, str, Any]]
    shapes: dict[str, list[int]]
    changed: tuple[str, ...]
    checksum: int = 0
    kinds: frozenset[Kind] = frozenset()

    @staticmethod
    def of(model: nn.Module, plan: Plan) -> Parts:
        """What a plan will replace."""
        current = tensors_of(model)
        modules = {path: model.get_submodule(path) for path in plan.modules}
        tensors = {name: current[name] for name in plan.tensors if name in current}
        moved = {path: model.get_submodule(path) for path in moving(model, (*plan.inserted, *plan.removed))}
        inside = {
            f"{path}.{name}": tensor
            for path, module in (modules | moved).items()
            for name, tensor in tensors_of(module).items()
        }
        places = [(former(path, plan), name) for path, name, _ in plan.attributes]
        return Parts(
            model,
            modules,
            {path: model.get_submodule(path) for path in reversed(plan.removed)},
            tuple(reversed(plan.inserted)),
            tensors,
            [(path, name, look(model.get_submodule(path), name)) for path, name in places if path is not None],
            {name: list(tensor.shape) for name, tensor in (inside | tensors).items()},
            tuple(plan.tensors),
        )

    def sealed(self, optimizers: Sequence[torch.optim.Optimizer] = ()) -> Parts:
        """The same with the checksum of what the edit has put in, and of the optimizers' state of that."""
        return replace(self, checksum=self._checksum(optimizers), kinds=kinds_of(self.model))

    def is_untouched(self, optimizers: Sequence[torch.optim.Optimizer] = ()) -> bool:
        """Whether that is still the same: nothing was trained since."""
        return self.checksum == self._checksum(optimizers)

    def _checksum(self, optimizers: Sequence[torch.optim.Optimizer]) -> int:
        """CRC-32 of the bytes."""
        current = tensors_of(self.model)
        chosen = [current[name] for name in self.changed]
        paths = (*self.modules, *self.removed)
        chosen += [tensor for path in paths for tensor in tensors_of(self.model.get_submodule(path)).values()]
        states = [optimizer.state[tensor] for optimizer in optimizers for tensor in chosen if tensor in optimizer.state]
        result = 0
        for leaf in tree_leaves([chosen, states]):
            if isinstance(leaf, Tensor):
                result = zlib.crc32(_bytes(leaf), result)
        return result


@dataclass(frozen=True, eq=False)
class Before:
    """What is needed to take an edit back.

    Attributes:
        exact: whether the edit kept the function.
        parts: of the network, and of its copies that were edited with it.
        optimizers: those that the edit carried.
    """

    edit: Edit
    exact: bool
    parts: list[Parts]
    optimizers: list[Remembered]

    def returning(self) -> Callable[[Sequence[torch.optim.Optimizer]], None]:
        """Look at the network before its old parts come back; what is called afterwards cannot fail.

        Returns:
            What gives the parameters that came back the `requires_grad` of those that went, and no gradient of long
            ago; and the optimizers, as far as they are those that the edit carried, their state and order of then.
        """
        model = self.parts[0].model
        held = {id(parameter) for parameter in model.parameters()}
        flags = [pair for parts in self.parts for pair in _flags(parts)]

        def finish(optimizers: Sequence[torch.optim.Optimizer]) -> None:
            parameters = dict(model.named_parameters())
            for parameter in parameters.values():
                if id(parameter) not in held:
                    parameter.grad = None
            for parameter, flag in flags:
                parameter.requires_grad_(flag)
            for remembered in self.optimizers:
                if any(remembered.optimizer is given for given in optimizers):
                    _restore(remembered, parameters)

        return finish


def _flags(parts: Parts) -> list[tuple[nn.Parameter, bool]]:
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


def _restore(remembered: Remembered, parameters: dict[str, nn.Parameter]) -> None:
    """Give an optimizer the state of the parameters that came back, and the order that it had."""
    optimizer = remembered.optimizer
    for name, (old, state) in remembered.states.items():
        if parameters.get(name) is old:
            optimizer.state[old] = state
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


def before_of(entry: Entry) -> Before | None:
    """What the edit of a journal's entry replaced, as long as that is kept."""
    return entry.before if isinstance(entry.before, Before) else None


def remember(
    optimizers: Sequence[torch.optim.Optimizer], old: Mapping[str, nn.Parameter], new: Mapping[str, nn.Parameter]
) -> list[Remembered]:
    """The optimizers' groups, and their states of those old parameters that are not among the new."""
    kept = {id(parameter) for parameter in new.values()}
    names = {id(parameter): name for name, parameter in reversed(list(old.items()))}
    return [
        Remembered(
            optimizer,
            [[names.get(id(p), p) for p in group["params"]] for group in optimizer.param_groups],
            {
                name: (p, dict(optimizer.state[p]))
                for name, p in old.items()
                if id(p) not in kept and p in optimizer.state
            },
        )
        for optimizer in optimizers
    ]


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def kinds_of(model: nn.Module) -> frozenset[Kind]:
    """The devices and types of a network's parameters and buffers."""
    return frozenset((tensor.device, tensor.dtype) for tensor in tensors_of(model).values())


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by canonical name: tied tensors once."""
    return dict(model.named_parameters()) | dict(model.named_buffers())
