"""By order: sorted, counted up, turned round. Along the other dimensions channels pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from netmorph.graph.axis import Allow, Axis, Fixed
from netmorph.graph.ops.passing import along, places, reduced, tensors
from netmorph.graph.rules import Coupling, rule
from netmorph.graph.value import Value

aten = torch.ops.aten

ORDERED = "ordered by value"


@rule(aten.sort.default, aten.sort.stable, aten.topk.default)
def ordered(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> list[list[Axis]]:
    """Values and places by size along a dimension; each channel of the others has an order of its own."""
    couple.number(couple.call.named.get("k"))
    return [along(couple, x, couple.call.named["dim"], ORDERED)] * 2


@rule(aten.argsort.default, aten.argsort.stable, aten.msort.default)
def order(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> list[Axis]:
    """The places alone, or the values."""
    return along(couple, x, couple.call.named.get("dim", 0), ORDERED)


@rule(aten.kthvalue.default, aten.mode.default)
def chosen(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> list[list[Axis]]:
    """One value of a dimension by its order, and its place."""
    couple.number(couple.call.named.get("k"))
    return [reduced(couple, x, couple.call.named["dim"], ORDERED)] * 2


@rule(aten.median.dim, aten.nanmedian.dim)
def median(couple: Coupling, x: Value, dim: int, keepdim: bool = False) -> list[list[Axis]]:
    """The value in the middle stays so where every channel is copied equally often, its place does not."""
    if couple.is_read(couple.call.outputs[1]):
        return [reduced(couple, x, dim, ORDERED)] * 2
    couple.limit(x.axes[dim], Allow.UNIFORM, "the median of these channels is taken")
    kept = [(Fixed(1),) if place == dim % len(x.shape) else axis for place, axis in enumerate(x.axes)]
    return [[axis for place, axis in enumerate(kept) if keepdim or place != dim % len(x.shape)]] * 2


@rule(aten.median.default, aten.nanmedian.default)
def median_of_all(couple: Coupling, x: Value) -> list[Axis]:
    """The same over all dimensions."""
    for axis in x.axes:
        couple.limit(axis, Allow.UNIFORM, "the median of these channels is taken")
    return []


@rule(aten.quantile.default, aten.quantile.scalar, aten.nanquantile.default, aten.nanquantile.scalar)
def quantile(couple: Coupling, x: Value, q: Any, dim: int | None = None, *args: Any, **kwargs: Any) -> list[Axis]:
    """Values by their share of a dimension; several shares are a new first dimension."""
    axes: list[Axis] = [axis for value in tensors(q) for axis in value.axes]
    gone = set(places(x, dim))
    for place in gone:
        couple.freeze(x.axes[place], ORDERED)
    kept = kwargs.get("keepdim", args[0] if args else False)
    others: list[Axis] = [(Fixed(1),) if place in gone else axis for place, axis in enumerate(x.axes)]
    return [*axes, *(axis for place, axis in enumerate(others) if kept or place not in gone)]


@rule(aten.argmax.default, aten.argmin.default)
def place_of(couple: Coupling, x: Value, dim: int | None = None, keepdim: bool = False) -> list[Axis]:
    """Where the largest or smallest value of a dimension is."""
    return reduced(couple, x, dim, "its places are counted")


@rule(aten.cumsum.default, aten.cumsum_.default, aten.cumprod.default, aten.cumprod_.default)
@rule(aten.logcumsumexp.default)
def running(couple: Coupling, x: Value, dim: int, **kwargs: Any) -> list[Axis]:
    """Running sums and products along a dimension, which keeps its length."""
    couple.freeze(x.axes[dim], "summed up along this axis")
    return x.axes


@rule(aten.cummax.default, aten.cummin.default)
def running_extremes(couple: Coupling, x: Value, dim: int) -> list[list[Axis]]:
    """Largest or smallest values so far, and their places."""
    couple.freeze(x.axes[dim], "a running extreme along this axis")
    return [x.axes, x.axes]


@rule(aten.diff.default)
def differences(
    couple: Coupling, x: Value, n: int = 1, dim: int = -1, prepend: Value | None = None, append: Value | None = None
) -> list[Axis]:
    """From each place of a dimension to the next."""
    for other in tensors(prepend, append):
        for place, (axis, own) in enumerate(zip(other.axes, x.axes, strict=True)):
            if place != dim % len(x.shape):
                couple.unify(own, axis)
    return along(couple, x, dim, "differences along this axis")


@rule(aten.trapezoid.dx, aten.trapz.dx, aten.cumulative_trapezoid.dx)
def area(couple: Coupling, x: Value, **kwargs: Any) -> list[Axis]:
    """The area under values along a dimension, also that so far."""
    given = couple.call.named["dim"]
    if len(couple.shape) == len(x.shape):
        return along(couple, x, given, "summed up along this axis")
    return reduced(couple, x, given, "summed up along this axis")


@rule(aten.flip.default)
def flip(couple: Coupling, x: Value, dims: Sequence[int]) -> list[Axis]:
    """Places of some dimensions change order; these keep their lengths."""
    return along(couple, x, dims, "moved along this axis")


@rule(aten.fliplr.default, aten.flipud.default)
def flip_first(couple: Coupling, x: Value) -> list[Axis]:
    """The same in the first or the second dimension."""
    return along(couple, x, 0 if couple.call.op is aten.flipud.default else 1, "moved along this axis")


@rule(aten.roll.default)
def roll(couple: Coupling, x: Value, shifts: Sequence[int], dims: Sequence[int] = ()) -> list[Axis]:
    """Like `flip`; without dimensions, the whole tensor is rolled as if it were flat."""
    return along(couple, x, dims or None, "moved along this axis")


@rule(aten.rot90.default)
def rotated(couple: Coupling, x: Value, turns: int = 1, dims: Sequence[int] = (0, 1)) -> list[Axis]:
    """A quarter turn in the plane of two dimensions."""
    return along(couple, x, dims, "turned in this plane")


@rule(aten.tril.default, aten.triu.default, aten.tril_.default, aten.triu_.default)
def triangle(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> list[Axis]:
    """What is left depends on the place in the last two dimensions."""
    for axis in x.axes[-2:]:
        couple.freeze(axis, "cut along a diagonal")
    return x.axes


@rule(aten.diagonal.default)
def diagonal(couple: Coupling, x: Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> list[Axis]:
    """Two dimensions become one, the last."""
    crossed = set(places(x, (dim1, dim2)))
    for dim in crossed:
        couple.freeze(x.axes[dim], "cut along a diagonal")
    others = [axis for dim, axis in enumerate(x.axes) if dim not in crossed]
    return [*others, couple.fixed(-1, "a diagonal")]


@rule(aten.diag_embed.default)
def on_diagonal(couple: Coupling, x: Value, offset: int = 0, dim1: int = -2, dim2: int = -1) -> list[Axis]:
    """The last dimension becomes the diagonal of two."""
    couple.freeze(x.axes[-1], "put on a diagonal")
    rank = len(couple.shape)
    new = {dim1 % rank, dim2 % rank}
    others = iter(x.axes[:-1])
    return [couple.fixed(dim, "a diagonal") if dim in new else next(others) for dim in range(rank)]
