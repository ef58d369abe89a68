"""Pooling, resizing and padding: channels pass, height and width change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from netmorph.graph.axis import Atom, Axis, Fixed, atoms, concat
from netmorph.graph.ops.elementwise import overloads
from netmorph.graph.ops.passing import along
from netmorph.graph.rules import Coupling, rule
from netmorph.graph.value import Value

aten = torch.ops.aten

POOLING = """
    max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d
    reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d
""".split()
RESIZING = """
    upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d upsample_bilinear2d upsample_trilinear3d
    upsample_bicubic2d _upsample_bicubic2d_aa _upsample_bilinear2d_aa _upsample_nearest_exact1d
    _upsample_nearest_exact2d _upsample_nearest_exact3d
""".split()
SPATIAL_RANK = {"1d": 1, "2d": 2, "3d": 3}


@rule(*overloads(POOLING), *(getattr(aten, name).vec for name in RESIZING))
def spatial(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> list[Axis]:
    """Each channel of each image on its own; the last one to three dimensions change."""
    rank = next(rank for suffix, rank in SPATIAL_RANK.items() if suffix in str(couple.call.op))
    for axis in x.axes[-rank:]:
        couple.freeze(axis, "a window runs along this axis")
    return [*x.axes[:-rank], *(couple.fixed(dim, "height and width") for dim in range(-rank, 0))]


@rule(aten.max_pool1d_with_indices.default, aten.max_pool2d_with_indices.default)
@rule(aten.max_pool3d_with_indices.default, aten.adaptive_max_pool1d.default, aten.adaptive_max_pool2d.default)
@rule(aten.adaptive_max_pool3d.default)
def spatial_with_indices(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> list[list[Axis]]:
    """Pooling that also tells where the maxima were."""
    return [spatial(couple, x)] * 2


@rule(aten.max_unpool2d.default, aten.max_unpool3d.default)
def unpooled(couple: Coupling, x: Value, indices: Value, *args: Any) -> list[Axis]:
    """Each channel goes back to the places that its own maxima came from."""
    rank = 3 if couple.call.op is aten.max_unpool3d.default else 2
    for one, other in zip(x.axes, indices.axes, strict=True):
        couple.unify(one, other)
    return along(couple, x, range(-rank, 0), "height and width")


@rule(aten.fractional_max_pool2d.default, aten.fractional_max_pool3d.default)
def pooled_at_random(couple: Coupling, x: Value, kernel: Any, size: Any, samples: Value) -> list[list[Axis]]:
    """Windows are drawn for each channel of each image, from `samples` of `[N, C, rank]`."""
    rank = samples.shape[-1]
    for one, other in zip([(Fixed(1),), *x.axes][-rank - 2 :], samples.axes[:-1], strict=False):
        couple.unify(one, other)
    return [along(couple, x, range(-rank, 0), "a window runs along this axis")] * 2


@rule(aten.pad.default)
def pad(couple: Coupling, x: Value, padding: Sequence[int], mode: str = "constant", *args: Any) -> list[Axis]:
    """Pairs of amounts for the dimensions, counted from the last; those without an amount pass.

    What a constant pads channels with are segments of their own, before and behind them: they are all alike, so any
    change of their number is exact wherever the amount follows it.
    """
    axes = list(x.axes)
    for dim, (before, behind) in enumerate(zip(padding[::2], padding[1::2], strict=True), start=1):
        if not before and not behind:
            continue
        if mode == "constant" and min(before, behind) >= 0 and any(atoms(axes[-dim])):
            axes[-dim] = concat(_added(couple, before), axes[-dim], _added(couple, behind))
        else:
            couple.freeze(axes[-dim], "padded or cropped by a fixed amount")
            for given in (before, behind):
                couple.number(given)
            axes[-dim] = couple.fixed(-dim, "padded or cropped by a fixed amount")
    return axes


@rule(aten.constant_pad_nd.default)
def pad_with_constant(couple: Coupling, x: Value, padding: Sequence[int], *args: Any) -> list[Axis]:
    """See `pad`."""
    axes: list[Axis] = pad(couple, x, padding)
    return axes


def _added(couple: Coupling, given: int) -> Axis:
    """The segment that padding adds; nothing is the empty axis."""
    if not given:
        return ()
    amount = couple.axis_of(given)
    if not any(atoms(amount)):  # others may compute these channels as well: they are told why there are so many
        amount = (Atom(given),)
        couple.freeze(amount, f"padded by {given} channels, a number that follows none")
    return amount


@rule(aten.affine_grid_generator.default)
def grid(couple: Coupling, theta: Value, shape: Sequence[int], *args: Any) -> list[Axis]:
    """Places to sample at, of one matrix for each image: the number of channels in `shape` does not matter."""
    for axis in theta.axes[1:]:
        couple.freeze(axis, "a matrix of coordinates")
    return [theta.axes[0], *(couple.fixed(dim, "places to sample at") for dim in range(1, len(couple.shape)))]


@rule(aten.grid_sampler.default)
def sampled(couple: Coupling, x: Value, grid: Value, *args: Any) -> list[Axis]:
    """Each channel read at places that the grid gives."""
    for axis in (*grid.axes, *x.axes[2:]):
        couple.freeze(axis, "places to sample at")
    return [*x.axes[:2], *(couple.fixed(dim, "height and width") for dim in range(2, len(couple.shape)))]
