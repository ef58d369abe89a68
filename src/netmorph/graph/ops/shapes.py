"""Views, permutations and concatenation: where channels are, not what they hold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from netmorph.graph.axis import Axis, Fixed, concat, size
from netmorph.graph.rules import Coupling, rule
from netmorph.graph.unify import reshape
from netmorph.graph.value import Value

aten = torch.ops.aten


@rule(aten.view.default, aten.reshape.default, rearranges=True)
def view(couple: Coupling, x: Value, shape: Sequence[int]) -> list[Axis]:
    """The same elements in the same order under another shape."""
    axes = reshape(x.axes, couple.shape, couple.where)
    for given, axis in zip(shape, axes, strict=True):
        couple.follows(given, axis)
    return axes


@rule(aten.flatten.using_ints, aten.ravel.default, rearranges=True)
def flatten(couple: Coupling, x: Value, *args: Any) -> list[Axis]:
    """Several dimensions become one."""
    return reshape(x.axes, couple.shape, couple.where)


@rule(aten.unflatten.int, rearranges=True)
def unflatten(couple: Coupling, x: Value, dim: int, lengths: Sequence[int]) -> list[Axis]:
    """One dimension becomes several."""
    axes = reshape(x.axes, couple.shape, couple.where)
    dim = dim % len(x.shape)
    for given, axis in zip(lengths, axes[dim : dim + len(lengths)], strict=True):
        couple.follows(given, axis)
    return axes


@rule(aten.unsqueeze.default, aten.unsqueeze_.default, rearranges=True)
def unsqueeze(couple: Coupling, x: Value, dim: int) -> list[Axis]:
    """A new dimension of size 1."""
    axes = list(x.axes)
    axes.insert(dim % len(couple.shape), (Fixed(1),))
    return axes


@rule(aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims, rearranges=True)
@rule(aten.squeeze_.default, aten.squeeze_.dim, aten.squeeze_.dims, rearranges=True)
def squeeze(couple: Coupling, x: Value, dims: int | Sequence[int] | None = None) -> list[Axis]:
    """Dimensions of size 1 are taken out; a channel that is the only one has to stay so."""
    places = range(len(x.shape)) if dims is None else [dims] if isinstance(dims, int) else dims
    out = {place % len(x.shape) for place in places if x.shape[place] == 1}
    for place in out:
        couple.freeze(x.axes[place], "squeezed")
    return [axis for place, axis in enumerate(x.axes) if place not in out]


@rule(aten.reshape_as.default, aten.view_as.default, rearranges=True)
def view_as(couple: Coupling, x: Value, other: Value) -> list[Axis]:
    """A view in the shape of another tensor, which it therefore always has."""
    axes = reshape(x.axes, couple.shape, couple.where)
    for one, same in zip(axes, other.axes, strict=True):
        couple.unify(one, same)
    return axes


@rule(aten.permute.default, rearranges=True)
def permute(couple: Coupling, x: Value, dims: Sequence[int]) -> list[Axis]:
    """Dimensions change places."""
    return [x.axes[dim] for dim in dims]


@rule(aten.transpose.int, aten.swapaxes.default, aten.swapdims.default, rearranges=True)
@rule(aten.transpose_.default, aten.swapaxes_.default, aten.swapdims_.default, rearranges=True)
def transpose(couple: Coupling, x: Value, first: int, second: int) -> list[Axis]:
    """Two dimensions change places."""
    axes = list(x.axes)
    axes[first], axes[second] = axes[second], axes[first]
    return axes


@rule(aten.movedim.int, aten.movedim.intlist, aten.moveaxis.int, aten.moveaxis.intlist, rearranges=True)
def movedim(couple: Coupling, x: Value, source: int | Sequence[int], target: int | Sequence[int]) -> list[Axis]:
    """Some dimensions move to given places, the others keep their order."""
    rank = len(x.shape)
    sources, targets = ([value] if isinstance(value, int) else value for value in (source, target))
    moved = {place % rank: dim % rank for dim, place in zip(sources, targets, strict=True)}
    others = iter(dim for dim in range(rank) if dim not in moved.values())
    return [x.axes[moved[place] if place in moved else next(others)] for place in range(rank)]


@rule(aten.t.default, aten.t_.default, aten.numpy_T.default, rearranges=True)
def t(couple: Coupling, x: Value) -> list[Axis]:
    """All dimensions in reverse."""
    return x.axes[::-1]


@rule(aten.mT.default, aten.mH.default, aten.adjoint.default, rearranges=True)
def matrix_t(couple: Coupling, x: Value) -> list[Axis]:
    """The last two dimensions change places."""
    return [*x.axes[:-2], *x.axes[-2:][::-1]]


@rule(aten.expand.default, aten.broadcast_to.default)
def expand(couple: Coupling, x: Value, shape: Sequence[int], **kwargs: Any) -> list[Axis]:
    """A size of 1 is repeated as often as its new length says; the rest passes."""
    axes: list[Axis] = []
    old = [None] * (len(couple.shape) - len(x.shape)) + list(range(len(x.shape)))
    for given, length, dim in zip(shape, couple.shape, old, strict=True):
        if dim is not None and x.shape[dim] == length:
            couple.follows(given, x.axes[dim])
            axes.append(x.axes[dim])
        else:
            if dim is not None:
                couple.freeze(x.axes[dim], "a single channel is repeated")
            axes.append(couple.axis_of(given))
    return axes


@rule(aten.repeat.default, aten.tile.default)
def repeat(couple: Coupling, x: Value, repeats: Sequence[int]) -> list[Axis]:
    """Copies of the whole, one behind the other."""
    counts = [1] * (len(couple.shape) - len(repeats)) + list(repeats)
    axes = [(Fixed(1),)] * (len(couple.shape) - len(x.shape)) + x.axes
    return [_times(couple, count, axis, behind=False) for count, axis in zip(counts, axes, strict=True)]


@rule(aten.repeat_interleave.self_int)
def repeat_each(couple: Coupling, x: Value, count: int, dim: int | None = None, **kwargs: Any) -> list[Axis]:
    """Copies of each place beside it, of the flat tensor where no dimension is given."""
    axes = reshape(x.axes, [math.prod(x.shape)]) if dim is None else list(x.axes)
    dim = dim or 0
    axes[dim] = _times(couple, count, axes[dim], behind=True)
    return axes


def _times(couple: Coupling, count: int, axis: Axis, *, behind: bool) -> Axis:
    if count <= 1:
        return axis
    copies = couple.axis_of(count)
    if all(isinstance(factor, Fixed) and factor.size == 1 for factor in axis):
        return copies
    return (*axis, *copies) if behind else (*copies, *axis)


@rule(aten.cat.default, aten.concat.default, aten.concatenate.default)
def concatenate(couple: Coupling, values: Sequence[Value], dim: int = 0) -> list[Axis]:
    """Segments one behind the other along `dim`; the other dimensions are the same."""
    values = [v for v in values if v.shape != (0,)] or [*values]
    dim = dim % len(values[0].shape)
    for value in values[1:]:
        for place, (one, other) in enumerate(zip(values[0].axes, value.axes, strict=True)):
            if place != dim:
                couple.unify(one, other)
    axes = list(values[0].axes)
    pieces = [value.axes[dim] for value in values if value.shape[dim]]
    axes[dim] = concat(*pieces) if pieces else (Fixed(0),)
    return axes


@rule(aten.hstack.default, aten.vstack.default, aten.row_stack.default, aten.dstack.default, aten.column_stack.default)
def joined(couple: Coupling, values: Sequence[Value]) -> list[Axis]:
    """The same along a dimension that the operator's name tells, which tensors of few dimensions get first."""
    op = couple.call.op
    if op is aten.hstack.default:
        dim, seen = (0 if len(couple.shape) == 1 else 1), [_at_least(value, 1) for value in values]
    elif op is aten.column_stack.default:
        dim, seen = 1, [value if len(value.shape) > 1 else _column(value) for value in values]
    else:
        dim = 2 if op is aten.dstack.default else 0
        seen = [_at_least(value, dim + 1 if dim else 2) for value in values]
    axes: list[Axis] = concatenate(couple, seen, dim)
    return axes


