"""Keep an optimizer training the edited network: the same object, its state mapped like the weights.

A new `Parameter` is unknown to the optimizer that trained the old one, and would never move again. Here each old
parameter is replaced in place in its parameter group, and its state (momentum, Adam's moments, anything of the
parameter's shape) goes through the edit's maps.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.edit.plan import MomentMap
from netmorph.edit.replace import Undo
from netmorph.errors import EditError
from netmorph.memory_layout import aligned

# How an optimizer's state of the parameter's shape scales with the gradient. State of another name is refused, not
# guessed; add a name here where you know it.
MOMENT_POWERS = {
    "momentum_buffer": 1,  # SGD, RMSprop, Muon
    "exp_avg": 1,  # Adam and its kin, Adamax
    "exp_inf": 1,  # Adamax: the largest magnitude
    "grad_avg": 1,  # centered RMSprop
    "prev": 1,  # Rprop
    "exp_avg_sq": 2,  # Adam, AdamW, NAdam, RAdam
    "max_exp_avg_sq": 2,  # AMSGrad
    "square_avg": 2,  # RMSprop, Adadelta
    "sum": 2,  # Adagrad
    "acc_delta": 0,  # Adadelta: squared updates
    "step_size": 0,  # Rprop
}
# State that is an average of weights: it goes through an edit as a copy of the network's weights would.
WEIGHT_AVERAGES = {"ax"}  # ASGD

Averages = Mapping[str, Mapping[str, Tensor]]


def averages(optimizers: Sequence[torch.optim.Optimizer], names: Mapping[int, str]) -> dict[str, dict[str, Tensor]]:
    """The averages of weights that optimizers keep: by kind, then by the parameter's name.

    Args:
        names: of the model's parameters, by id.
    """
    found: dict[str, dict[str, Tensor]] = {}
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            for key in WEIGHT_AVERAGES & state.keys():
                if id(parameter) in names:
                    found.setdefault(key, {})[names[id(parameter)]] = state[key]
    return found


def prepare(
    optimizers: Sequence[torch.optim.Optimizer],
    old: dict[str, nn.Parameter],
    new: dict[str, nn.Parameter],
    changed: Container[str],
    moments: Mapping[str, MomentMap],
    averaged: Averages,
) -> Callable[[Undo], None]:
    """Compute the optimizers' next states; the returned function puts them in place and cannot fail.

    Args:
        old: the model's parameters before the edit, by name, tied ones under each name.
        new: those after it. Parameters that are the same object are left alone; those of the same name replace each
            other; others are added, see `_add_inserted`, or dropped.
        changed: the names of those that carry their state on. One of the same name in a module that took the place of
            another keeps the place in the optimizer, but starts without state.
        moments: what the edit does to a moment, by the parameter's name.
        averaged: the edited `averages`.

    Raises:
        EditError: an optimizer has none of the model's parameters, or keeps state that cannot be mapped.
    """
    names = {id(parameter): name for name, parameter in reversed(old.items())}  # the first name of tied ones
    kept = {id(parameter) for parameter in new.values()}
    successors = {
        id(p): new[name] for name, p in old.items() if id(p) not in kept and name in new and id(new[name]) not in names
    }
    carrying = {place: successor for place, successor in successors.items() if names[place] in changed}
    states = [_next_states(optimizer, names, carrying, moments, averaged) for optimizer in optimizers]
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    members = [
        [successors.get(id(p), p) for p in group["params"] if id(p) not in names or id(p) in kept | successors.keys()]
        for group in groups
    ]
    dropped = [
        (names[id(p)], p.dim() > 1, own)
        for group, own in zip(groups, members, strict=True)
        for p in group["params"]
        if id(p) in names and id(p) not in kept | successors.keys()
    ]
    known = names.keys() | {id(parameter) for parameter in successors.values()}
    labels = {id(p): name for name, p in reversed(new.items())}
    _add_inserted(members, {labels[id(p)]: p for p in new.values()}, known, dropped)
    owners = [optimizer for optimizer in optimizers for _ in optimizer.param_groups]
    if any(
        isinstance(owner, torch.optim.Muon) and any(p.dim() != 2 for p in own)
        for owner, own in zip(owners, members, strict=True)
    ):
        raise EditError(
            "the edit inserts a parameter that is no matrix, and Muon trains nothing else; pass the optimizer of the "
            "biases as well: apply(graph, edit, [muon, other])"
        )
    names_after = [_member_names(group, own, labels) for group, own in zip(groups, members, strict=True)]

    def commit(undo: Undo) -> None:
        undo.append(as_they_are(optimizers))
        for optimizer, state in zip(optimizers, states, strict=True):
            for parameter in old.values():
                if id(parameter) not in kept:
                    optimizer.state.pop(parameter, None)
            optimizer.state.update(state)
        for group, parameters, member_names in zip(groups, members, names_after, strict=True):
            group["params"][:] = parameters
            if member_names:
                group["param_names"][:] = member_names
        for group, optimizer in zip(groups, owners, strict=True):
            if isinstance(optimizer, torch.optim.SGD) and group["fused"]:
                _complete_momentum(optimizer, group["params"])

    return commit


def _complete_momentum(optimizer: torch.optim.Optimizer, members: list[nn.Parameter]) -> None:
    """Fused SGD steps with the momentum of all its parameters, or of none: that of new ones starts at zero."""
    if any(optimizer.state.get(p, {}).get("momentum_buffer") is not None for p in members):
        for p in members:
            if optimizer.state.get(p, {}).get("momentum_buffer") is None:
                optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)


def as_they_are(optimizers: Sequence[torch.optim.Optimizer]) -> Callable[[], None]:
    """What puts optimizers back to the states and members that they have now."""
    states = [dict(optimizer.state) for optimizer in optimizers]
    keys = ("params", "param_names")
    members = [
        [(group[key], list(group[key])) for group in optimizer.param_groups for key in keys if key in group]
        for optimizer in optimizers
    ]

    def restore() -> None:
        for optimizer, state, own in zip(optimizers, states, members, strict=True):
            optimizer.state.clear()
            optimizer.state.update(state)
            for held, before in own:
                held[:] = before

    return restore


def _next_states(
    optimizer: torch.optim.Optimizer,
    names: dict[int, str],
    successors: dict[int, nn.Parameter],
    moments: Mapping[str, MomentMap],
    averaged: Averages,
) -> dict[Tensor, dict[str, Any]]:
    own = [p for group in optimizer.param_groups for p in group["params"] if id(p) in names]
    if not own:
        raise EditError(
            "the given optimizer holds none of this model's parameters, so it would not train the edited network; "
            "pass the optimizer that was built from model.parameters()"
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise EditError(
            "L-BFGS keeps steps and gradients of all parameters in one vector, which cannot be carried; use another "
            "optimizer, or build a new one after the edit"
        )
    for parameter in own:
        _check_state(names[id(parameter)], optimizer.state.get(parameter, {}), parameter)
    return {
        successors[id(p)]: _carried(optimizer.state[p], p, successors[id(p)], names[id(p)], moments, averaged)
        for p in own
        if id(p) in successors and p in optimizer.state
    }


def _check_state(name: str, state: dict[str, Any], parameter: nn.Parameter) -> None:
    """Refuse state that no map of the parameter's axes applies to, also where this edit leaves the parameter alone."""
    for key, value in state.items():
        if isinstance(value, list | tuple | dict):
            raise EditError(
                f"the optimizer keeps {key!r} as {type(value).__name__}, which cannot be carried; "
                "use another optimizer, or build a new one after the edit"
            )
        if not isinstance(value, Tensor) or value.numel() <= 1:
            continue
        if value.shape != parameter.shape:
            raise EditError(
                f"the optimizer keeps state {key!r} of shape {tuple(value.shape)} for {name!r} of shape "
                f"{tuple(parameter.shape)}; only state of the parameter's own shape (or a single number) can be "
                "carried. Use such an optimizer, or build a new one after the edit"
            )
        if key not in MOMENT_POWERS.keys() | WEIGHT_AVERAGES:
            raise EditError(
                f"the optimizer keeps {key!r}, and netmorph does not know what it is. If it scales with the gradient, "
                f"say netmorph.edit.MOMENT_POWERS[{key!r}] = 1 (with its square: 2; not at all: 0); if it is an "
                f"average of weights, netmorph.edit.WEIGHT_AVERAGES.add({key!r})"
            )


