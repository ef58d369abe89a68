"""Pieces of tensors: split, slice, pick, cut into windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from netmorph.graph.axis import Axis, Fixed, atoms, concat, resolve, size
from netmorph.graph.lengths import same_length
from netmorph.graph.ops.passing import along
from netmorph.graph.ops.passing import with_axis as _with
from netmorph.graph.ops.passing import without_axis as _without
from netmorph.graph.provenance import Size
from netmorph.graph.rules import Coupling, rule
from netmorph.graph.unify import cut, cut_anywhere, reshape
from netmorph.graph.value import Value

aten = torch.ops.aten


@rule(aten.chunk.default, aten.split.Tensor, aten.tensor_split.sections, rearranges=True)
@rule(aten.unsafe_chunk.default, aten.unsafe_split.Tensor, rearranges=True)
def equal_pieces(couple: Coupling, x: Value, count: int, dim: int = 0) -> list[list[Axis]]:
    """Pieces that must always have the same length (gates and values, q and k and v)."""
    outputs = couple.call.outputs
    lengths = [output.shape[dim] for output in outputs]
    segments = cut_anywhere(x.axes[dim], lengths, couple.where)
    counted = couple.call.op in (aten.chunk.default, aten.unsafe_chunk.default)
    if len(set(lengths)) > 1 or (counted and len(outputs) != count):
        couple.freeze(x.axes[dim], "cut into pieces that are not all as long")
        return [_with(x, dim, resolve(segment)) for segment in segments]
    for segment in segments[1:]:
        same_length(segments[0], segment, couple.where)
    if couple.call.op in (aten.split.Tensor, aten.unsafe_split.Tensor):
        couple.follows(count, segments[0])
    return [_with(x, dim, resolve(segment)) for segment in segments]


@rule(aten.split_with_sizes.default, aten.split.sizes, aten.unsafe_split_with_sizes.default, rearranges=True)
def pieces(couple: Coupling, x: Value, lengths: Sequence[int], dim: int = 0) -> list[list[Axis]]:
    """Pieces of given lengths."""
    segments = cut_anywhere(x.axes[dim], [output.shape[dim] for output in couple.call.outputs], couple.where)
    for length, segment in zip(lengths, segments, strict=True):
        couple.follows(length, segment)
    return [_with(x, dim, resolve(segment)) for segment in segments]


@rule(aten.tensor_split.indices, rearranges=True)
def between(couple: Coupling, x: Value, places: Sequence[int], dim: int = 0) -> list[list[Axis]]:
    """Pieces between given places."""
    couple.freeze(x.axes[dim], "cut at given places")
    return [_with(x, dim, (Fixed(output.shape[dim]),)) for output in couple.call.outputs]


@rule(aten.unbind.int, rearranges=True)
def unbind(couple: Coupling, x: Value, dim: int = 0) -> list[list[Axis]]:
    """One tensor for each place of a dimension, which keeps its length."""
    couple.freeze(x.axes[dim], "taken apart place by place")
    return [_without(x, dim) for _ in couple.call.outputs]


@rule(aten.slice.Tensor, rearranges=True)
def slice_(
    couple: Coupling, x: Value, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> list[Axis]:
    """A run of places. What lies before and behind it are channels of their own."""
    length = x.shape[dim]
    if step != 1:
        return _with(x, dim, _every(couple, x.axes[dim], dim, step))
    first = _place(start, 0, length)
    last = first + couple.shape[dim]
    before, taken, behind = _three(couple, x.axes[dim], first, last)
    for given, ahead, after in ((start, [before], [taken, behind]), (end, [before, taken], [behind])):
        if given is not None and 0 < given <= length:
            couple.follows(given, concat(*ahead))
        elif isinstance(given, Size) and given.is_backward:
            couple.follows(-given, concat(*after))
        elif given is not None and given < 0:
            for axis in after:
                couple.freeze(axis, "sliced at a place counted from the end")
    return _with(x, dim, resolve(taken) or (Fixed(0),))


def _every(couple: Coupling, axis: Axis, dim: int, step: int) -> Axis:
    """One of every few channels, where the steps fill the axis."""
    couple.number(step)
    count = couple.shape[dim]
    if any(atoms(axis)) and count * step == size(axis):
        kept, cycle = reshape([axis], (count, int(step)), couple.where)
        couple.freeze(cycle, "sliced with a step")
        return kept
    couple.freeze(axis, "sliced with a step")
    return couple.fixed(dim, "sliced with a step")


def _three(couple: Coupling, axis: Axis, first: int, last: int) -> tuple[Axis, Axis, Axis]:
    """What lies before, within and behind a run of places; nothing is the empty axis."""
    lengths = [first, last - first, size(axis) - last]
    segments = iter(cut_anywhere(axis, [length for length in lengths if length], couple.where))
    before, taken, behind = (next(segments) if length else () for length in lengths)
    return before, taken, behind


def _place(given: int | None, default: int, length: int) -> int:
    place = default if given is None else int(given)
    return max(0, min(length, place + length if place < 0 else place))


@rule(aten.narrow.default, rearranges=True)
def narrow(couple: Coupling, x: Value, dim: int, start: int, length: int) -> list[Axis]:
    """A run of places, given by its start and length."""
    before, taken, _ = _three(couple, x.axes[dim], int(start), int(start) + int(length))
    if before:
        couple.follows(start, before)
    couple.follows(length, taken)
    return _with(x, dim, resolve(taken) or (Fixed(0),))


@rule(aten.select.int, rearranges=True)
def select(couple: Coupling, x: Value, dim: int, index: int) -> list[Axis]:
    """One place of a dimension."""
    couple.freeze(x.axes[dim], "picked by its place")
    return _without(x, dim)


@rule(aten.glu.default)
def gated(couple: Coupling, x: Value, dim: int = -1) -> list[Axis]:
    """The first half times the sigmoid of the second: both are the same channels."""
    half = couple.shape[dim]
    value, gate = cut(x.axes[dim], [half, half], couple.where)
    couple.unify(value, gate)
    return _with(x, dim, resolve(value))


@rule(aten.unfold.default)
def windows(couple: Coupling, x: Value, dim: int, length: int, step: int) -> list[Axis]:
    """Windows along a dimension; their places become the last dimension."""
    return [*along(couple, x, dim, "cut into windows"), couple.fixed(-1, "a window's length")]


@rule(aten.im2col.default)
def columns(couple: Coupling, x: Value, *args: Any) -> list[Axis]:
    """`[..., C, H, W]` -> `[..., C * window, places]`."""
    for axis in x.axes[-2:]:
        couple.freeze(axis, "cut into windows")
    window = Fixed(couple.shape[-2] // x.shape[-3], "a window's size")
    return [*x.axes[:-3], (*x.axes[-3], window), couple.fixed(-1, "places of windows")]


@rule(aten.col2im.default)
def from_columns(couple: Coupling, x: Value, *args: Any) -> list[Axis]:
    """`[..., C * window, places]` -> `[..., C, H, W]`."""
    channels, window = reshape([x.axes[-2]], (couple.shape[-3], x.shape[-2] // couple.shape[-3]))
    couple.freeze(window, "a window's size")
    couple.freeze(x.axes[-1], "places of windows")
    return [*x.axes[:-2], channels, couple.fixed(-2, "height"), couple.fixed(-1, "width")]