def _at_least(x: Value, rank: int) -> Value:
    """A tensor with further dimensions of one: in front, and of three the third behind."""
    lone: Axis = (Fixed(1),)
    axes = list(x.axes)
    while len(axes) < min(rank, 2):
        axes.insert(0, lone)
    if len(axes) < rank:
        axes.append(lone)
    return Value(tuple(map(size, axes)), x.dtype, axes=axes)


def _column(x: Value) -> Value:
    axes: list[Axis] = [*x.axes, *([(Fixed(1),)] * (2 - len(x.axes)))]
    return Value(tuple(map(size, axes)), x.dtype, axes=axes)


@rule(aten.atleast_1d.default, aten.atleast_2d.default, aten.atleast_3d.default, rearranges=True)
def at_least(couple: Coupling, x: Value) -> list[Axis]:
    """Further dimensions of one."""
    return _at_least(x, len(couple.shape)).axes


@rule(aten.slice_scatter.default, aten.select_scatter.default)
def written_into(couple: Coupling, x: Value, part: Value, dim: int = 0, *args: Any, **kwargs: Any) -> list[Axis]:
    """A copy in which a run of places of one dimension, or one of them, is another tensor's."""
    axes = list(x.axes)
    couple.freeze(axes.pop(dim), "written at given places")
    others = list(part.axes)
    if len(others) > len(axes):
        couple.freeze(others.pop(dim), "written at given places")
    for one, other in zip(axes, others, strict=True):
        couple.unify(one, other)
    return x.axes


