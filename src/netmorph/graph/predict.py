"""What the axes say of the forward after an edit, against what it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import zip_longest
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from netmorph.graph.axis import Atom, size
from netmorph.graph.decided import Decided, decided
from netmorph.graph.following import READS
from netmorph.graph.recording import Call, Recording
from netmorph.graph.roots import Root
from netmorph.graph.value import Value

SIZES = {"int", "List[int]", "Optional[int]", "Optional[List[int]]", "List[Optional[int]]"}


def disagreement(
    before: Recording,
    after: Recording,
    sizes: Mapping[Atom, int],
    numbers: Mapping[float, float] = MappingProxyType({}),
    *,
    exact: bool = True,
) -> str | None:
    """Where the forward of a network with other widths differs from what its axes predict.

    The same operators must run in the same order, and every result must have the predicted shape. So a forward that
    reshapes by a number of its own is found out even where the number happens to fit. They must also compute with the
    same numbers and parameters: a width that reached a number out of sight (`math.log(width)`, `np.sqrt(width)`) or
    decided between two is found out by its effect, and so is one that became a tensor's value out of sight.

    Args:
        before: a coupled recording of the network before the edit.
        after: a recording of the edited network.
        sizes: the new sizes of the atoms that changed.
        numbers: those that the edit changed on purpose (epsilons of norms).
        exact: whether both compute the same. Otherwise data may decide otherwise in the edited network: the lengths
            that follow from it are left out, and behind the place where the forward knows of it, an operator is
            compared with those that ran at the same line.

    Returns:
        The first difference with its source line, or None.
    """
    calls, others = _calls(before), _calls(after)
    free = Decided() if exact else decided(before, calls)
    allowed = {(repr(was), repr(now)) for was, now in numbers.items()}
    found = _in_order(calls, others, sizes, free, allowed)
    if found is None or free.start is None:
        return found or _values(before, after, sizes)
    start = free.start
    return _in_order(calls[:start], others[:start], sizes, free, allowed) or _by_place(
        calls[start:], others[start:], sizes, replace(free, everywhere=True)
    )


def _in_order(
    calls: Sequence[Call],
    others: Sequence[Call],
    sizes: Mapping[Atom, int],
    free: Decided,
    allowed: Set[tuple[str, str]],
) -> str | None:
    has_read = False  # numbers that are read from tensors may change with the channels
    for one, other in zip_longest(calls, others):
        if one is None or other is None or one.op is not other.op:
            return f"{_name(other)} runs where {_name(one)} ran before ({_place(other or one)})"
        told = _other_shape(one, other, sizes, free)
        if told is not None:
            return told
        has_read = has_read or one.op in READS
        for was, now in zip_longest(_operands(one), _operands(other)):
            if was and now and was != now and not has_read and (was, now) not in allowed:
                return f"{_name(other)} computes with {now} in place of {was} ({_place(other)})"
    return None


def _values(before: Recording, after: Recording, sizes: Mapping[Atom, int]) -> str | None:
    """Where a tensor that no operator made holds a new width in place of an old one."""
    widths = _changed(before, dict(sizes))
    for one, other in zip(_calls(before), _calls(after), strict=False):
        if one.op in READS:
            return None
        for was, now in zip(one.values, other.values, strict=False):
            if was in before.of_sizes:
                continue
            found = _width_within(before.constants.get(was), after.constants.get(now), widths)
            if found is not None:
                return f"{_name(other)} gets a tensor that holds {found[1]} in place of {found[0]} ({_place(other)})"
    return None


def _by_place(calls: Sequence[Call], others: Sequence[Call], sizes: Mapping[Atom, int], free: Decided) -> str | None:
    """Each call against those of the same operator, module and line; a line that never ran before says nothing."""
    known: dict[tuple[Any, str, str], list[Call]] = {}
    for call in calls:
        known.setdefault((call.op, call.module, call.location), []).append(call)
    for other in others:
        told = [
            _other_shape(one, other, sizes, free) for one in known.get((other.op, other.module, other.location), [])
        ]
        if told and all(told):
            return told[0]
    return None


def _other_shape(one: Call, other: Call, sizes: Mapping[Atom, int], free: Decided) -> str | None:
    if len(one.outputs) != len(other.outputs):
        if free.start is not None:  # the parts of a tensor that is taken apart along a length that data decides
            return None
        return f"{_name(other)} gives {len(other.outputs)} tensors in place of {len(one.outputs)} ({_place(other)})"
    for value, made in zip(one.outputs, other.outputs, strict=True):
        if not free.fits(value, sizes, made.shape):
            predicted = tuple(size(axis, dict(sizes)) for axis in value.axes)
            return (
                f"{_name(other)} gives shape {made.shape}, but the channels that it works on make it {predicted} "
                f"({_place(other)})"
            )
    return None


def _changed(before: Recording, sizes: dict[Atom, int]) -> set[tuple[int, int]]:
    """The lengths that the edit changes, each with the new one."""
    axes = {axis for call in before.calls for value in call.outputs for axis in value.axes}
    lengths = {(size(axis), size(axis, sizes)) for axis in axes} | {(atom.size, new) for atom, new in sizes.items()}
    return {(old, new) for old, new in lengths if old != new}


def _width_within(was: Tensor | None, now: Tensor | None, widths: set[tuple[int, int]]) -> tuple[int, int] | None:
    """A width that the first tensor holds in a place where the second one holds what it has become."""
    if was is None or now is None or was.shape != now.shape or was.is_complex() or torch.equal(was, now):
        return None
    different = was != now
    pairs = set(zip(was[different].tolist(), now[different].tolist(), strict=True))
    return next((pair for pair in widths if pair in pairs), None)


def _operands(call: Call) -> Iterator[str]:
    """The numbers, and the names of parameters and buffers, that an operator computes with; other tensors have none."""
    schema = call.op._schema.arguments
    named = [(entry, call.kwargs[entry.name]) for entry in schema if entry.name in call.kwargs]
    for entry, given in [*zip(schema, call.args, strict=False), *named]:
        if str(entry.type) not in SIZES:
            for leaf in tree_leaves(given):
                if isinstance(leaf, Value):
                    yield leaf.name or ""
                elif isinstance(leaf, Root) and call.roots:
                    yield "a power of a width"  # weights make up for it
                elif isinstance(leaf, int | float | complex):
                    yield repr(leaf)  # that of a NaN equals itself


def _calls(recording: Recording) -> list[Call]:
    """Those whose number does not depend on sizes: PyTorch leaves out a copy of what is contiguous already."""
    return [call for call in recording.calls if call.op is not torch.ops.aten.contiguous.default]


def _name(call: Call | None) -> str:
    return "nothing" if call is None else str(call.op).removesuffix(".default")


def _place(call: Call) -> str:
    return f"module {call.module or '(the model itself)'!r}, {call.location}"
