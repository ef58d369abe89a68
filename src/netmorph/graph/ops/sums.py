"""Sums over channels: linear and convolution read and write them, attention multiplies activations."""

from __future__ import annotations

from typing import Any

import torch

from netmorph.graph.axis import Allow, Atom, Axis, size
from netmorph.graph.record import Value
from netmorph.graph.rules import Coupling, Role, rule

aten = torch.ops.aten


@rule(aten.linear.default)
def linear(couple: Coupling, x: Value, weight: Value, bias: Value | None = None) -> list[Axis]:
    """Weight `[out, in]`."""
    *batch, features = x.axes
    out, read = weight.axes
    couple.unify(features, read)
    _check_weight(couple, weight, read)
    couple.use(weight, 0, Role.WRITE)
    couple.use(weight, 1, Role.READ)
    _bias(couple, bias, out)
    couple.attribute("in_features", read)
    couple.attribute("out_features", out)
    return [*batch, out]


@rule(aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)
@rule(aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding)
def convolution(
    couple: Coupling,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> list[Axis]:
    """Weight `[out, in / groups, *kernel]`. Input channels are `groups * in_per_group`, outputs likewise.

    A group's filters act on the group's own channels, so the groups themselves are carried (a depthwise convolution
    has nothing else), the channels within a group are read and written.
    """
    spatial = len(weight.shape) - 2
    out, read, *kernel = weight.axes
    for axis in kernel:
        couple.not_channels(axis, "a kernel's size")
    batch = x.axes[: len(x.shape) - spatial - 1]
    channels = x.axes[-spatial - 1]
    blocks: Axis = ()
    if groups > 1:
        blocks, out = _grouped(couple, channels, weight, groups)
    else:
        couple.unify(channels, read)
    _check_weight(couple, weight, read)
    couple.use(weight, 0, Role.CARRY if groups > 1 and groups == weight.shape[0] else Role.WRITE)
    couple.use(weight, 1, Role.READ)
    _bias(couple, bias, out)
    couple.attribute("in_channels", (*blocks, *read))
    couple.attribute("out_channels", out)
    if blocks:
        couple.attribute("groups", blocks)
    return [*batch, out, *(couple.fixed(dim, "height and width") for dim in range(-spatial, 0))]


def _grouped(couple: Coupling, channels: Axis, weight: Value, groups: int) -> tuple[Axis, Axis]:
    out, read = weight.axes[:2]
    blocks: Axis = (Atom(groups),)
    per_group = size(out) // groups
    if size(read) == 1:  # depthwise: each channel is a group, and channels that are sums or products stay so
        couple.not_channels(read, "each group reads a single channel")
        blocks = channels
    else:
        couple.unify(channels, (*blocks, *read))
    couple.unify(out, (*blocks, Atom(per_group)) if per_group > 1 else blocks)
    return blocks, out


@rule(aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input)
def transposed_convolution(
    couple: Coupling,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> list[Axis]:
    """Weight `[in, out / groups, *kernel]`."""
    spatial = len(weight.shape) - 2
    read, out, *kernel = weight.axes
    for axis in kernel:
        couple.not_channels(axis, "a kernel's size")
    channels = x.axes[-spatial - 1]
    couple.unify(channels, read)
    blocks: Axis = ()
    if groups > 1:
        # dimension 0 is `groups * in_per_group` and dimension 1 the outputs of each group; splitting dimension 0
        # refines it in every tensor that shares these channels.
        blocks = (Atom(groups),)
        couple.unify(read, (*blocks, Atom(size(read) // groups)))
        couple.freeze(read, "a grouped transposed convolution")
        out = (*blocks, *out)
    _check_weight(couple, weight, read)
    couple.use(weight, 1, Role.WRITE)
    couple.use(weight, 0, Role.READ)
    _bias(couple, bias, out)
    couple.attribute("in_channels", read)
    couple.attribute("out_channels", out)
    batch = x.axes[: len(x.shape) - spatial - 1]
    return [*batch, out, *(couple.fixed(dim, "height and width") for dim in range(-spatial, 0))]


def _check_weight(couple: Coupling, weight: Value, read: Axis) -> None:
    """A weight that the forward computes cannot be told to share what it reads between copies."""
    if weight.name is None:
        couple.limit(read, Allow.INEXACT, "the weight that reads these channels is no parameter but computed")


def _bias(couple: Coupling, bias: Value | None, out: Axis) -> None:
    if bias is not None:
        couple.unify(bias.axes[0], out)
        couple.use(bias, 0, Role.WRITE)


@rule(aten.matmul.default, aten.bmm.default, aten.mm.default)
def matmul(couple: Coupling, left: Value, right: Value) -> list[Axis]:
    """A sum over channels of two activations; a parameter on the right reads and writes as a linear layer does."""
    if right.name is not None and len(right.shape) == 2 and len(left.shape) > 1:
        read, out = right.axes
        couple.unify(left.axes[-1], read)
        couple.use(right, 1, Role.WRITE)
        couple.use(right, 0, Role.READ)
        return [*left.axes[:-1], out]
    if len(left.shape) < 2 or len(right.shape) < 2:
        for axis in (*left.axes, *right.axes):
            couple.freeze(axis, "a product with a vector")
        return [couple.fixed(dim) for dim in range(len(couple.shape))]
    couple.unify(left.axes[-1], right.axes[-2])
    couple.limit(left.axes[-1], Allow.INEXACT, "two activations are multiplied and summed over the channels")
    rank = len(couple.shape)
    batch = [
        _wider(couple, [v.axes[d] for v in (left, right) if len(v.axes) >= -d], couple.shape[d])
        for d in range(-rank, -2)
    ]
    return [*batch, left.axes[-2], right.axes[-1]]


def _wider(couple: Coupling, meeting: list[Axis], length: int) -> Axis:
    wide = [axis for axis in meeting if size(axis) == length]
    for axis in wide[1:]:
        couple.unify(wide[0], axis)
    return wide[0]


@rule(aten.embedding.default)
def embedding(couple: Coupling, weight: Value, indices: Value, *args: Any, **kwargs: Any) -> list[Axis]:
    """Weight `[count, width]`: rows are picked by the input, the width is written."""
    couple.freeze(weight.axes[0], "rows are picked by the model's input")
    couple.use(weight, 1, Role.WRITE)
    couple.attribute("embedding_dim", weight.axes[1])
    return [*indices.axes, weight.axes[1]]


@rule(aten.scaled_dot_product_attention.default)
def attention(couple: Coupling, query: Value, key: Value, value: Value, *args: Any, **kwargs: Any) -> list[Axis]:
    """`[..., length, width]`: query and key meet in a sum, heads and the value's width pass."""
    for place in range(len(query.shape) - 2):
        couple.unify(query.axes[place], key.axes[place])
        couple.unify(query.axes[place], value.axes[place])
    couple.unify(key.axes[-2], value.axes[-2])
    couple.unify(query.axes[-1], key.axes[-1])
    couple.limit(query.axes[-1], Allow.INEXACT, "query and key are multiplied and summed over these channels")
    return [*query.axes[:-1], value.axes[-1]]
