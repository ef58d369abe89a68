"""Pooling, resizing and padding: channels pass, height and width change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from netmorph.graph.axis import Axis
from netmorph.graph.record import Value
from netmorph.graph.rules import Coupling, rule

aten = torch.ops.aten

POOLING = [
    aten.max_pool1d.default, aten.max_pool2d.default, aten.max_pool3d.default,
    aten.avg_pool1d.default, aten.avg_pool2d.default, aten.avg_pool3d.default,
    aten.adaptive_avg_pool1d.default, aten.adaptive_avg_pool2d.default, aten.adaptive_avg_pool3d.default,
    aten.upsample_nearest2d.vec, aten.upsample_bilinear2d.vec, aten.upsample_bicubic2d.vec,
]  # fmt: skip
SPATIAL_RANK = {"1d": 1, "2d": 2, "3d": 3}


@rule(*POOLING)
def spatial(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> list[Axis]:
    """Each channel of each image on its own; the last one to three dimensions change."""
    rank = next(rank for suffix, rank in SPATIAL_RANK.items() if suffix in str(couple.call.op))
    for axis in x.axes[-rank:]:
        couple.freeze(axis, "a window runs along this axis")
    return [*x.axes[:-rank], *(couple.fixed(dim, "height and width") for dim in range(-rank, 0))]


@rule(aten.max_pool2d_with_indices.default, aten.adaptive_max_pool2d.default)
def spatial_with_indices(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> list[list[Axis]]:
    """Pooling that also tells where the maxima were."""
    return [spatial(couple, x)] * 2


@rule(aten.pad.default, aten.constant_pad_nd.default)
def pad(couple: Coupling, x: Value, padding: Sequence[int], *args: Any, **kwargs: Any) -> list[Axis]:
    """Padded dimensions, counted from the last, are fixed; the others pass."""
    axes = list(x.axes)
    for index in range(len(padding) // 2):
        if padding[2 * index] or padding[2 * index + 1]:
            couple.freeze(axes[-1 - index], "padded by a fixed amount")
            axes[-1 - index] = couple.fixed(-1 - index)
    return axes
