"""Norms and softmax: statistics per channel, or over channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from netmorph.graph.axis import Allow, Atom, Axis, size
from netmorph.graph.rules import Coupling, rule
from netmorph.graph.uses import Role
from netmorph.graph.value import Value

aten = torch.ops.aten


@rule(aten.batch_norm.default)
@rule(aten.instance_norm.default)
def batch_norm(
    couple: Coupling,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value | None,
    variance: Value | None,
    *args: Any,
) -> list[Axis]:
    """Statistics of each channel over space (and batch): channels do not meet."""
    for value, fill in ((weight, 1.0), (bias, 0.0), (mean, 0.0), (variance, 1.0)):
        if value is not None:
            couple.unify(x.axes[1], value.axes[0])
            couple.use(value, 0, Role.CARRY, fill)
    couple.scale(weight, bias)
    couple.attribute("num_features", x.axes[1])
    if mean is None:
        for place, axis in enumerate(x.axes):
            if place != 1:
                couple.limit(axis, Allow.INEXACT, "a norm averages over these channels")
    return x.axes


@rule(aten.layer_norm.default, aten.rms_norm.default)
def layer_norm(
    couple: Coupling,
    x: Value,
    shape: Sequence[int],
    weight: Value | None = None,
    bias: Any = None,
    *args: Any,
) -> list[Axis]:
    """Statistics over the last dimensions: only copying every channel equally often keeps them."""
    normalized = x.axes[-len(shape) :]
    for axis in normalized:
        couple.limit(axis, Allow.UNIFORM, "a norm averages over these channels")
    for given, axis in zip(shape, normalized, strict=True):
        couple.follows(given, axis)
    bias = bias if isinstance(bias, Value) else None  # for RMS norm, the place of an epsilon
    couple.scale(weight, bias)
    for value, fill in ((weight, 1.0), (bias, 0.0)):
        if value is not None:
            for dim, axis in enumerate(normalized):
                couple.unify(axis, value.axes[dim])
                couple.use(value, dim, Role.CARRY, fill)
    couple.attribute("normalized_shape", *normalized)
    return x.axes


@rule(aten.group_norm.default)
def group_norm(
    couple: Coupling,
    x: Value,
    groups: int,
    weight: Value | None = None,
    bias: Value | None = None,
    *args: Any,
) -> list[Axis]:
    """Statistics over the channels of each group: whole groups are on their own."""
    channels = x.axes[1]
    blocks, inside = (Atom(int(groups)),), (Atom(size(channels) // int(groups)),)
    couple.unify(channels, (*blocks, *inside))
    couple.follows(groups, blocks)
    couple.limit(inside, Allow.UNIFORM, "a group norm averages over the channels of a group")
    for value, fill in ((weight, 1.0), (bias, 0.0)):
        if value is not None:
            couple.unify(channels, value.axes[0])
            couple.use(value, 0, Role.CARRY, fill)
    couple.scale(weight, bias)
    couple.attribute("num_channels", channels)
    couple.attribute("num_groups", blocks)
    return x.axes


@rule(aten.softmax.int, aten.log_softmax.int)
def softmax(couple: Coupling, x: Value, dim: int, *args: Any) -> list[Axis]:
    """Each output depends on all channels of the dimension."""
    couple.limit(x.axes[dim], Allow.INEXACT, "a softmax runs over these channels")
    return x.axes


@rule(aten._weight_norm.default)
def weight_norm(couple: Coupling, direction: Value, length: Value, dim: int = 0) -> list[Axis]:
    """A weight of given direction and length: normalized over all dimensions but one, or over all (-1)."""
    for place, axis in enumerate(direction.axes):
        if place == dim:
            couple.unify(axis, length.axes[place])
        else:
            couple.limit(axis, Allow.INEXACT, "a weight is normalized over these channels")
    return direction.axes


@rule(aten.renorm.default, aten.renorm_.default)
def renormed(couple: Coupling, x: Value, order: float, dim: int, longest: float) -> list[Axis]:
    """Each part along a dimension is shortened to a length, taken over all others."""
    for place, axis in enumerate(x.axes):
        if place != dim % len(x.shape):
            couple.limit(axis, Allow.INEXACT, "vectors are shortened to a length over these channels")
    return x.axes


@rule(aten.embedding_renorm_.default)
def renormed_rows(couple: Coupling, weight: Value, indices: Value, *args: Any) -> list[Axis]:
    """Rows that are looked up are shortened to a length."""
    couple.limit(weight.axes[1], Allow.INEXACT, "rows of an embedding are shortened to a length over these channels")
    return weight.axes
