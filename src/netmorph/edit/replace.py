"""The only place where a network changes. Each step can be undone."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from netmorph.edit.numbered import Place, with_entry, without_entry
from netmorph.edit.plan import Plan
from netmorph.graph.held import assigned, root, sharing
from netmorph.graph.slots import ABSENT, Kept, blank, contents, put
from netmorph.memory_layout import laid_out_like, neighbour, tells_order

Undo = list[Callable[[], None]]
Held = tuple[Any, Any, Callable[[Tensor], Any]]  # a table or list, a key of it, and what it holds of the tensor


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


def make(model: nn.Module, plan: Plan, undo: Undo) -> None:
    """Change a model as a plan says.

    Args:
        undo: gets a step for every change.
    """
    change_entries(model, plan.inserted, plan.removed, undo)
    change(model, plan.modules, plan.tensors, plan.attributes, undo)


def change_entries(model: nn.Module, inserted: Mapping[str, nn.Module], removed: Iterable[str], undo: Undo) -> None:
    """Put entries into containers whose children are numbered, or take them out; see `Plan`.

    Raises:
        KeyError: a path is none of such an entry, or would leave a gap.
    """
    for path, module in [*inserted.items(), *((path, None) for path in removed)]:
        place = Place.of(path)
        if place is None:
            raise KeyError(path)
        table = model.get_submodule(place.container)._modules
        before = dict(table)
        after = without_entry(before, place) if module is None else with_entry(before, place, module)
        undo.append(partial(_fill, table, before))
        _fill(table, after)


def _fill(table: dict[str, Any], entries: Mapping[str, Any]) -> None:
    table.clear()
    table.update(entries)


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
            (`parameter.no_decay = True`) and no gradient, where it is not given as one. What is new lies in memory
            with its dimensions in the order of what was there (channels_last, say).
        attributes: `(module, name, value)`, names as in `netmorph.graph.held`.
        undo: gets a step for every change.
    """
    for path, module in modules.items():
        _replace_module(model, path, module, undo)
    slots = _slots(model)
    for name, tensor in tensors.items():
        old, places = slots[name]
        is_parameter = isinstance(old, nn.Parameter) and not isinstance(tensor, nn.Parameter)
        new = tensor if isinstance(tensor, nn.Parameter) else laid_out_like(tensor, _like(old, tensor, slots))
        if is_parameter:
            new = nn.Parameter(new, old.requires_grad)
            vars(new).update(vars(old))
        for table, key, reference in places:
            _set(table, key, reference(new), undo)
    for module, attribute, value in assigned(model, attributes):
        _set(vars(module), attribute, value, undo)
    _drop_caches(model)
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            module.flatten_parameters()  # into one piece of memory, where a GPU wants that


def _like(old: Tensor, new: Tensor, slots: Mapping[str, tuple[Tensor, Any]]) -> Tensor:
    """As what a new tensor lies: the old one, or one beside it where that tells no order and the new one has to."""
    if tells_order(old.shape) or not tells_order(new.shape):
        return old
    held = [tensor for tensor, _ in slots.values()]
    return neighbour(held, next(place for place, tensor in enumerate(held) if tensor is old), old)


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
        A function of the names of places that hold sizes: the attributes that they lie in are put back in every
        module, and with them those that share what holds the sizes. Others stay as they are, because a module may count
        its calls.
    """
    modules = list(model.modules())
    tables: list[dict[str, Any]] = [
        table for module in modules for table in (module._modules, module._parameters, module._buffers)
    ]
    held = [(table, dict(table)) for table in tables]
    listed = [(own, name, own[name], list(own[name])) for own, name in _lists(model)]
    attributes = [(vars(module), dict(vars(module))) for module in modules]

    def put_back(sizes: Iterable[str]) -> None:
        for table, before in held:
            table.clear()
            table.update(before)
        for own, name, entries, those in listed:
            own[name] = entries
            entries[:] = those
        names = {root(name) for name in sizes}
        shared = [then[name] for _, then in attributes for name in names & then.keys()]
        for own, then in attributes:
            for name in names | sharing(then, shared):
                if name in then:
                    own[name] = then[name]
                else:  # it was one of the class
                    own.pop(name, None)

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


def _slots(model: nn.Module) -> dict[str, tuple[Tensor, list[Held]]]:
    """Every tensor under its canonical name, with all the places that hold it."""
    slots: dict[int, tuple[str, Tensor, list[Held]]] = {}
    for path, module in model.named_modules():
        for table in (module._parameters, module._buffers):
            for key, tensor in table.items():
                if tensor is not None:
                    name = f"{path}.{key}" if path else key
                    slots.setdefault(id(tensor), (name, tensor, []))[2].append((table, key, _itself))
    for own, name in _lists(model):
        for place, entry in enumerate(own[name]):
            if id(held := _referred(entry)) in slots:
                slots[id(held)][2].append((own[name], place, _itself if held is entry else weakref.ref))
    return {name: (tensor, places) for name, tensor, places in slots.values()}


def _lists(model: nn.Module) -> list[tuple[dict[str, Any], str]]:
    """Plain lists of tensors, or references to them, beside the tables of modules.

    Recurrent layers keep two of all their weights.
    """
    return [
        (vars(module), name)
        for module in model.modules()
        for name, held in vars(module).items()
        if type(held) is list and any(isinstance(_referred(entry), Tensor) for entry in held)
    ]


def _referred(entry: Any) -> Any:
    return entry() if isinstance(entry, weakref.ref) else entry


def _itself(tensor: Tensor) -> Tensor:
    return tensor


def _set(table: Any, key: Any, value: Any, undo: Undo) -> None:
    if isinstance(table, list) or key in table:
        old = table[key]
        undo.append(lambda: table.__setitem__(key, old))
    else:  # it was read from the class
        undo.append(lambda: table.pop(key, None))
    table[key] = value
