"""Keep an optimizer training the edited network: the same object, its state mapped like the weights.

A new `Parameter` is unknown to the optimizer that trained the old one, and would never move again. Here each old
parameter is replaced in place in its parameter group, and its state (momentum, Adam's moments, anything of the
parameter's shape) goes through the edit's maps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.edit.plan import EditError, Moment

# How an optimizer's state of the parameter's shape scales with the gradient; 1 where nothing is said here.
POWERS = {
    "exp_avg_sq": 2,  # Adam, AdamW, NAdam, RAdam
    "max_exp_avg_sq": 2,  # AMSGrad
    "square_avg": 2,  # RMSprop, Adadelta
    "sum": 2,  # Adagrad
    "acc_delta": 0,  # Adadelta: squared updates
    "step_size": 0,  # Rprop
}
NOT_MOMENTS = {"ax"}  # ASGD: an average of weights


def prepare(
    optimizers: Sequence[torch.optim.Optimizer],
    old: dict[str, nn.Parameter],
    new: dict[str, nn.Parameter],
    moments: dict[str, Moment],
) -> Callable[[], None]:
    """Compute the optimizers' next states; the returned function puts them in place and cannot fail.

    Args:
        old: the model's parameters before the edit, by name, tied ones under each name.
        new: those after it. Parameters that are the same object are left alone; those of the same name replace each
            other; others are added (to the group of the parameter before them) or dropped.

    Raises:
        EditError: an optimizer has none of the model's parameters, or keeps state that cannot be mapped.
    """
    names = {id(parameter): name for name, parameter in reversed(old.items())}  # the first name of tied ones
    kept = {id(parameter) for parameter in new.values()}
    successors = {id(p): new[name] for name, p in old.items() if id(p) not in kept and name in new}
    states = [_next_states(optimizer, names, successors, moments) for optimizer in optimizers]
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    members = [
        [successors.get(id(p), p) for p in group["params"] if id(p) not in names or id(p) in kept | successors.keys()]
        for group in groups
    ]
    known = names.keys() | {id(parameter) for parameter in successors.values()}
    _add_inserted(members, list(dict.fromkeys(new.values())), known)

    labels = {id(p): name for name, p in reversed(new.items())}
    names_after = [_member_names(group, own, labels) for group, own in zip(groups, members, strict=True)]

    def commit() -> None:
        for optimizer, state in zip(optimizers, states, strict=True):
            for parameter in old.values():
                if id(parameter) not in kept:
                    optimizer.state.pop(parameter, None)
            optimizer.state.update(state)
        for group, parameters, member_names in zip(groups, members, names_after, strict=True):
            group["params"][:] = parameters
            if member_names:
                group["param_names"][:] = member_names

    return commit


def _next_states(
    optimizer: torch.optim.Optimizer,
    names: dict[int, str],
    successors: dict[int, nn.Parameter],
    moments: dict[str, Moment],
) -> dict[Tensor, dict[str, Any]]:
    own = [p for group in optimizer.param_groups for p in group["params"] if id(p) in names]
    if not own:
        raise EditError(
            "the given optimizer holds none of this model's parameters, so it would not train the edited network; "
            "pass the optimizer that was built from model.parameters()"
        )
    for parameter in own:
        _check_state(names[id(parameter)], optimizer.state.get(parameter, {}), parameter)
    return {
        successors[id(p)]: _carried(optimizer.state[p], p, moments.get(names[id(p)]))
        for p in own
        if id(p) in successors and p in optimizer.state
    }


def _check_state(name: str, state: dict[str, Any], parameter: nn.Parameter) -> None:
    """Refuse state that no map of the parameter's axes applies to, also where this edit leaves the parameter alone."""
    for key, value in state.items():
        if key in NOT_MOMENTS or isinstance(value, list | tuple | dict):
            raise EditError(
                f"the optimizer keeps {key!r}, which is no moment of the gradient and cannot be carried; "
                "use another optimizer, or build a new one after the edit"
            )
        if isinstance(value, Tensor) and value.numel() > 1 and value.shape != parameter.shape:
            raise EditError(
                f"the optimizer keeps state {key!r} of shape {tuple(value.shape)} for {name!r} of shape "
                f"{tuple(parameter.shape)}; only state of the parameter's own shape (or a single number) can be "
                "carried. Use such an optimizer, or build a new one after the edit"
            )


def _carried(state: dict[str, Any], parameter: nn.Parameter, moment: Moment | None) -> dict[str, Any]:
    return {
        key: moment(value, POWERS.get(key, 1))
        if isinstance(value, Tensor) and value.shape == parameter.shape and moment is not None
        else value
        for key, value in state.items()
    }


def _member_names(group: dict[str, Any], members: list[nn.Parameter], labels: dict[int, str]) -> list[str]:
    """The names of a group's members where it keeps them (an optimizer built from `named_parameters`)."""
    if "param_names" not in group:
        return []
    before = {id(p): name for p, name in zip(group["params"], group["param_names"], strict=True)}
    return [labels.get(id(p)) or before[id(p)] for p in members]


def _add_inserted(groups: list[list[nn.Parameter]], parameters: list[nn.Parameter], known: Set[int]) -> None:
    """Weights of inserted layers join the group of the trained weight before them, biases that of the bias before.

    Weights have two dimensions or more; where decay is set for them alone, they are in groups of their own.
    """
    fallback = next((group for group in groups if group), groups[0]) if groups else []
    homes: dict[bool, list[nn.Parameter]] = {}
    for parameter in parameters:
        is_weight = parameter.dim() > 1
        holder = next((group for group in groups if any(p is parameter for p in group)), None)
        if holder is not None:
            homes[is_weight] = holder
        elif id(parameter) not in known and parameter.requires_grad:
            homes.get(is_weight, fallback).append(parameter)
