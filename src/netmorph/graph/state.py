"""What a model holds beside its parameters, as deep as it goes: seen before a forward, compared and put back after."""

from __future__ import annotations

import enum
import functools
import operator
import random
import sys
import types
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netmorph.graph.holders import is_set, members
from netmorph.graph.provenance import Size
from netmorph.graph.provenance import plain as integer
from netmorph.graph.slots import ABSENT, BASES, Change, Slot, Steps, base_of, contents, plain, put

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
