"""Integers that modules hold: as attributes, and inside of what their attributes hold.

A size may lie in a configuration, a namespace, a dict, a named tuple, a list in a list. Each such place has a name as
Python would spell it from the module on: `num_heads`, `args.heads`, `table['heads']`, `stages[1][0]`. A class attribute
counts as one of the object that it is read from.

Dicts and objects are never changed in place: another model, or the function that builds the base network, may hold the
same ones. What holds a changed place is copied, and the copies take their place in all modules of the model, which go
on sharing what they shared.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from netmorph.graph.holders import MANY, alike, copied, entries, get, is_holder, is_integer, is_sizes, put, slots, steps
from netmorph.graph.slots import ABSENT, assign

FAR = 2000  # what reaches more containers than this is no configuration (a trainer)
DEEP = 8  # sequences in sequences

Change = tuple[nn.Module, str, Any]
Entry = tuple[dict[Any, Any], Any, Any]  # a table, a key of it, and what lies there


@dataclass(eq=False)
class Holder:
    """A module, dict or object that holds integers, or others that do.

    Attributes:
        module: path of the first module from which it is found.
        name: its place there; empty for the module itself.
        slots: what it holds, by the step that leads there: `.heads`, `['heads']`.
    """

    held: Any
    module: str
    name: str
    slots: list[tuple[str, Any]]
    inside: list[int] = field(default_factory=list)

    def place(self, tail: str) -> str:
        """The name of a place in it, from the module on."""
        return (self.name + tail).removeprefix(".")


# For an integer, or a list or tuple of integers: the holder, the place in it, what is there -> what shall be there.
Swap = Callable[[Holder, str, Any], Any]


def swapped(modules: Mapping[str, nn.Module], swap: Swap) -> list[Change]:
    """The attributes of modules whose integers, or what holds them, are to be replaced.

    Args:
        modules: by path; those of a script keep their attributes out of reach.
        swap: called for every integer, and for every list or tuple of integers as a whole. What it returns takes the
            place, unless it is the same object.

    Returns:
        Module, attribute and new value. Nothing has been changed.
    """
    return _swapped(modules, swap)[0]


@contextlib.contextmanager
def stood_in(modules: Mapping[str, nn.Module], swap: Swap) -> Iterator[None]:
    """Let modules hold other integers for a while, see `swapped`; what is written meanwhile stays written."""
    changes, pairs = _swapped(modules, swap)
    places = [(vars(module), name, vars(module).get(name, ABSENT), new) for module, name, new in changes]
    for table, name, _, new in places:
        table[name] = new
    then = [_seen(new) for *_, new in places]
    tables = [(entries(original), own := entries(twin), _seen_in(own)) for original, twin in pairs]
    originals = {id(twin): original for original, twin in pairs}
    try:
        yield
    finally:
        for original, own, before in tables:
            now = _seen_in(own)
            for key in before.keys() | now.keys():
                if key not in now:
                    assign(original, key, ABSENT)
                elif key not in before or not _is_as_seen(before[key], now[key]):
                    assign(original, key, originals.get(id(own[key]), own[key]))
        for (table, name, old, new), seen in zip(places, then, strict=True):
            if table.get(name, ABSENT) is new and _is_as_seen(seen, _seen(new)):
                assign(table, name, old)


def _seen(value: Any) -> tuple[Any, ...]:
    """A value, and what lies in it where it is a list or tuple."""
    return (value, *map(_seen, value)) if isinstance(value, list | tuple) else (value,)


def _seen_in(table: dict[Any, Any]) -> dict[Any, tuple[Any, ...]]:
    return {key: _seen(value) for key, value in dict.items(table)}


def _is_as_seen(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    if len(one) != len(other) or one[0] is not other[0]:
        return False
    return all(map(_is_as_seen, one[1:], other[1:]))


def _swapped(modules: Mapping[str, nn.Module], swap: Swap) -> tuple[list[Change], list[tuple[Any, Any]]]:
    """See `swapped`, and what was copied, with the copies."""
    holders = _reachable(modules)
    copies: dict[int, Any] = {}
    dirty = _dirty(holders, swap)
    copies.update({key: copied(holders[key].held) for key in dirty if not isinstance(holders[key].held, nn.Module)})
    found: list[Change] = []
    for key in dirty:
        holder = holders[key]
        for step, value in holder.slots:
            new = _tree(holder, step, value, swap, copies)
            if new is value:
                continue
            if isinstance(holder.held, nn.Module):
                found.append((holder.held, step[1:], new))
            else:
                put(copies[key], step, new)
    return found, [(holders[key].held, twin) for key, twin in copies.items()]


def assigned(model: nn.Module, places: Iterable[tuple[str, str, Any]]) -> list[Change]:
    """The attributes that have to be replaced so that places hold given values.

    Args:
        places: `(module, name, value)`. A list or tuple that is there stays one, whichever the value is.

    Raises:
        KeyError: a module holds no such place.
    """
    plain: list[Change] = []
    wanted: dict[tuple[int, str], Any] = {}
    for path, name, value in places:
        module = model.get_submodule(path)
        if name in vars(module) or name.isidentifier():
            plain.append((module, name, alike(look(module, name), value)))
        else:
            wanted[_holder_of(module, name)] = value

    def swap(holder: Holder, tail: str, value: Any) -> Any:
        new = wanted.get((id(holder.held), tail), ABSENT)
        return value if new is ABSENT else alike(value, new)

    return plain + (swapped(dict(model.named_modules()), swap) if wanted else [])


def look(module: nn.Module, name: str) -> Any:
    """What a module holds in a place.

    Raises:
        KeyError: it holds no such place.
    """
    if name in vars(module):
        return vars(module)[name]
    value: Any = module
    for step in steps(name):
        value = get(value, step)
    return value


def sharing(attributes: Mapping[str, Any], others: Iterable[Any]) -> set[str]:
    """Those attributes that hold, however deep, one of the dicts and objects that others hold."""
    theirs = {key for other in others for key in _inside(other)}
    return {name for name, value in attributes.items() if not theirs.isdisjoint(_inside(value))}


def held_in(modules: Iterable[nn.Module]) -> list[Any]:
    """The dicts and objects that these modules hold, however deep."""
    holders = _reachable({str(number): module for number, module in enumerate(modules)})
    return [holder.held for holder in holders.values() if not isinstance(holder.held, nn.Module)]


def sequences(modules: Mapping[str, nn.Module], length: int) -> list[Entry]:
    """The lists and tuples of one length that modules of the user's hold, or dicts and objects of theirs.

    Returns:
        For each: the table of attributes or dict that it lies in, its key there, and itself.
    """
    return [
        (table, key, value)
        for holder in _reachable(modules).values()
        if not type(holder.held).__module__.startswith("torch.")
        for table in [entries(holder.held)]
        for key, value in list(dict.items(table))
        if isinstance(value, list | tuple) and len(value) == length and not isinstance(value, torch.Size)
    ]


def root(name: str) -> str:
    """The attribute that a place lies in."""
    return re.split(r"[.\[]", name, maxsplit=1)[0]


def _reachable(modules: Mapping[str, nn.Module]) -> dict[int, Holder]:
    holders: dict[int, Holder] = {}
    for path, module in modules.items():
        if isinstance(module, torch.jit.ScriptModule):
            continue
        holder = Holder(module, path, "", [])
        holders[id(module)] = holder
        for step, value in slots(module):
            found = _below(value, path, step, holders)
            if found is None:
                continue
            holders.update(found)
            holder.slots.append((step, value))
        holder.inside = [key for _, value in holder.slots for _, key, _ in _leaves("", value)]
    return holders


def _below(value: Any, module: str, name: str, known: Mapping[int, Holder]) -> dict[int, Holder] | None:
    """The dicts and objects that a value reaches and that are not known yet; None where there are too many."""
    found: dict[int, Holder] = {}
    waiting = [(module, name, value)]
    while waiting:
        path, place, here = waiting.pop(0)
        for tail, key, held in _leaves("", here):
            if key in known or key in found:
                continue
            if len(found) == FAR:
                return None
            entries = slots(held)
            found[key] = Holder(held, path, place + tail, entries)
            found[key].inside = [inner for _, entry in entries for _, inner, _ in _leaves("", entry)]
            waiting.extend((path, place + tail + step, entry) for step, entry in entries)
    return found


def _leaves(tail: str, value: Any) -> Iterator[tuple[str, int, Any]]:
    """The dicts and objects that a value is, or that lie in lists and tuples of it."""
    if isinstance(value, list | tuple):
        if len(value) <= MANY and tail.count("[") < DEEP:
            for place, entry in enumerate(value):
                yield from _leaves(f"{tail}[{place}]", entry)
    elif is_holder(value):
        yield tail, id(value), value


def _inside(value: Any) -> set[int]:
    return {key for _, key, _ in _leaves("", value)} | set(_below(value, "", "", {}) or {})


def _dirty(holders: Mapping[int, Holder], swap: Swap) -> list[int]:
    """The holders whose own places change, and all that reach one of these."""
    around: dict[int, list[int]] = {}
    for key, holder in holders.items():
        for inner in holder.inside:
            around.setdefault(inner, []).append(key)
    waiting = [
        key
        for key, holder in holders.items()
        if any(_tree(holder, step, value, swap, {}) is not value for step, value in holder.slots)
    ]
    found = dict.fromkeys(waiting)
    while waiting:
        for outer in around.get(waiting.pop(), []):
            if outer not in found:
                found[outer] = None
                waiting.append(outer)
    return [key for key in holders if key in found]


def _tree(holder: Holder, tail: str, value: Any, swap: Swap, copies: Mapping[int, Any]) -> Any:
    if is_integer(value) or is_sizes(value):
        return swap(holder, tail, value)
    if isinstance(value, list | tuple) and len(value) <= MANY and tail.count("[") < DEEP:
        entries = [_tree(holder, f"{tail}[{place}]", entry, swap, copies) for place, entry in enumerate(value)]
        same = all(new is old for new, old in zip(entries, value, strict=True))
        return value if same else alike(value, entries)
    return copies.get(id(value), value)


def _holder_of(module: nn.Module, name: str) -> tuple[int, str]:
    """The innermost dict or object around a place, and the place in it."""
    held: Any = module
    value: Any = module
    tail = ""
    for step in steps(name):
        if not isinstance(value, list | tuple):
            held, tail = value, ""
        value, tail = get(value, step), tail + step
    return id(held), tail
