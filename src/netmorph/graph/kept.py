"""What a forward keeps between calls, and how it runs as at its first call.

A table made at the first call, a mask for each shape, weights worked out in eval mode: a forward that finds them takes
them, and what it would have computed is not seen. So what ran before would decide what is traced. The principle here:
*what comes back when it is taken away, with the same results, was a cache; what does not is the user's.* Caches are
taken away while a forward is recorded or compared, and put back.
"""

from __future__ import annotations

import copy
import dis
import itertools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from netmorph.graph.running import TraceError
from netmorph.graph.state import ABSENT, BASES, Change, Slot

Apart = frozenset[types.CodeType]

# A module's own tables: a forward's changes to them are no caches, but for buffers.
_OWN = frozenset(vars(nn.Module())) - {"_buffers"}
# How many kinds of slots are tried, at a forward or two each.
TRIES = 24


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


class Attempt(Protocol):
    """One recording of the forward, and what of it matters here.

    Attributes:
        result: the tensors of what the model returned.
        changes: of slots, by the forward.
        found: slots with a tensor that the forward took and no operator made.
        mixed: functions that looked a size up and found what belonged to another, see `Met`.
    """

    @property
    def result(self) -> Sequence[Tensor]: ...
    @property
    def changes(self) -> Mapping[Slot, Change]: ...
    @property
    def found(self) -> Sequence[Slot]: ...
    @property
    def mixed(self) -> Apart: ...


Made = TypeVar("Made", bound=Attempt)


def blank(modules: dict[str, nn.Module], kept: Iterable[Kept]) -> None:
    """Take away what a forward keeps; the caller puts it back."""
    for entry in kept:
        table = entry.slot.table(modules)
        if table is not None:
            _set(table, entry.slot.steps[-1], entry.blank)


def _set(table: dict[Any, Any], key: Any, value: Any) -> None:
    base: Any = next(base for base in BASES if isinstance(table, base))
    if value is not ABSENT:
        base.__setitem__(table, key, copy.copy(value) if isinstance(value, BASES) else value)
    elif base.__contains__(table, key):
        base.__delitem__(table, key)


def written(changes: Mapping[Slot, Change]) -> list[Kept]:
    """What a forward filled, with what was there before as the blank.

    A tensor in the place of one like it is no cache but a state, which goes on from call to call.
    """
    return [
        Kept(slot, change.before, change.after)
        for slot, change in changes.items()
        if slot.steps[0] not in _OWN and change.after is not ABSENT and not is_state(change)
    ]


def is_state(change: Change) -> bool:
    """Whether a tensor came in the place of one of the same shape and type."""
    return _is_alike(change.before, change.after) and change.before.shape == change.after.shape


def _is_alike(one: Any, other: Any) -> bool:
    return (
        isinstance(one, Tensor) and isinstance(other, Tensor) and (one.dtype, one.dim()) == (other.dtype, other.dim())
    )


def is_blank(value: Any) -> bool:
    """Whether nothing is kept there yet."""
    if value is ABSENT or value is None:
        return True
    return value.numel() == 0 if isinstance(value, Tensor) else isinstance(value, (*BASES, tuple)) and not value


def holds_tensor(value: Any) -> bool:
    """Whether a tensor lies in what stands in a slot."""
    return any(isinstance(leaf, Tensor) for leaf in tree_leaves(value))


def as_at_first_call(
    modules: dict[str, nn.Module], record: Callable[[Sequence[Kept], Apart], Made], known: Sequence[Kept]
) -> tuple[Made, list[Kept]]:
    """Record a forward as if it had kept nothing from calls before.

    Args:
        modules: the model's, by path.
        record: records the forward with some slots blank, and with functions in which sizes find only themselves. It
            leaves everything as it was.
        known: what the forward is known to keep.

    Returns:
        The recording, and what the forward filled in it.

    Raises:
        TraceError: the forward failed with what is known away.
    """
    best = record(known, frozenset())
    best, apart = _with_sizes_apart(best, lambda functions: record(known, functions))
    taken, tried = [*known], set[object]()
    while len(tried) < TRIES:
        kinds = _candidates(best, modules, {entry.slot for entry in taken})
        kind = next((kind for kind in kinds if kind not in tried), None)
        if kind is None:
            break
        tried.add(kind)
        for new in _ways_to_blank(kinds[kind], modules):
            made = _tried(lambda new=new: record([*taken, *new], apart))  # type: ignore[misc]
            if made is not None and _came_back(kinds[kind], new, best, made):
                best = made
                taken += new
                break
    blanks = {entry.slot: entry for entry in (*written(best.changes), *taken)}
    filled = {slot: change.after for slot, change in best.changes.items()}
    return best, [Kept(slot, entry.blank, filled[slot]) for slot, entry in blanks.items() if slot in filled]


