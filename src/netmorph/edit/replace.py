"""The only place where a network changes. Each step can be undone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from netmorph.graph.state import ABSENT, Kept, blank, contents, put

Undo = list[Callable[[], None]]


@contextlib.contextmanager
def undone_on_error() -> Iterator[Undo]:
    """Collects the steps that take a change back, and takes them on any exception."""
    undo: Undo = []
    try:
        yield undo
    except BaseException:
        for step in reversed(undo):
            step()
        raise


def change(
    model: nn.Module,
    modules: Mapping[str, nn.Module],
    tensors: Mapping[str, Tensor],
    attributes: Iterable[tuple[str, str, Any]],
    undo: Undo,
) -> None:
    """Put modules, then tensors, then attributes that hold sizes in the place of the model's own.

    Args:
        modules: by path. A module that is found at several paths is replaced at all of them.
        tensors: parameters and buffers by canonical name (the first of tied ones); replaced wherever they are used.
            A parameter becomes a new `Parameter` with the same `requires_grad`, the marks that users put on it
            (`parameter.no_decay = True`) and no gradient, where it is not given as one.
        attributes: `(module, name, value)`.
        undo: gets a step for every change.
    """
    for path, module in modules.items():
        _replace_module(model, path, module, undo)
    slots = _slots(model)
    for name, tensor in tensors.items():
        old, places = slots[name]
        is_parameter = isinstance(old, nn.Parameter) and not isinstance(tensor, nn.Parameter)
        new = nn.Parameter(tensor, old.requires_grad) if is_parameter else tensor
        if is_parameter:
            vars(new).update(vars(old))
        for table, key in places:
            _set(table, key, new, undo)
    for path, attribute, value in attributes:
        table = vars(model.get_submodule(path))
        held = table[attribute]
        # A journal that was read from a file knows no difference between lists and tuples.
        _set(table, attribute, type(held)(value) if isinstance(held, list | tuple) else value, undo)
    _drop_caches(model)


def forget_kept(model: nn.Module, kept: Iterable[Kept], undo: Undo) -> None:
    """Let a forward work out anew what it kept. Of a dictionary, entries for other shapes go as well.

    Args:
        undo: gets a step for every change.
    """
    modules = dict(model.named_modules())
    for entry in kept:
        table, key = entry.slot.table(modules), entry.slot.steps[-1]
        if table is None:
            continue
        before = contents(table)
        undo.append(partial(put, table, before))
        if entry.blank is ABSENT and not isinstance(key, str):
            put(table, [(other, value) for other, value in before if type(other) is not type(key)])
        blank(modules, [entry])


def structure(model: nn.Module) -> Callable[[Iterable[str]], None]:
    """What puts a model back to the modules, parameters and buffers that it has now, the same objects.

    Returns:
        A function of the names of attributes that hold sizes: those of every module are put back as well. Others stay
        as they are, because a module may count its calls.
    """
    modules = list(model.modules())
    tables: list[dict[str, Any]] = [
        table for module in modules for table in (module._modules, module._parameters, module._buffers)
    ]
    held = [(table, dict(table)) for table in tables]
    attributes = [(vars(module), dict(vars(module))) for module in modules]

    def put_back(sizes: Iterable[str]) -> None:
        for table, before in held:
            table.clear()
            table.update(before)
        names = set(sizes)
        for own, then in attributes:
            own.update({name: then[name] for name in names & then.keys()})

    return put_back


def _drop_caches(model: nn.Module) -> None:
    """Let modules forget what they worked out from their weights: those that do, drop it when their mode is set.

    The mode stays: a `train` that folds weights when it changes has nothing to do.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.train(model.training)
    for module, mode in modes:
        module.training = mode


def _replace_module(model: nn.Module, path: str, new: nn.Module, undo: Undo) -> None:
    old = model.get_submodule(path)
    inside = set(new.modules())
    for owner in [module for module in model.modules() if module not in inside]:
        for key, child in list(owner._modules.items()):
            if child is old:
                _set(owner._modules, key, new, undo)


def _slots(model: nn.Module) -> dict[str, tuple[Tensor, list[tuple[dict[str, Any], str]]]]:
    """Every tensor under its canonical name, with all the places that hold it."""
    slots: dict[int, tuple[str, Tensor, list[tuple[dict[str, Any], str]]]] = {}
    for path, module in model.named_modules():
        for table in (module._parameters, module._buffers):
            for key, tensor in table.items():
                if tensor is not None:
                    name = f"{path}.{key}" if path else key
                    slots.setdefault(id(tensor), (name, tensor, []))[2].append((table, key))
    return {name: (tensor, places) for name, tensor, places in slots.values()}


def _set(table: dict[str, Any], key: str, value: Any, undo: Undo) -> None:
    old = table[key]
    table[key] = value
    undo.append(lambda: table.__setitem__(key, old))
