"""Sums over channels: linear layers, convolutions and embeddings read and write them."""

from __future__ import annotations

from typing import Any

import torch

from netmorph.graph.axis import Allow, Atom, Axis, Fixed, atoms, size
from netmorph.graph.contraction import Contraction
from netmorph.graph.rules import Coupling, rule
from netmorph.graph.uses import Role
from netmorph.graph.value import Value

aten = torch.ops.aten


@rule(aten.linear.default)
def linear(couple: Coupling, x: Value, weight: Value, bias: Value | None = None) -> list[Axis]:
    """Weight `[out, in]`."""
    *batch, features = x.axes
    out, read = weight.axes
    couple.unify(features, read)
    product = Contraction((*x.axes, out), weight, x, bias, read=((-1, 1),), write=((0, -1),))
    _layer(couple, product, out, written=0)
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
        couple.follows(groups, blocks)
    else:
        couple.unify(channels, read)
    result = [*batch, out, *along_window(couple, x, spatial)]
    channel = -spatial - 1
    product = Contraction((*result, *weight.axes[1:]), weight, x, bias, read=((channel, 1),), write=((0, channel),))
    role = Role.CARRY if groups > 1 and groups == weight.shape[0] else Role.WRITE
    _layer(couple, product, out, written=0, role=role)
    couple.attribute("in_channels", (*blocks, *read))
    couple.attribute("out_channels", out)
    if blocks:
        couple.attribute("groups", blocks)
    return result


def along_window(couple: Coupling, x: Value, spatial: int) -> list[Axis]:
    """The last dimensions, after a window ran along them.

    Channels there (attention over channels by a small convolution, ECA) keep their number where the length stays.
    """
    axes: list[Axis] = []
    for dim in range(-spatial, 0):
        axis = x.axes[dim]
        if any(atoms(axis)) and x.shape[dim] == couple.shape[dim]:
            couple.limit(axis, Allow.INEXACT, "a window runs along these channels")
            axes.append(axis)
        else:
            couple.freeze(axis, "a window runs along this axis")
            axes.append(couple.fixed(dim, "height and width"))
    return axes


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
    """Weight `[in, out / groups, *kernel]`: as in `convolution`, the groups are carried, here by dimension 0."""
    spatial = len(weight.shape) - 2
    read, out, *kernel = weight.axes
    for axis in kernel:
        couple.not_channels(axis, "a kernel's size")
    channels = x.axes[-spatial - 1]
    couple.unify(channels, read)
    blocks: Axis = ()
    inside: Axis | None = None
    if groups > 1:
        # dimension 0 is `groups * in_per_group` and dimension 1 the outputs of each group; splitting dimension 0
        # refines it in every tensor that shares these channels.
        inside = (Atom(size(read) // groups),)
        if size(inside) == 1:  # depthwise: each channel is a group, and channels that are sums or products stay so
            blocks, inside = channels, ()
        else:
            blocks = (Atom(groups),)
            couple.unify(read, (*blocks, *inside))
        couple.follows(groups, blocks)
        if size(out) == 1:
            couple.not_channels(out, "each group writes a single channel")
            out = ()
        out = (*blocks, *out)
    # Each element of the input meets all weights of its channel.
    channel = -spatial - 1
    written = () if blocks else ((1, channel),)
    product = Contraction((*x.axes, *weight.axes[1:]), weight, x, bias, read=((channel, 0),), write=written)
    _layer(couple, product, out, written=1, carried=blocks, summed=inside)
    couple.attribute("in_channels", read)
    couple.attribute("out_channels", out)
    if blocks:
        couple.attribute("groups", blocks)
    batch = x.axes[: len(x.shape) - spatial - 1]
    return [*batch, out, *along_window(couple, x, spatial)]


def _layer(
    couple: Coupling,
    product: Contraction,
    out: Axis,
    *,
    written: int,
    role: Role = Role.WRITE,
    carried: Axis = (),
    summed: Axis | None = None,
) -> None:
    """What a layer's weight and bias are to the channels that it reads, and to those that come `out`.

    Args:
        carried: factors of the dimension that reads over which nothing is summed: groups.
        summed: the other factors of that dimension; None is all of it.
    """
    weight, ((_, read),) = product.weight, product.read
    couple.use(weight, written, role)
    if carried:
        couple.use(weight, read, Role.CARRY, factors=carried)
    if summed != ():
        couple.reads(weight, read, summed)
    if product.bias is not None:
        couple.unify(product.bias.axes[0], out)
        couple.use(product.bias, 0, Role.WRITE)
    couple.contract(product)
    couple.scale(weight, product.bias)


@rule(aten.embedding.default)
def embedding(couple: Coupling, weight: Value, indices: Value, *args: Any, **kwargs: Any) -> list[Axis]:
    """Weight `[count, width]`: rows are picked by the input, the width is written."""
    couple.freeze(weight.axes[0], "rows are picked by the model's input")
    couple.use(weight, 1, Role.WRITE)
    couple.attribute("embedding_dim", weight.axes[1])
    return [*indices.axes, weight.axes[1]]


@rule(aten.embedding_bag.padding_idx, aten.embedding_bag.default)
def embedding_bag(couple: Coupling, weight: Value, *args: Any) -> list[list[Axis]]:
    """Sums, means or maxima of rows: `[bags, width]`, then what only PyTorch itself uses."""
    couple.freeze(weight.axes[0], "rows are picked by the model's input")
    couple.use(weight, 1, Role.WRITE)
    couple.attribute("embedding_dim", weight.axes[1])
    bags: list[Axis] = [couple.fixed(0, "bags of the model's input"), weight.axes[1]]
    others: list[list[Axis]] = [
        [(Fixed(length, "places of the model's input"),) for length in output.shape]
        for output in couple.call.outputs[1:]
    ]
    return [bags, *others]