def _tried(record: Callable[[], Made]) -> Made | None:
    try:
        return record()
    except TraceError:
        return None


def _with_sizes_apart(best: Made, record: Callable[[Apart], Made]) -> tuple[Made, Apart]:
    """A forward whose sizes do not meet those of others, or plain integers, in caches; if it then does the same.

    In a table of the user's, or a set that counts different sizes, they have to meet.
    """
    apart: Apart = frozenset()
    first = best
    while more := best.mixed - apart:
        ways = [frozenset({*apart, *more})] + [frozenset({*apart, one}) for one in more if len(more) > 1]
        for way in ways:
            made = _tried(lambda way=way: record(way))  # type: ignore[misc]
            if made is not None and _is_same_result(first.result, made.result):
                best, apart = made, way
                break
        else:
            break
    return best, apart


def _candidates(made: Attempt, modules: dict[str, nn.Module], taken: set[Slot]) -> dict[object, list[Slot]]:
    """Slots that may be caches, those of one kind together: the same place in modules of one class."""
    renewed = [
        slot
        for slot, change in made.changes.items()
        if slot.steps[0] not in _OWN and not is_blank(change.before) and holds_tensor(change.after)
        if not is_state(change)
    ]
    kinds: dict[object, list[Slot]] = {}
    for slot in dict.fromkeys((*made.found, *renewed)):
        if slot not in taken and slot.table(modules) is not None:
            place = slot.steps[:2] if slot.steps[0] == "_buffers" else slot.steps[:1]
            kinds.setdefault((type(modules[slot.module]), place, len(slot.steps)), []).append(slot)
    return kinds


def _ways_to_blank(slots: Sequence[Slot], modules: dict[str, nn.Module]) -> Iterator[list[Kept]]:
    """No entry, None, an empty value; at last together with what is set beside it (the shape that a table is for)."""
    is_entry = len(slots[0].steps) > 1 and slots[0].steps[0] != "_buffers"
    empty = _empty(slots[0].value(modules))
    blanks = [ABSENT, None, *([] if empty is None or is_entry else [empty])]
    for value in blanks:
        yield [Kept(slot, value) for slot in slots]
    beside = [] if is_entry else [other for slot in slots for other in _beside(slot, modules)]
    if beside:
        for value, key in itertools.product(blanks, (ABSENT, None)):
            yield [*(Kept(slot, value) for slot in slots), *(Kept(other, key) for other in beside)]


def _empty(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.new_empty((0,) * value.dim())
    return type(value)() if type(value) in (list, dict) else None


def _came_back(slots: Sequence[Slot], blanks: Sequence[Kept], before: Attempt, made: Attempt) -> bool:
    """Whether the forward filled all that was blank, and did the same; a state has another value in each call."""
    filled = {slot: change.after for slot, change in made.changes.items()}
    if any(is_blank(filled.get(entry.slot, ABSENT)) for entry in blanks if entry.slot in slots):
        return False
    states = [slot in before.changes and is_state(before.changes[slot]) for slot in slots]
    return all(states) or _is_same_result(before.result, made.result)


def _is_same_result(before: Sequence[Tensor], after: Sequence[Tensor]) -> bool:
    return len(before) == len(after) and all(
        one.shape == other.shape and one.dtype == other.dtype and torch.allclose(one, other, equal_nan=True)
        for one, other in zip(before, after, strict=True)
    )


def _beside(slot: Slot, modules: dict[str, nn.Module]) -> list[Slot]:
    """The attributes that a module's code sets where it sets this one."""
    name, module = slot.steps[-1], modules[slot.module]
    names = {other for stored in stores(module) if name in stored for other in stored} - {name}
    return [Slot(slot.module, (other,)) for other in sorted(names) if other in vars(module)]


def stores(module: nn.Module) -> list[set[str]]:
    """The names of attributes that each function of a module sets or registers, its constructor aside."""
    spaces = [vars(kind) for kind in type(module).__mro__ if kind not in (nn.Module, object)]
    functions = [f for space in (*spaces, vars(module)) for name, f in space.items() if name != "__init__"]
    codes = [code for function in functions for code in _codes(getattr(function, "__code__", None))]
    return [
        {
            str(step.argval)
            for step in dis.get_instructions(code)
            if step.opname == "STORE_ATTR" or (step.opname == "LOAD_CONST" and isinstance(step.argval, str))
        }
        for code in codes
    ]


def _codes(code: Any) -> Iterator[types.CodeType]:
    if isinstance(code, types.CodeType):
        yield code
        for constant in code.co_consts:
            yield from _codes(constant)
