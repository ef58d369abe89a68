"""Pieces of tensors: split, slice, pick, gather, roll."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from netmorph.graph.axis import Axis, Fixed, concat, resolve, size
from netmorph.graph.rules import Coupling, rule
from netmorph.graph.unify import cut, reshape
from netmorph.graph.value import Value

aten = torch.ops.aten


@rule(aten.chunk.default, aten.split.Tensor, aten.tensor_split.sections, rearranges=True)
def equal_pieces(couple: Coupling, x: Value, count: int, dim: int = 0) -> list[list[Axis]]:
    """Pieces that must always have the same length: they are one set of channels (gates and values, q and k and v)."""
    outputs = couple.call.outputs
    lengths = [output.shape[dim] for output in outputs]
    segments = cut(x.axes[dim], lengths, couple.where)
    if len(set(lengths)) > 1 or (couple.call.op is aten.chunk.default and len(outputs) != count):
        couple.freeze(x.axes[dim], "cut into pieces that are not all as long")
        return [_with(x, dim, resolve(segment)) for segment in segments]
    for segment in segments[1:]:
        couple.unify(segments[0], segment)
    if couple.call.op is aten.split.Tensor:
        couple.follows(count, segments[0])
    return [_with(x, dim, resolve(segment)) for segment in segments]


@rule(aten.split_with_sizes.default, aten.split.sizes, rearranges=True)
def pieces(couple: Coupling, x: Value, lengths: Sequence[int], dim: int = 0) -> list[list[Axis]]:
    """Pieces of given lengths."""
    segments = cut(x.axes[dim], [output.shape[dim] for output in couple.call.outputs], couple.where)
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
        couple.freeze(x.axes[dim], "sliced with a step")
        return _with(x, dim, couple.fixed(dim, "sliced with a step"))
    first = _place(start, 0, length)
    last = first + couple.shape[dim]
    before, taken, behind = _three(couple, x.axes[dim], first, last)
    for given, ahead, after in ((start, [before], [taken, behind]), (end, [before, taken], [behind])):
        if given is not None and 0 < given <= length:
            couple.follows(given, concat(*ahead))
        elif given is not None and given < 0:
            for axis in after:
                couple.freeze(axis, "sliced at a place counted from the end")
    return _with(x, dim, resolve(taken) or (Fixed(0),))


def _three(couple: Coupling, axis: Axis, first: int, last: int) -> tuple[Axis, Axis, Axis]:
    """What lies before, within and behind a run of places; nothing is the empty axis."""
    lengths = [first, last - first, size(axis) - last]
    segments = iter(cut(axis, [length for length in lengths if length], couple.where))
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


@rule(aten.index.Tensor)
def index(couple: Coupling, x: Value, indices: Sequence[Value | None]) -> list[Axis]:
    """Places picked by tensors of indices: these dimensions keep their lengths, the others pass."""
    picked = [place for place, entry in enumerate(indices) if entry is not None]
    width = {place: len(e.shape) if e.dtype is torch.bool else 1 for place, e in _placed(indices)}
    dims = _dimensions(indices, width)
    for dim in dims:
        couple.freeze(x.axes[dim], "picked by a tensor of indices")
    passing = [axis for dim, axis in enumerate(x.axes) if dim not in dims]
    new = len(couple.shape) - len(passing)
    together = picked == list(range(picked[0], picked[-1] + 1))
    at = dims[0] if together else 0
    fixed: list[Axis] = [(Fixed(length, "picked by a tensor of indices"),) for length in couple.shape[at : at + new]]
    return [*passing[:at], *fixed, *passing[at:]]


def _placed(indices: Sequence[Value | None]) -> list[tuple[int, Value]]:
    return [(place, entry) for place, entry in enumerate(indices) if entry is not None]


def _dimensions(indices: Sequence[Value | None], width: dict[int, int]) -> list[int]:
    """The dimensions that are indexed; a mask takes as many as it has itself."""
    dims: list[int] = []
    dim = 0
    for place in range(len(indices)):
        taken = width.get(place, 1)
        if place in width:
            dims.extend(range(dim, dim + taken))
        dim += taken
    return dims


@rule(aten.index_select.default)
def index_select(couple: Coupling, x: Value, dim: int, indices: Value) -> list[Axis]:
    """Places of one dimension, picked by indices."""
    couple.freeze(x.axes[dim], "picked by a tensor of indices")
    return _with(x, dim, couple.fixed(dim, "picked by a tensor of indices"))


@rule(aten.gather.default)
def gather(couple: Coupling, x: Value, dim: int, indices: Value, **kwargs: Any) -> list[Axis]:
    """Places picked along one dimension; along the others each channel picks for itself."""
    axes = list(indices.axes)
    for place, (axis, given) in enumerate(zip(x.axes, indices.axes, strict=True)):
        if place == dim % len(x.shape) or size(axis) != size(given):
            couple.freeze(axis, "picked by a tensor of indices")
        else:
            couple.unify(axis, given)
            axes[place] = axis
    return axes


@rule(aten.index_add.default, aten.index_add_.default, aten.index_copy.default)
def index_add(couple: Coupling, x: Value, dim: int, indices: Value, source: Value, **kwargs: Any) -> list[Axis]:
    """Places of one dimension get what `source` holds for them; the others pass."""
    dim %= len(x.shape)
    for place, (axis, given) in enumerate(zip(x.axes, source.axes, strict=True)):
        if place == dim:
            for meeting in (axis, given):
                couple.freeze(meeting, "written at places given by indices")
        else:
            couple.unify(axis, given)
    return x.axes


@rule(aten.scatter.src, aten.scatter.value, aten.scatter_add.default, aten.take_along_dim.default)
def scatter(couple: Coupling, *args: Any, **kwargs: Any) -> list[Axis]:
    """Places picked element by element: no dimension can change."""
    for value in (a for a in (*args, *kwargs.values()) if isinstance(a, Value)):
        for axis in value.axes:
            couple.freeze(axis, "picked by a tensor of indices")
    return [couple.fixed(dim, "picked by a tensor of indices") for dim in range(len(couple.shape))]


@rule(aten.index_put_.default, aten.index_put.default)
def index_put(couple: Coupling, x: Value, indices: Sequence[Value | None], values: Value, *args: Any) -> list[Axis]:
    """Places that are written by their indices."""
    for value in (x, values):
        for axis in value.axes:
            couple.freeze(axis, "written at places given by indices")
    return x.axes


@rule(aten.flip.default)
def flip(couple: Coupling, x: Value, dims: Sequence[int]) -> list[Axis]:
    """Places of some dimensions change order; these keep their lengths."""
    for dim in dims:
        couple.freeze(x.axes[dim], "moved along this axis")
    return x.axes


@rule(aten.roll.default)
def roll(couple: Coupling, x: Value, shifts: Sequence[int], dims: Sequence[int] = ()) -> list[Axis]:
    """Like `flip`; without dimensions, the whole tensor is rolled as if it were flat."""
    for dim in dims or range(len(x.shape)):
        couple.freeze(x.axes[dim], "moved along this axis")
    return x.axes


@rule(aten.sort.default, aten.topk.default, aten.kthvalue.default, aten.median.dim, aten.mode.default)
@rule(aten.unique_consecutive.default)
def ordered(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> list[list[Axis]]:
    """Values and indices by size along a dimension, which keeps its length."""
    for axis in x.axes:
        couple.freeze(axis, "ordered by value")
    return [[(Fixed(length, "ordered by value"),) for length in output.shape] for output in couple.call.outputs]


@rule(aten.cumsum.default, aten.cumprod.default)
def running(couple: Coupling, x: Value, dim: int, **kwargs: Any) -> list[Axis]:
    """Running sums and products along a dimension, which keeps its length."""
    couple.freeze(x.axes[dim], "summed up along this axis")
    return x.axes


@rule(aten.argsort.default, aten.argmax.default, aten.argmin.default, aten.nonzero.default)
@rule(aten.one_hot.default, aten.bincount.default, aten.multinomial.default)
def places(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> list[Axis]:
    """Results that say where something is: nothing can change."""
    for axis in x.axes:
        couple.freeze(axis, "its places are counted")
    return [couple.fixed(dim, "places are counted") for dim in range(len(couple.shape))]


@rule(aten.tril.default, aten.triu.default)
def triangle(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> list[Axis]:
    """What is left depends on the place in the last two dimensions."""
    for axis in x.axes[-2:]:
        couple.freeze(axis, "cut along a diagonal")
    return x.axes


@rule(aten.diagonal.default)
def diagonal(couple: Coupling, x: Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> list[Axis]:
    """Two dimensions become one, the last."""
    crossed = {dim1 % len(x.shape), dim2 % len(x.shape)}
    for dim in crossed:
        couple.freeze(x.axes[dim], "cut along a diagonal")
    others = [axis for dim, axis in enumerate(x.axes) if dim not in crossed]
    return [*others, couple.fixed(-1, "a diagonal")]


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
    couple.freeze(x.axes[dim], "cut into windows")
    return [*_with(x, dim, couple.fixed(dim, "windows")), couple.fixed(-1, "a window's length")]


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


def _with(x: Value, dim: int, axis: Axis) -> list[Axis]:
    axes = list(x.axes)
    axes[dim] = axis
    return axes


def _without(x: Value, dim: int) -> list[Axis]:
    axes = list(x.axes)
    del axes[dim]
    return axes
