"""Keep an optimizer training the edited network: the same object, its state mapped like the weights.

A new `Parameter` is unknown to the optimizer that trained the old one, and would never move again. Here each old
parameter is replaced in place in its parameter group, and its state (momentum, Adam's moments, anything of the
parameter's shape) goes through the edit's maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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


def prepare(
    optimizer: torch.optim.Optimizer,
    old: dict[str, nn.Parameter],
    new: dict[str, nn.Parameter],
    moments: dict[str, Moment],
) -> Callable[[], None]:
    """Compute the optimizer's next state; the returned function puts it in place and cannot fail.

    Args:
        old: the model's parameters before the edit, by name, tied ones under each name.
        new: those after it. Parameters that are the same object are left alone; those of the same name replace each
            other; others are added (to the group of the parameter before them) or dropped.

    Raises:
        EditError: the optimizer has none of the model's parameters, or keeps state that cannot be mapped.
    """
    groups = [list(group["params"]) for group in optimizer.param_groups]
    held = {id(parameter) for group in groups for parameter in group}
    if not held & {id(parameter) for parameter in old.values()}:
        raise EditError(
            "the given optimizer holds none of this model's parameters, so it would not train the edited network; "
            "pass the optimizer that was built from model.parameters()"
        )
    states: dict[Tensor, dict[str, Any]] = {}
    kept = {id(parameter) for parameter in new.values()}
    names = {id(parameter): name for name, parameter in old.items()}
    replaced: dict[int, nn.Parameter] = {}
    for name, parameter in old.items():
        successor = new.get(name)
        if id(parameter) in held and id(parameter) not in kept and successor is not None:
            replaced[id(parameter)] = successor
            states[successor] = _carried(name, optimizer.state.get(parameter, {}), parameter, moments.get(name))
    dropped = [p for name, p in old.items() if id(p) in held and id(p) not in kept and id(p) not in replaced]
    for group in groups:
        group[:] = [replaced.get(id(p), p) for p in group if id(p) in replaced or id(p) in kept or id(p) not in names]
    _add_new(groups, old, new)

    def commit() -> None:
        for parameter in (*dropped, *(old[name] for name in old if id(old[name]) in replaced)):
            optimizer.state.pop(parameter, None)
        optimizer.state.update(states)
        for group, parameters in zip(optimizer.param_groups, groups, strict=True):
            group["params"][:] = parameters

    return commit


def _carried(name: str, state: dict[str, Any], parameter: nn.Parameter, moment: Moment | None) -> dict[str, Any]:
    carried = {}
    for key, value in state.items():
        if isinstance(value, Tensor) and value.shape == parameter.shape and moment is not None:
            carried[key] = moment(value, POWERS.get(key, 1))
        elif isinstance(value, Tensor) and value.numel() > 1 and value.shape != parameter.shape:
            raise EditError(
                f"the optimizer keeps state {key!r} of shape {tuple(value.shape)} for {name!r} of shape "
                f"{tuple(parameter.shape)}; only state of the parameter's own shape (or a single number) can be "
                "carried. Use such an optimizer, or build a new one after the edit"
            )
        else:
            carried[key] = value
    return carried


def _add_new(groups: list[list[nn.Parameter]], old: dict[str, nn.Parameter], new: dict[str, nn.Parameter]) -> None:
    """Parameters of inserted layers join the group of the trained parameter before them."""
    before = {id(parameter) for parameter in old.values()} | {id(p) for group in groups for p in group}
    home = next(group for group in groups if group or len(groups) == 1)
    for parameter in _unique(new.values()):
        holder = next((group for group in groups if any(p is parameter for p in group)), None)
        if holder is not None:
            home = holder
        elif id(parameter) not in before and parameter.requires_grad:
            home.append(parameter)


def _unique(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    return list({id(parameter): parameter for parameter in parameters}.values())