def _carried(
    state: dict[str, Any],
    parameter: nn.Parameter,
    successor: nn.Parameter,
    name: str,
    moments: Mapping[str, MomentMap],
    averaged: Averages,
) -> dict[str, Any]:
    def carried(key: str, value: Any) -> Any:
        if key in averaged:
            return averaged[key][name]
        if isinstance(value, Tensor) and value.shape == parameter.shape and key in MOMENT_POWERS and name in moments:
            return moments[name](value, MOMENT_POWERS[key])
        return value

    return aligned({key: carried(key, value) for key, value in state.items()}, successor)


def _member_names(group: dict[str, Any], members: list[nn.Parameter], labels: dict[int, str]) -> list[str]:
    """The names of a group's members where it keeps them (an optimizer built from `named_parameters`)."""
    if "param_names" not in group:
        return []
    before = {id(p): name for p, name in zip(group["params"], group["param_names"], strict=True)}
    return [labels.get(id(p)) or before[id(p)] for p in members]


def _add_inserted(
    groups: list[list[nn.Parameter]],
    parameters: dict[str, nn.Parameter],
    known: Set[int],
    dropped: list[tuple[str, bool, list[nn.Parameter]]],
) -> None:
    """Weights of inserted layers join the group of the weight whose place they take (the factors of a layer do), else
    that of the trained weight before them, unless they are frozen; biases likewise.

    Weights have two dimensions or more; where decay is set for them alone, they are in groups of their own. In the
    group, they stand where the model has them, so that an optimizer built anew has its parameters in the same order.

    Args:
        parameters: of the edited model, by name.
        known: the ids of those that are not inserted.
        dropped: the names of parameters that left, whether they are weights, and their groups.
    """
    place = {id(parameter): number for number, parameter in enumerate(parameters.values())}
    fallback = next((group for group in groups if group), groups[0]) if groups else []
    homes = {p.dim() > 1: group for group in reversed(groups) for p in group}  # where there is none before: the first
    for name, parameter in parameters.items():
        is_weight = parameter.dim() > 1
        holder = next((group for group in groups if any(p is parameter for p in group)), None)
        if holder is not None:
            homes[is_weight] = holder
        elif id(parameter) not in known:
            left = (group for old, weight, group in dropped if weight == is_weight and _is_inside(name, old))
            home = next(left, homes.get(is_weight, fallback) if parameter.requires_grad else None)
            if home is None:
                continue
            later = (at for at, p in enumerate(home) if place.get(id(p), -1) > place[id(parameter)])
            home.insert(next(later, len(home)), parameter)


def _is_inside(one: str, other: str) -> bool:
    """Whether the module that holds one parameter is that of another, or inside of it, or the other way round."""
    inner, outer = (f"{name.rpartition('.')[0]}." for name in (one, other))
    return inner.startswith(outer) or outer.startswith(inner)
