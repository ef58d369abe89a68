"""An optimizer's state by parameter name: it survives process borders and models that are built anew."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.edit.carry import MOMENT_POWERS
from netmorph.errors import NetmorphError
from netmorph.memory_layout import align
from netmorph.wording import listed

KNOWN = {"step", *MOMENT_POWERS}  # what all optimizers that keep it mean by it
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
    try:
        packed = _packed(tensors, meta)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise OptimizerStateError(
            f"this is no state of an optimizer: {error!r}; give what pack_optimizer made"
        ) from error
    if kind != packed.kind:
        raise OptimizerStateError(f"the state is that of {packed.kind}, the optimizer is {kind}; build that one")
    names = names_of(optimizer, model)
    own = [{names[index]: list(p.shape) for index, p in members} for members in _members(optimizer)]
    if own != packed.members:
        raise OptimizerStateError(
            f"the state belongs to other parameters: {_difference(packed.members, own)}. "
            "Build the same network, and group its parameters in the same way"
        )
    parameters = dict(model.named_parameters())
    indices = {name: index for index, name in names.items()}
    state: dict[int, dict[str, Any]] = {}
    for (name, key), value in packed.entries.items():
        if name not in indices:
            raise OptimizerStateError(f"the state tells {key!r} of {name!r}, which the optimizer does not train")
        if isinstance(value, Tensor):
            _check_entry(name, key, value, parameters[name])
        state.setdefault(indices[name], {})[key] = value.clone() if isinstance(value, Tensor) else value
    _check_whole(packed)
    groups = [
        {
            **{key: tuple(value) if isinstance(value, list) else value for key, value in options.items()},
            "params": [index for index, _ in members],
        }
        for options, members in zip(packed.options, _members(optimizer), strict=True)
    ]
    # Moves the state to the device of each parameter, as well.
    before = dict(vars(optimizer))
    try:
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except OptimizerStateError:  # of an optimizer that looks before it changes anything
        raise
    except (KeyError, TypeError, ValueError) as error:
        vars(optimizer).update(before)
        raise OptimizerStateError(f"{kind} does not take this state ({error!r}); it is not whole") from error
    align(optimizer)


@dataclass(frozen=True)
class _Packed:
    """An optimizer's state as `pack_optimizer` told it."""

    kind: str
    members: list[dict[str, list[int]]]
    options: list[dict[str, Any]]
    entries: dict[tuple[str, str], Any]


def _packed(tensors: dict[str, Tensor], meta: dict[str, Any]) -> _Packed:
    """Raises: KeyError, TypeError, ValueError: a file may come from anyone."""
    told: dict[str, Any] = {**tensors, **meta["scalars"]}
    entries = {(name, key): value for entry, value in told.items() for name, _, key in [entry.rpartition("/")]}
    packed = _Packed(
        meta["optimizer"],
        [dict(group["parameters"]) for group in meta["groups"]],
        [dict(group["options"]) for group in meta["groups"]],
        entries,
    )
    for value in (*meta["scalars"].values(), *(value for options in packed.options for value in options.values())):
        if not _is_plain(value):
            raise TypeError(f"an optimizer keeps no {type(value).__name__}")
    return packed


def _check_whole(packed: _Packed) -> None:
    """Refuse a state of which a part is lost: of parameters of the same rank in one group, all keep the same."""
    kept: dict[str, set[str]] = {}
    for name, key in packed.entries:
        if key in KNOWN:  # others may be kept of some
            kept.setdefault(name, set()).add(key)
    for members in packed.members:
        ranks: dict[int, list[set[str]]] = {}
        for name, shape in members.items():
            if name in kept:
                ranks.setdefault(len(shape), []).append(kept[name])
        for found in ranks.values():
            lost = {key for keys in found for key in keys if any(key not in other for other in found)}
            if lost:
                raise OptimizerStateError(f"of some parameters the state lacks {listed(sorted(lost))}; it is not whole")


def _is_plain(value: object) -> bool:
    return all(map(_is_plain, value)) if isinstance(value, list) else isinstance(value, SCALARS)


def _check_entry(name: str, key: str, value: Tensor, parameter: Tensor) -> None:
    """Refuse what no optimizer keeps under such a name: it would be noticed in the next step, if at all."""
    is_right = value.numel() == 1 if key == "step" else value.shape == parameter.shape
    is_kind = value.is_complex() if parameter.is_complex() and key != "step" else value.is_floating_point()
    if key in KNOWN and not (is_right and is_kind):
        raise OptimizerStateError(
            f"{key!r} of {name!r} is {value.dtype} of shape {tuple(value.shape)} in the state, and the parameter is "
            f"{parameter.dtype} of shape {tuple(parameter.shape)}; give the state that belongs to the network"
        )


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
