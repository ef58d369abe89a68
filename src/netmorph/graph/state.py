"""What a model holds beside its parameters, as deep as it goes: seen before a forward, compared and put back after.

A *slot* is one place that a value can stand in: an attribute of a module or of an object that it holds, or an entry of
a dictionary in there. What lies in a list or a tuple belongs to the slot that holds it.
"""

from __future__ import annotations

import copy
import enum
import functools
import operator
import random
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netmorph.graph.holders import is_set, members
from netmorph.graph.provenance import Size
from netmorph.graph.provenance import plain as integer
from netmorph.graph.roots import Root

Steps = tuple[Any, ...]  # names, keys, positions

# Who writes to a container of a user's class, or one that refuses writes: the class of Python's own that it comes from.
BASES: tuple[type, ...] = (OrderedDict, dict, list, set, deque)
# What random numbers are drawn from, where a model holds a stream of its own.
STREAMS = (torch.Generator, random.Random, np.random.RandomState, np.random.Generator)
# What holds nothing that a forward could change, or is none of the model's business.
_LEAVES: tuple[type, ...] = (
    int,
    float,
    complex,
    str,
    bytes,
    type(None),
    type,
    enum.Enum,
    types.ModuleType,
    types.FunctionType,
)
_LEAVES += (types.BuiltinFunctionType, types.MethodType, torch.dtype, torch.device, nn.Parameter)


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


@dataclass(frozen=True, slots=True)
class Table:
    """A container that a model holds, and what was in it: most are empty, and hardly any changes."""

    module: str
    steps: Steps
    container: Any
    held: list[Any]  # entries; of a dictionary the keys, then the values

    @staticmethod
    def of(container: Any, module: str, steps: Steps) -> Table:
        """As it is now."""
        return Table(module, steps, container, _held(container))

    @property
    def entries(self) -> list[Any]:
        """As `contents`."""
        half = len(self.held) // 2
        is_dict = isinstance(self.container, dict)
        return list(zip(self.held[:half], self.held[half:], strict=True)) if is_dict else self.held

    def is_as_it_was(self) -> bool:
        """Whether the very same objects are in it, in the same order."""
        now = _held(self.container)
        return len(now) == len(self.held) and all(map(operator.is_, now, self.held))


def _held(container: Any) -> list[Any]:
    base: Any = base_of(container)
    if isinstance(container, dict):
        return [*base.keys(container), *base.values(container)]
    return list(base.__iter__(container))


@dataclass
class Snapshot:
    """All that a model's modules hold: parameters by reference, other tensors with their contents.

    Attributes:
        changes: what has changed since, by slot, once it was put back.
        others: what puts back streams of random numbers, and attributes that a class keeps in slots.
    """

    changes: dict[Slot, Change] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    tensors: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    others: list[Callable[[], object]] = field(default_factory=list)
    _seen: set[int] = field(default_factory=set)

    @staticmethod
    def of(model: nn.Module) -> Snapshot:
        """Of a model. Scripted modules keep what they hold in C++, out of reach but for their buffers."""
        found = Snapshot()
        modules = dict(model.named_modules())
        found._seen.update(map(id, modules.values()))
        for path, module in modules.items():
            if not isinstance(module, torch.jit.ScriptModule):
                found._look(vars(module), path, ())
        for buffer in model.buffers():
            found._keep(buffer)
        return found

    def put_back(self) -> None:
        """Restore what has changed, and nothing else."""
        for table in self.tables:
            if not table.is_as_it_was():
                self.changes.update(_changes(table))
                put(table.container, table.entries)
        for put_back in self.others:
            put_back()
        for tensor, content in self.tensors:
            if not (tensor.shape == content.shape and torch.equal(tensor, content)):
                with torch.inference_mode(tensor.is_inference()), torch.no_grad():
                    tensor.copy_(content)

    def ids(self) -> set[int]:
        """Of the tensors that the model holds, parameters aside."""
        return {id(tensor) for tensor, _ in self.tensors}

    def holding(self, tensors: Collection[int]) -> list[Slot]:
        """The slots in which tensors lie that are given by id, parameters and buffers aside."""
        if not tensors:
            return []
        return [
            Slot(table.module, (*table.steps, key))
            for table in self.tables
            if isinstance(table.container, dict) and table.steps[:1] not in (("_buffers",), ("_parameters",))
            for key, value in table.entries
            if any(id(leaf) in tensors for leaf in _tensors(value))
        ]

    def _keep(self, tensor: Tensor) -> None:
        if id(tensor) not in self._seen and tensor.layout == torch.strided and not tensor.is_meta:
            self._seen.add(id(tensor))
            self.tensors.append((tensor, tensor.detach().clone()))

    def _look(self, container: Any, module: str, steps: Steps) -> None:
        if id(container) in self._seen:
            return
        self._seen.add(id(container))
        table = Table.of(container, module, steps)
        self.tables.append(table)
        for key, value in table.entries if isinstance(container, dict) else enumerate(table.held):
            if not isinstance(value, _LEAVES):
                self._look_into(value, module, (*steps, key))

    def _look_into(self, value: Any, module: str, steps: Steps) -> None:
        if isinstance(value, BASES):
            self._look(value, module, steps)
            if type(value) not in BASES and (table := attributes(value)) is not None:
                self._look(table, module, steps)
        elif isinstance(value, Tensor):
            self._keep(value)
        elif isinstance(value, STREAMS):
            self.others.append(_state(value))
        elif isinstance(value, tuple):
            for place, entry in enumerate(value):
                if not isinstance(entry, _LEAVES):
                    self._look_into(entry, module, (*steps, place))
        elif id(value) not in self._seen and _is_of_the_model(type(value)):
            self._seen.add(id(value))
            self._look_at_object(value, module, steps)

    def _look_at_object(self, value: Any, module: str, steps: Steps) -> None:
        for name, member in members(type(value)):
            if is_set(member, value):
                held = member.__get__(value)
                self.others.append(functools.partial(member.__set__, value, held))
                if not isinstance(held, _LEAVES):
                    self._look_into(held, module, (*steps, name))
        if (table := attributes(value)) is not None:
            self._look(table, module, steps)


