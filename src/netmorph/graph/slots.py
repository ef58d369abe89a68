"""Places that a value can stand in, and containers of any class, read and written past what the class makes of it.

A *slot* is one place that a value can stand in: an attribute of a module or of an object that it holds, or an entry of
a dictionary in there. What lies in a list or a tuple belongs to the slot that holds it.
"""

from __future__ import annotations

import copy
import enum
import operator
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from netmorph.graph.holders import members
from netmorph.graph.provenance import Size
from netmorph.graph.provenance import plain as integer
from netmorph.graph.roots import Root

Steps = tuple[Any, ...]  # names, keys, positions

# Who writes to a container of a user's class, or one that refuses writes: the class of Python's own that it comes from.
BASES: tuple[type, ...] = (OrderedDict, dict, list, set, deque)


class Absent(enum.Enum):
    """Nothing stands in a slot."""

    ABSENT = enum.auto()


ABSENT = Absent.ABSENT


@dataclass(frozen=True)
class Slot:
    """One place for a value: the module, and the names, keys and positions on the way from its attributes."""

    module: str
    steps: Steps

    def table(self, modules: dict[str, nn.Module]) -> dict[Any, Any] | None:
        """The dictionary that the slot is an entry of; None where the way there is none any more."""
        node: Any = modules.get(self.module)
        try:
            for step in self.steps[:-1]:
                node = _below(node, step)
            return None if isinstance(node, list | tuple) else entries_of(node)
        except (KeyError, IndexError, TypeError, AttributeError):
            return None

    def value(self, modules: dict[str, nn.Module]) -> Any:
        """What stands in it."""
        table = self.table(modules)
        return ABSENT if table is None else dict.get(table, self.steps[-1], ABSENT)


@dataclass(frozen=True)
class Change:
    """What a forward did to a slot; the values before and after, without sizes of ours."""

    before: Any
    after: Any


@dataclass(frozen=True)
class Kept:
    """A slot that the forward fills where it finds it blank.

    Attributes:
        blank: what it takes for nothing: no entry at all, None, an empty container or tensor.
        value: what it put there when it was recorded.
    """

    slot: Slot
    blank: Any
    value: Any = ABSENT


def blank(modules: dict[str, nn.Module], kept: Iterable[Kept]) -> None:
    """Take away what a forward keeps; the caller puts it back."""
    for entry in kept:
        table = entry.slot.table(modules)
        if table is not None:
            empty = copy.copy(entry.blank) if isinstance(entry.blank, BASES) else entry.blank
            assign(table, entry.slot.steps[-1], empty)


def assign(table: dict[Any, Any], key: Any, value: Any) -> None:
    """Make a value the entry of a dictionary, past whatever its class makes of writing; or take the entry away."""
    base: Any = base_of(table)
    if value is not ABSENT:
        base.__setitem__(table, key, value)
    elif base.__contains__(table, key):
        base.__delitem__(table, key)


def _below(node: Any, step: Any) -> Any:
    """What stands one step further."""
    if isinstance(node, list | tuple):
        return node[step]
    if not isinstance(node, dict) and (member := dict(members(type(node))).get(step)) is not None:
        return member.__get__(node)
    return entries_of(node)[step]


def entries_of(node: Any) -> dict[Any, Any]:
    """The entries of a dictionary, or the attributes of an object.

    Raises:
        TypeError: it has none.
    """
    return node if isinstance(node, dict) else vars(node)


def base_of(container: Any) -> type:
    """The class of Python's own that a container is of, or comes from."""
    own = type(container)
    return own if own in BASES else next(base for base in BASES if isinstance(container, base))


def contents(container: Any) -> list[Any]:
    """The entries of a container, as its base class tells them; those of a dictionary are pairs."""
    base: Any = base_of(container)
    return list(base.items(container)) if isinstance(container, dict) else list(base.__iter__(container))


def put(container: Any, entries: list[Any]) -> None:
    """Make these the entries of a container, past whatever its class makes of writing."""
    base: Any = base_of(container)
    base.clear(container)
    if base is OrderedDict:
        for key, value in entries:
            OrderedDict.__setitem__(container, key, value)
    else:
        (base.extend if base in (list, deque) else base.update)(container, entries)


def plain(value: Any) -> Any:
    """The value with integers in the place of sizes, in keys and tuples as well; what needs no change is itself."""
    if isinstance(value, Size):
        return integer(value)
    if isinstance(value, Root):
        return float(value)
    if isinstance(value, tuple | frozenset):
        made = [plain(entry) for entry in value]
        return value if all(map(operator.is_, made, value)) else remade(value, made)
    return value


def remade(value: Any, entries: list[Any]) -> Any:
    """A tuple or frozen set of the same class with other entries."""
    kind: Any = type(value)
    if hasattr(kind, "_make"):  # a named tuple
        return kind._make(entries)
    if kind in (tuple, frozenset, torch.Size):
        return kind(entries)
    return (tuple if isinstance(value, tuple) else frozenset).__new__(kind, entries)
