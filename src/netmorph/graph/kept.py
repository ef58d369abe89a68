"""What a forward keeps between calls, and how it runs as at its first call.

A table made at the first call, a mask for each shape, weights worked out in eval mode: a forward that finds them takes
them, and what it would have computed is not seen. So what ran before would decide what is traced. The principle here:
*what comes back when it is taken away, with the same results, was a cache; what does not is the user's.* Caches are
taken away while a forward is recorded or compared, and put back.
"""

from __future__ import annotations

import itertools
import types
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from netmorph.graph.code import stores
from netmorph.graph.outside import Place
from netmorph.graph.slots import ABSENT, BASES, Change, Kept, Slot, Steps

Apart = frozenset[types.CodeType]
Away = Mapping[Place, Any]

# A module's own tables: a forward's changes to them are no caches, but for buffers.
_OWN = frozenset(vars(nn.Module())) - {"_buffers"}
_HOOKS = frozenset(name for name in _OWN if name.endswith("_hooks"))
# What compares by value; of anything else nobody knows what it does when it is asked.
_VALUES = (int, float, complex, str, bytes, torch.device)
# How many forwards are tried in all.
TRIES = 16


Made = TypeVar("Made")


@dataclass(frozen=True)
class Attempt(Generic[Made]):
    """One recording of the forward, and what of it matters here.

    Attributes:
        result: the tensors of what the model returned.
        changes: of slots, by the forward.
        found: slots with a tensor that the forward took and no operator made.
        outside: places elsewhere of such tensors.
        refilled: places that were empty and are not any more.
        mixed: functions that looked a size up and found what belonged to another, see `Facts`.
    """

    recording: Made
    result: list[Tensor]
    changes: dict[Slot, Change]
    found: list[Slot]
    outside: list[Place]
    refilled: list[Place]
    mixed: Apart


def written(changes: Mapping[Slot, Change]) -> list[Kept]:
    """What a forward filled, with what was there before as the blank.

    A tensor in the place of one like it is no cache but a state, which goes on from call to call. Where a forward hangs
    hooks on its modules, a flag tells it that they hang there: without it they would hang there twice.
    """
    hangs = any(slot.steps[0] in _HOOKS for slot in changes)
    return [
        Kept(slot, change.before, change.after)
        for slot, change in changes.items()
        if slot.steps[0] not in _OWN and change.after is not ABSENT and not is_state(change)
        if not (hangs and isinstance(change.after, bool))
    ]


def is_state(change: Change) -> bool:
    """Whether a tensor came in the place of one of the same shape and type, or several in the places of several."""
    before, after = _leaves(change.before), _leaves(change.after)
    return len(before) == len(after) and holds_tensor(before) and all(map(_is_alike, before, after))


def _leaves(value: Any) -> list[Any]:
    leaves = tree_leaves(value)
    return [leaf() if isinstance(leaf, weakref.ref) else leaf for leaf in leaves]