@rule(aten.stack.default)
def stack(couple: Coupling, values: Sequence[Value], dim: int = 0) -> list[Axis]:
    """A new dimension in front of `dim`."""
    for value in values[1:]:
        for one, other in zip(values[0].axes, value.axes, strict=True):
            couple.unify(one, other)
    axes = list(values[0].axes)
    axes.insert(dim % (len(axes) + 1), (Fixed(len(values), "a fixed number of tensors"),))
    return axes


@rule(aten.pixel_shuffle.default)
def pixel_shuffle(couple: Coupling, x: Value, factor: int) -> list[Axis]:
    """`[..., C * r * r, H, W]` -> `[..., C, H * r, W * r]`."""
    channels, window = reshape([x.axes[-3]], (couple.shape[-3], int(factor) ** 2))
    for axis in (window, *x.axes[-2:]):
        couple.freeze(axis, "moved into height and width")
    return [*x.axes[:-3], channels, couple.fixed(-2, "height"), couple.fixed(-1, "width")]


@rule(aten.pixel_unshuffle.default)
def pixel_unshuffle(couple: Coupling, x: Value, factor: int) -> list[Axis]:
    """`[..., C, H * r, W * r]` -> `[..., C * r * r, H, W]`."""
    for axis in x.axes[-2:]:
        couple.freeze(axis, "moved out of height and width")
    window = Fixed(int(factor) ** 2, "moved out of height and width")
    return [*x.axes[:-3], (*x.axes[-3], window), couple.fixed(-2, "height"), couple.fixed(-1, "width")]


@rule(aten.channel_shuffle.default)
def channel_shuffle(couple: Coupling, x: Value, groups: int) -> list[Axis]:
    """Channels `groups * n` in the order `n * groups`."""
    blocks, inside = reshape([x.axes[1]], (int(groups), x.shape[1] // int(groups)))
    couple.follows(groups, blocks)
    return [x.axes[0], (*inside, *blocks), *x.axes[2:]]
