"""Fake quantization: numbers are rounded to those that a few bits can hold, each on its own."""

from __future__ import annotations

from typing import Any

import torch

from netmorph.graph.axis import Axis, size
from netmorph.graph.ops.passing import tensors
from netmorph.graph.rules import Coupling, rule
from netmorph.graph.uses import Fill, Role
from netmorph.graph.value import Value

aten = torch.ops.aten

SHARED = "one scale is shared by all channels"


@rule(aten.fake_quantize_per_tensor_affine.default, aten.fake_quantize_per_tensor_affine.tensor_qparams)
@rule(aten._fake_quantize_learnable_per_tensor_affine.default)
def per_tensor(couple: Coupling, x: Value, *args: Any) -> list[Axis]:
    """One scale and one zero point for all."""
    for value in tensors(*args):
        for axis in value.axes:
            couple.freeze(axis, SHARED)
    return x.axes


@rule(aten.fake_quantize_per_channel_affine.default, aten._fake_quantize_learnable_per_channel_affine.default)
def per_channel(couple: Coupling, x: Value, scale: Value, zero_point: Value, dim: int, *args: Any) -> list[Axis]:
    """A scale and a zero point for each channel of one dimension: they go where their channels go."""
    _carried(couple, x.axes[dim], scale, zero_point)
    return x.axes


@rule(aten.fused_moving_avg_obs_fake_quant.default)
def observed(couple: Coupling, x: Value, observe: Value, on: Value, *args: Any) -> list[Axis]:
    """The same with a running minimum and maximum, from which the scales are told; for each channel, or for all."""
    dim = couple.call.named["ch_axis"]
    if couple.call.named["per_row_fake_quant"]:
        _carried(couple, x.axes[dim], *tensors(*args))
    else:
        per_tensor(couple, x, *args)
    return x.axes


def _carried(couple: Coupling, channels: Axis, *values: Value) -> None:
    for value in values:
        if size(value.axes[0]) == size(channels):
            couple.unify(channels, value.axes[0])
            couple.use(value, 0, Role.CARRY, Fill.MEAN)
        else:  # nothing was observed yet
            couple.freeze((*channels, *value.axes[0]), "scales that are not told yet")