def _is_alike(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return type(one) is type(other)
    return one.dtype == other.dtype and one.shape == other.shape


def is_blank(value: Any) -> bool:
    """Whether nothing is kept there yet."""
    if value is ABSENT or value is None:
        return True
    return value.numel() == 0 if isinstance(value, Tensor) else isinstance(value, (*BASES, tuple)) and not value


def holds_tensor(value: Any) -> bool:
    """Whether a tensor lies in what stands in a slot."""
    return any(isinstance(leaf, Tensor) for leaf in tree_leaves(value))


def as_at_first_call(
    modules: dict[str, nn.Module],
    record: Callable[[Sequence[Kept], Apart, Away, bool], Attempt[Made] | None],
    known: Sequence[Kept],
    tentative: bool,
) -> tuple[Made, list[Kept]] | None:
    """Record a forward as if it had kept nothing from calls before.

    Args:
        modules: the model's, by path.
        record: records the forward with some slots blank, with functions in which sizes find only themselves, and with
            other values for places outside of the model; the last argument says whether it is tentative, so that it
            returns None where the forward fails. It leaves everything as it was.
        known: what the forward is known to keep.
        tentative: of the first recording; all others are.

    Returns:
        The recording, and what the forward filled in it; None where the first one failed tentatively.

    Raises:
        TraceError: the forward failed with what is known away.
    """
    best = record(known, frozenset(), {}, tentative)
    if best is None:
        return None
    best, apart = _with_sizes_apart(best, lambda functions: record(known, functions, {}, True))
    best, away = _with_places_away(best, lambda places: record(known, apart, places, True))
    taken, tried, left = [*known], set[object](), TRIES
    while left > 0:
        kinds = _candidates(best, modules, {entry.slot for entry in taken})
        kind = next((kind for kind in kinds if kind not in tried), None)
        if kind is None:
            break
        tried.add(kind)
        for new in itertools.islice(_ways_to_blank(kinds[kind], modules), left):
            left -= 1
            made = record([*taken, *new], apart, away, True)
            if made is not None and _came_back(kinds[kind], new, best, made):
                best = made
                taken += new
                break
    blanks = {entry.slot: entry for entry in (*written(best.changes), *taken)}
    filled = {slot: change.after for slot, change in best.changes.items()}
    return best.recording, [Kept(slot, entry.blank, filled[slot]) for slot, entry in blanks.items() if slot in filled]


def _with_sizes_apart(
    best: Attempt[Made], record: Callable[[Apart], Attempt[Made] | None]
) -> tuple[Attempt[Made], Apart]:
    """A forward whose sizes do not meet those of others, or plain integers, in caches; if it then does the same.

    In a table of the user's, or a set that counts different sizes, they have to meet.
    """
    apart: Apart = frozenset()
    first = best
    while more := best.mixed - apart:
        ways = [frozenset({*apart, *more})] + [frozenset({*apart, one}) for one in more if len(more) > 1]
        for way in ways:
            made = record(way)
            if made is not None and _is_same_result(first.result, made.result):
                best, apart = made, way
                break
        else:
            break
    return best, apart


def _with_places_away(
    best: Attempt[Made], record: Callable[[Away], Attempt[Made] | None]
) -> tuple[Attempt[Made], Away]:
    """A forward that makes anew what is kept outside of the model, where it then does the same."""
    away: dict[Place, Any] = {}
    for place in best.outside[:TRIES]:
        for way in place.ways():
            now = {**away, place: way}
            made = record(now)
            if made is not None and place in made.refilled and _is_same_result(best.result, made.result):
                best, away = made, now
                break
    return best, away


def _candidates(made: Attempt[Any], modules: dict[str, nn.Module], taken: set[Slot]) -> dict[object, list[Slot]]:
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
    """No entry, None, or an empty value, first together with what is set beside it: the shape that a table is for."""
    if len(slots[0].steps) > 1 and slots[0].steps[0] != "_buffers":  # an entry of a dictionary
        yield [Kept(slot, ABSENT) for slot in slots]
    beside = [other for slot in slots for other in _beside(slot, modules) if other not in slots]
    if beside:
        for way, other_way in itertools.combinations_with_replacement(_WAYS, 2):
            yield [
                *(Kept(slot, way(slot.value(modules))) for slot in slots),
                *(Kept(slot, other_way(slot.value(modules))) for slot in beside),
            ]
    for way in _WAYS:
        yield [Kept(slot, way(slot.value(modules))) for slot in slots]


def _empty(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.new_zeros((0,) * value.dim())
    return type(value)() if type(value) in (list, dict, int, float) else None


_WAYS: tuple[Callable[[Any], Any], ...] = (lambda value: ABSENT, lambda value: None, _empty)


def _came_back(slots: Sequence[Slot], blanks: Sequence[Kept], before: Attempt[Any], made: Attempt[Any]) -> bool:
    """Whether the forward filled all that was blank, and did the same; a state has another value in each call."""
    filled = {slot: change.after for slot, change in made.changes.items()}
    if any(is_blank(filled.get(entry.slot, ABSENT)) for entry in blanks):
        return False
    states = [slot in before.changes and is_state(before.changes[slot]) for slot in slots]
    return all(states) or _is_same_result(before.result, made.result)


def _is_same_result(before: Sequence[Tensor], after: Sequence[Tensor]) -> bool:
    return len(before) == len(after) and all(
        one.shape == other.shape and one.dtype == other.dtype and torch.allclose(one, other, equal_nan=True)
        for one, other in zip(before, after, strict=True)
    )


def _beside(slot: Slot, modules: dict[str, nn.Module]) -> list[Slot]:
    """The attributes and buffers that the forward sets where it sets this one."""
    name, module = slot.steps[-1], modules[slot.module]
    names = {other for stored in stores(modules) if name in stored for other in stored} - {name}
    return [
        *(Slot(slot.module, (other,)) for other in sorted(names & vars(module).keys())),
        *(Slot(slot.module, ("_buffers", other)) for other in sorted(names & module._buffers.keys())),
    ]


def outdated(before: Sequence[Kept], after: Sequence[Kept]) -> list[Kept]:
    """What a network keeps that an edit has changed: it has to be worked out again.

    Where one slot of an object is concerned, so are the others that the forward fills there: the shape that a table is
    for. A state that is no tensor (a number of calls) goes with them.

    Args:
        before: what the forward kept before the edit.
        after: what it keeps now.
    """
    now = {entry.slot: entry for entry in after}
    changed = {
        _object(entry.slot)
        for entry in before
        if entry.slot not in now or not is_equal(entry.value, now[entry.slot].value)
    }
    known = {entry.slot: entry for entry in (*after, *before)}
    return [entry for entry in known.values() if _object(entry.slot) in changed]


def _object(slot: Slot) -> tuple[str, Steps]:
    """Whose slot it is; buffers are a module's own."""
    return slot.module, () if slot.steps[0] == "_buffers" else slot.steps[:-1]


def is_equal(one: Any, other: Any) -> bool:
    """Whether two values that a forward kept are the same."""
    leaves, others = tree_leaves(one), tree_leaves(other)
    return len(leaves) == len(others) and all(map(_is_equal, leaves, others))


def _is_equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
    return one is other or (type(one) is type(other) and isinstance(one, _VALUES) and bool(one == other))
