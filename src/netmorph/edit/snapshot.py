"""What an edit took the place of: kept in the journal's entry, so that `undo` can put it back."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from netmorph.edit.plan import Edit, Plan

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
        shapes: of the old tensors, also of those in the modules, by name.
        changed: the names of the tensors that the edit changed.
        checksum: of what is there now, see `sealed`.
        kinds: the devices and types of the whole network's tensors then.
    """

    model: nn.Module
    modules: dict[str, nn.Module]
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
        inside = {
            f"{path}.{name}": tensor for path, module in modules.items() for name, tensor in tensors_of(module).items()
        }
        return Parts(
            model,
            modules,
            tensors,
            [(path, name, vars(model.get_submodule(path))[name]) for path, name, _ in plan.attributes],
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
        chosen += [tensor for path in self.modules for tensor in tensors_of(self.model.get_submodule(path)).values()]
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