def attributes(value: Any) -> dict[str, Any] | None:
    """The attributes of an object; None where it has none, or all in slots."""
    try:
        own: dict[str, Any] = vars(value)
    except TypeError:
        return None
    return own


def _state(stream: Any) -> Callable[[], object]:
    """What puts a stream of random numbers back to where it is now."""
    if isinstance(stream, torch.Generator):
        return functools.partial(stream.set_state, stream.get_state())
    if isinstance(stream, random.Random):
        return functools.partial(stream.setstate, stream.getstate())
    if isinstance(stream, np.random.RandomState):
        return functools.partial(stream.set_state, stream.get_state())
    return functools.partial(setattr, stream.bit_generator, "state", stream.bit_generator.state)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Of a value that stands in a slot: itself, or what lies in its lists and tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _tensors(entry)


def _changes(table: Table) -> Iterator[tuple[Slot, Change]]:
    container, before, after = table.container, table.entries, contents(table.container)
    if not isinstance(container, dict):
        yield Slot(table.module, table.steps), Change(_copy(container, before), _copy(container, after))
        return
    then = dict(before)
    now: dict[Any, Any] = {}
    for key, value in after:
        if (own := plain(key)) is not key:
            then.pop(own, None)  # the forward did not find its own entry of this size, see `Size.__eq__`
        now[own] = value
    for key in then.keys() | now.keys():
        one, other = then.get(key, ABSENT), now.get(key, ABSENT)
        if not _is_same(one, other):
            yield Slot(table.module, (*table.steps, key)), Change(one, plain(other))


def _copy(container: Any, entries: list[Any]) -> Any:
    return base_of(container)([plain(entry) for entry in entries])


def _is_same(one: Any, other: Any) -> bool:
    """Also where sizes stand in for integers, and for what holds some."""
    if one is other:
        return True
    if isinstance(other, Size):
        return isinstance(one, int | np.integer) and int(one) == integer(other)
    if type(one) is not type(other) or isinstance(one, Tensor):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_is_same(value, other[key]) for key, value in one.items())
    return isinstance(one, int | float | str) and bool(one == other)


def _is_of_the_model(kind: type) -> bool:
    """Whether objects of a class may be part of what a model keeps: not those of Python's own libraries (loggers)."""
    if issubclass(kind, nn.Module | types.SimpleNamespace):
        return True
    home = kind.__module__.partition(".")[0]
    return kind.__module__ == "argparse" or not (home in sys.stdlib_module_names or home in ("torch", "numpy"))
