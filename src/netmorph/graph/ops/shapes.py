"""Views, permutations, concatenation, cuts and reductions: where channels are, not what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from netmorph.graph.axis import Allow, Axis, Fixed, Sum, reshape
from netmorph.graph.record import Value
from netmorph.graph.rules import Coupling, rule

aten = torch.ops.aten


@rule(aten.view.default, aten.reshape.default, aten._unsafe_view.default)
@rule(aten.flatten.using_ints, aten.unflatten.int)
def view(couple: Coupling, x: Value, *args: Any) -> list[Axis]:
    """The same elements in the same order under another shape."""
    return reshape(x.axes, couple.shape)


@rule(aten.unsqueeze.default)
def unsqueeze(couple: Coupling, x: Value, dim: int) -> list[Axis]:
    """A new dimension of size 1."""
    axes = list(x.axes)
    axes.insert(dim % len(couple.shape), (Fixed(1),))
    return axes


@rule(aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims)
def squeeze(couple: Coupling, x: Value, dims: int | Sequence[int] | None = None) -> list[Axis]:
    """Dimensions of size 1 are taken out; a channel that is the only one has to stay so."""
    places = range(len(x.shape)) if dims is None else [dims] if isinstance(dims, int) else dims
    out = {place % len(x.shape) for place in places if x.shape[place] == 1}
    for place in out:
        couple.freeze(x.axes[place], "squeezed")
    return [axis for place, axis in enumerate(x.axes) if place not in out]


@rule(aten.reshape_as.default, aten.view_as.default)
def view_as(couple: Coupling, x: Value, other: Value) -> list[Axis]:
    """A view in the shape of another tensor, which it therefore always has."""
    axes = reshape(x.axes, couple.shape)
    for one, same in zip(axes, other.axes, strict=True):
        couple.unify(one, same)
    return axes


@rule(aten.permute.default)
def permute(couple: Coupling, x: Value, dims: Sequence[int]) -> list[Axis]:
    """Dimensions change places."""
    return [x.axes[dim] for dim in dims]


@rule(aten.transpose.int, aten.swapaxes.default)
def transpose(couple: Coupling, x: Value, first: int, second: int) -> list[Axis]:
    """Two dimensions change places."""
    axes = list(x.axes)
    axes[first], axes[second] = axes[second], axes[first]
    return axes


@rule(aten.movedim.int, aten.movedim.intlist)
def movedim(couple: Coupling, x: Value, source: int | Sequence[int], target: int | Sequence[int]) -> list[Axis]:
    """Some dimensions move to given places, the others keep their order."""
    rank = len(x.shape)
    sources, targets = ([value] if isinstance(value, int) else value for value in (source, target))
    moved = {place % rank: dim % rank for dim, place in zip(sources, targets, strict=True)}
    others = iter(dim for dim in range(rank) if dim not in moved.values())
    return [x.axes[moved[place] if place in moved else next(others)] for place in range(rank)]


@rule(aten.t.default, aten.numpy_T.default)
def t(couple: Coupling, x: Value) -> list[Axis]:
    """All dimensions in reverse."""
    return x.axes[::-1]


@rule(aten.expand.default)
def expand(couple: Coupling, x: Value, shape: Sequence[int], **kwargs: Any) -> list[Axis]:
    """A size of 1 is repeated; the rest passes."""
    return couple.broadcast(x)


@rule(aten.cat.default, aten.concat.default)
def concatenate(couple: Coupling, values: Sequence[Value], dim: int = 0) -> list[Axis]:
    """Segments one behind the other along `dim`; the other dimensions are the same."""
    values = [v for v in values if v.shape != (0,)]
    dim = dim % len(values[0].shape)
    for value in values[1:]:
        for place, (one, other) in enumerate(zip(values[0].axes, value.axes, strict=True)):
            if place != dim:
                couple.unify(one, other)
    axes = list(values[0].axes)
    axes[dim] = (Sum(tuple(value.axes[dim] for value in values)),) if len(values) > 1 else axes[dim]
    return axes


@rule(aten.stack.default)
def stack(couple: Coupling, values: Sequence[Value], dim: int = 0) -> list[Axis]:
    """A new dimension in front of `dim`."""
    axes = couple_all(couple, values)
    axes.insert(dim % (len(axes) + 1), (Fixed(len(values), "a fixed number of tensors"),))
    return axes


def couple_all(couple: Coupling, values: Sequence[Value]) -> list[Axis]:
    """The axes that tensors of one shape share."""
    for value in values[1:]:
        for one, other in zip(values[0].axes, value.axes, strict=True):
            couple.unify(one, other)
    return list(values[0].axes)


@rule(aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default, aten.unbind.int)
def pieces(couple: Coupling, x: Value, how: Any = None, dim: int = 0) -> list[list[Axis]]:
    """Cut at fixed places: that dimension keeps its width."""
    along = (how or 0) if couple.call.op is aten.unbind.int else dim
    couple.freeze(x.axes[along], "cut into pieces at fixed places")
    return [_others(x, along, output) for output in couple.call.outputs]


@rule(aten.slice.Tensor, aten.narrow.default)
def cut(couple: Coupling, x: Value, dim: int = 0, *args: Any) -> list[Axis]:
    """A slice of all is no change; any other keeps the dimension's width."""
    if couple.shape != x.shape:
        couple.freeze(x.axes[dim], "sliced at fixed places")
        return _others(x, dim, couple.call.outputs[0])
    return x.axes


@rule(aten.select.int)
def select(couple: Coupling, x: Value, dim: int, index: int) -> list[Axis]:
    """One place of a dimension."""
    couple.freeze(x.axes[dim], "picked by its place")
    return _others(x, dim, couple.call.outputs[0])


def _others(x: Value, dim: int, output: Value) -> list[Axis]:
    dim = dim % len(x.shape)
    axes = list(x.axes)
    if len(output.shape) < len(x.shape):
        del axes[dim]
    else:
        axes[dim] = (Fixed(output.shape[dim], "cut at fixed places"),)
    return axes


@rule(aten.mean.dim, aten.sum.dim_IntList, aten.amax.default, aten.amin.default)
@rule(aten.var.correction, aten.std.correction, aten.var.dim, aten.std.dim, aten.linalg_vector_norm.default)
def reduce(couple: Coupling, x: Value, dims: Any = None, *args: Any, **kwargs: Any) -> list[Axis]:
    """Over height and width each channel is on its own. Over channels, copying all equally often keeps a mean."""
    if couple.call.op is aten.linalg_vector_norm.default:
        dims = args[0] if args else None
    places = dims or range(len(x.shape))
    reduced = {place % len(x.shape) for place in (places if isinstance(places, Sequence | range) else [places])}
    averages = couple.call.op in (aten.mean.dim, aten.amax.default, aten.amin.default)
    for place in reduced:
        allow = Allow.UNIFORM if averages else Allow.INEXACT
        couple.limit(x.axes[place], allow, "reduced over these channels")
    keeps = len(couple.shape) == len(x.shape)
    return [
        (Fixed(1),) if place in reduced else axis for place, axis in enumerate(x.axes) if keeps or place not in reduced
    ]
