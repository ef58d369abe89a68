"""The table of op rules: how each ATen operator couples axes, and which changes of width pass.

Short entries first: whole families share one function. `tests/contract` checks every family against a model that
uses it. See `rules.py` for what a rule may state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from netmorph.graph.axis import Allow, Atom, Axis, Fixed, Sum, reshape, size
from netmorph.graph.record import Value
from netmorph.graph.rules import Coupling, Role, rule

aten = torch.ops.aten

# -- element by element: what meets is the same channel -----------------------------------------------------------

UNARY = """
    relu relu_ relu6 relu6_ gelu gelu_ silu silu_ mish mish_ sigmoid sigmoid_ tanh tanh_ hardswish hardswish_
    hardsigmoid hardsigmoid_ hardtanh hardtanh_ leaky_relu leaky_relu_ elu elu_ selu selu_ celu celu_ softplus
    log_sigmoid exp exp_ log sqrt sqrt_ rsqrt rsqrt_ abs abs_ neg neg_ square sin cos erf reciprocal
    sign floor ceil round dropout dropout_ feature_dropout alpha_dropout clone detach detach_ alias
    contiguous lift_fresh lift_fresh_copy zero_ clamp clamp_ clamp_min clamp_min_ clamp_max logical_not bitwise_not
    zeros_like ones_like empty_like
""".split()
UNARY_OVERLOADS = [
    aten.pow.Tensor_Scalar, aten.pow_.Scalar, aten.to.dtype, aten.to.device, aten.to.dtype_layout,
    aten._to_copy.default,
    aten.fill_.Scalar, aten.rsub.Scalar, aten.eq.Scalar, aten.ne.Scalar, aten.lt.Scalar, aten.le.Scalar,
    aten.gt.Scalar, aten.ge.Scalar, aten.masked_fill.Scalar,
]  # fmt: skip
BINARY = "add add_ sub sub_ mul mul_ div div_ eq ne lt le gt ge".split()
BINARY_OVERLOADS = [
    aten.maximum.default, aten.minimum.default, aten.where.self, aten.addcmul.default, aten.addcdiv.default,
    aten.lerp.Scalar, aten.lerp.Tensor, aten.logical_and.default, aten.logical_or.default, aten.type_as.default,
    aten.pow.Tensor_Tensor, aten.copy_.default, aten.div.Tensor_mode, aten.expand_as.default, aten.rsub.Tensor,
    *(getattr(aten, name).Scalar for name in ("add", "sub", "mul", "div")),
]  # fmt: skip


@rule(*(getattr(aten, name).default for name in UNARY))
@rule(*UNARY_OVERLOADS, *BINARY_OVERLOADS, *(getattr(aten, name).Tensor for name in BINARY))
def pointwise(couple: Coupling, *args: Any, **kwargs: Any) -> list[Axis]:
    """Each output element depends on the elements at its own place only; numbers do not matter."""
    return couple.broadcast(*(a for a in (*args, *kwargs.values()) if isinstance(a, Value)))


@rule(aten.prelu.default)
def prelu(couple: Coupling, x: Value, weight: Value) -> list[Axis]:
    """One slope per channel (dimension 1), or one for all."""
    if size(weight.axes[0]) > 1 or (len(x.shape) > 1 and x.shape[1] == 1):
        couple.unify(x.axes[1], weight.axes[0])
        couple.attribute("num_parameters", weight.axes[0])
    else:
        couple.freeze(weight.axes[0], "one slope is shared by all channels")
    return x.axes


@rule(aten.new_zeros.default, aten.new_ones.default, aten.new_full.default, aten.new_empty.default)
def constant(couple: Coupling, like: Value, *args: Any, **kwargs: Any) -> list[Axis]:
    """A new tensor of a given shape; of the old one only the type matters."""
    return [couple.fixed(dim, "a constant tensor that the forward makes") for dim in range(len(couple.shape))]


# -- sums over channels ---------------------------------------------------------------------------------------------


@rule(aten.linear.default)
def linear(couple: Coupling, x: Value, weight: Value, bias: Value | None = None) -> list[Axis]:
    """Weight `[out, in]`."""
    *batch, features = x.axes
    out, read = weight.axes
    couple.unify(features, read)
    _check_weight(couple, weight, read)
    couple.use(weight, 1, Role.READ)
    couple.use(weight, 0, Role.WRITE)
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
    couple.use(weight, 1, Role.READ)
    couple.use(weight, 0, Role.CARRY if groups > 1 and groups == weight.shape[0] else Role.WRITE)
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
    couple.use(weight, 0, Role.READ)
    couple.use(weight, 1, Role.WRITE)
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
        couple.use(right, 0, Role.READ)
        couple.use(right, 1, Role.WRITE)
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


# -- norms: per channel, or over channels -----------------------------------------------------------------------


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
    couple.attribute("num_features", x.axes[1])
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
    for value, fill in ((weight, 1.0), (bias, 0.0)):
        if isinstance(value, Value):
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
    blocks, inside = (Atom(groups),), (Atom(size(channels) // groups),)
    couple.unify(channels, (*blocks, *inside))
    couple.limit(inside, Allow.UNIFORM, "a group norm averages over the channels of a group")
    for value, fill in ((weight, 1.0), (bias, 0.0)):
        if value is not None:
            couple.unify(channels, value.axes[0])
            couple.use(value, 0, Role.CARRY, fill)
    couple.attribute("num_channels", channels)
    couple.attribute("num_groups", blocks)
    return x.axes


@rule(aten.softmax.int, aten.log_softmax.int, aten._softmax.default, aten._log_softmax.default)
def softmax(couple: Coupling, x: Value, dim: int, *args: Any) -> list[Axis]:
    """Each output depends on all channels of the dimension."""
    couple.limit(x.axes[dim], Allow.INEXACT, "a softmax runs over these channels")
    return x.axes


# -- space: channels pass, height and width change ----------------------------------------------------------------

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


# -- shapes ---------------------------------------------------------------------------------------------------------


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


# -- reductions -----------------------------------------------------------------------------------------------------


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
