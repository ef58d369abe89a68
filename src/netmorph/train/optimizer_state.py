"""An optimizer's state by parameter name: it survives process borders and models that are built anew."""

from typing import Any

import torch
from torch import Tensor, nn

from netmorph.errors import NetmorphError
from netmorph.memory_layout import align
from netmorph.wording import listed

SCALARS = (bool, int, float, str, type(None))


class OptimizerStateError(NetmorphError):
    """An optimizer's state cannot be stored, or belongs to another model or optimizer."""


def pack_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Copy an optimizer's state out: tensors by "parameter name/state name", the rest as JSON-able values.

    Raises:
        OptimizerStateError: it holds a parameter that is not the model's, or state that is neither a tensor
            nor plain.
    """
    names = names_of(optimizer, model)
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, Any] = {}
    packed = optimizer.state_dict()
    for index, state in packed["state"].items():
        for key, value in state.items():
            entry = f"{names[index]}/{key}"
            if isinstance(value, Tensor):
                tensors[entry] = value.detach().clone()
            else:
                scalars[entry] = _plain(entry, value)
    groups = [
        {
            "parameters": {names[index]: list(parameter.shape) for index, parameter in members},
            "options": {key: _plain(key, value) for key, value in group.items() if key not in _MEMBERS},
        }
        for group, members in zip(packed["param_groups"], _members(optimizer), strict=True)
    ]
    return tensors, {"optimizer": type(optimizer).__name__, "groups": groups, "scalars": scalars}


def unpack_optimizer(
    optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor], meta: dict[str, Any]
) -> None:
    """Put what `pack_optimizer` took out into an optimizer of the same kind.

    Its parameters must have the same names, shapes and groups. Options such as the weight decay are put back,
    too. The tensors given are copied.

    Raises:
        OptimizerStateError: kind, names, shapes or groups differ; the optimizer is as it was.
    """
    kind = type(optimizer).__name__
    if kind != meta["optimizer"]:
        raise OptimizerStateError(f"the state is that of {meta['optimizer']}, the optimizer is {kind}; build that one")
    names = names_of(optimizer, model)
    own = [{names[index]: list(p.shape) for index, p in members} for members in _members(optimizer)]
    stored = [group["parameters"] for group in meta["groups"]]
    if own != stored:
        raise OptimizerStateError(
            f"the state belongs to other parameters: {_difference(stored, own)}. "
            "Build the same network, and group its parameters in the same way"
        )
    indices = {name: index for index, name in names.items()}
    state: dict[int, dict[str, Any]] = {}
    for entry, value in {**tensors, **meta["scalars"]}.items():
        name, _, key = entry.rpartition("/")
        state.setdefault(indices[name], {})[key] = value.clone() if isinstance(value, Tensor) else value
    groups = [
        {
            **{key: tuple(value) if isinstance(value, list) else value for key, value in group["options"].items()},
            "params": [index for index, _ in members],
        }
        for group, members in zip(meta["groups"], _members(optimizer), strict=True)
    ]
    # Moves the state to the device of each parameter, as well.
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    align(optimizer)


# Entries of a group that list its members.
_MEMBERS = ("params", "param_names")


def _members(optimizer: torch.optim.Optimizer) -> list[list[tuple[int, Tensor]]]:
    """For each group, its parameters with the indices that `state_dict` gives them."""
    groups = [group["params"] for group in optimizer.param_groups]
    starts = [sum(map(len, groups[:number])) for number in range(len(groups))]
    return [list(enumerate(group, start)) for start, group in zip(starts, groups, strict=True)]


def names_of(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[int, str]:
    """The names of an optimizer's parameters by the indices that `state_dict` gives them.

    Raises:
        OptimizerStateError: it holds a parameter that is not the model's.
    """
    by_identity = {id(parameter): name for name, parameter in model.named_parameters()}
    names = {}
    for members in _members(optimizer):
        for index, parameter in members:
            if id(parameter) not in by_identity:
                raise OptimizerStateError(
                    f"the optimizer holds a parameter of shape {tuple(parameter.shape)} that is not in "
                    f"{type(model).__name__}; build the optimizer from this model, or carry it through edits"
                )
            names[index] = by_identity[id(parameter)]
    return names


def _plain(key: str, value: object) -> object:
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.item()
    if isinstance(value, SCALARS):
        return value
    if isinstance(value, (tuple, list)):
        return [_plain(key, item) for item in value]
    raise OptimizerStateError(
        f"the optimizer keeps {key!r} as {type(value).__name__}; only tensors and plain values can be stored"
    )


def _difference(stored: list[dict[str, Any]], own: list[dict[str, Any]]) -> str:
    flat_stored = {name: (shape, number) for number, group in enumerate(stored) for name, shape in group.items()}
    flat_own = {name: (shape, number) for number, group in enumerate(own) for name, shape in group.items()}
    different = [name for name in {**flat_stored, **flat_own} if flat_stored.get(name) != flat_own.get(name)]
    return listed(different)
