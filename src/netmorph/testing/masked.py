"""The masked original: a network at its old size in which some channels have been taken out of every sum.

The oracle of narrowing. The recorded forward of the original network runs again, operator by operator; after each
operator the dropped channels of its result are set to zero, and an operator that averages, normalizes or takes a
maximum over channels does so over the kept ones. From the graph it takes only which entries of each tensor belong to
which channels. It knows nothing of how an edit changes tensors or sizes, so it and the edit can be held against each
other: where they differ, one of the two is wrong, or the forward computes something from a width (a scale of
`1 / sqrt(width)`, say), which here is still the old one.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from netmorph.graph import Allow, Axis, Graph, Value
from netmorph.graph.axis import Atom, Sum, atoms, resolve
from netmorph.graph.decided import decided
from netmorph.graph.running import untouched

aten = torch.ops.aten
# Gets what is kept of the first argument (a BoolTensor of its shape), then the operator's own arguments.
Operator = Callable[..., Any]
OVER_KEPT: dict[torch._ops.OpOverload, Operator] = {}


def masked_outputs(
    graph: Graph,
    kept: Mapping[str, Sequence[int]],
    operators: Mapping[torch._ops.OpOverload, Operator] = OVER_KEPT,
) -> list[Tensor]:
    """What the graph's model returns on its example inputs when only some channels take part: see `masked_values`.

    Returns:
        The tensors of the model's result, kept channels only: what the narrowed network should return.
    """
    masks = channel_masks(graph, kept)
    with untouched(graph.model):  # what is drawn is what the network draws
        values = masked_values(graph, masks, operators)
    return [only_kept(values[value], value.axes, masks) for value in graph.recording.outputs]


def masked_values(
    graph: Graph,
    masks: Mapping[Atom, Tensor],
    operators: Mapping[torch._ops.OpOverload, Operator] = OVER_KEPT,
) -> dict[Value, Tensor]:
    """Every tensor of the masked forward, at its old size.

    Args:
        graph: of a model that has not changed since. It is left as it is.
        masks: see `channel_masks`.
        operators: those that must leave dropped channels out by themselves, because a zero is not neutral to them.
    """
    recording = graph.recording
    parameters = dict(graph.model.named_parameters()) | dict(graph.model.named_buffers())
    inputs = [leaf for leaf in tree_leaves(graph.inputs) if isinstance(leaf, Tensor)]
    with torch.inference_mode():
        values = {value: tensor.clone() for value, tensor in zip(recording.inputs, inputs, strict=True)}
        values |= {value: tensor.clone() for value, tensor in recording.constants.items()}
        values |= {value: _zeroed(parameters[name].clone(), value, masks) for name, value in recording.tensors.items()}
        for call in recording.calls:
            args, kwargs = tree_map(
                lambda leaf: values[leaf] if isinstance(leaf, Value) else leaf, (call.args, call.kwargs)
            )
            operator = operators.get(call.op)
            kept = keep(call.args[0], masks) if operator and isinstance(call.args[0], Value) else None
            result = call.op(*args, **kwargs) if operator is None or kept is None else operator(kept, *args, **kwargs)
            made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
            for value, tensor in zip(call.outputs, made, strict=True):
                values[value] = _zeroed(tensor, value, masks)
    return values


def can_mask(graph: Graph, kept: Mapping[str, Sequence[int]]) -> bool:
    """Whether the oracle knows what the network does without these channels.

    Where each channel is on its own (`Allow.ANY`), a zero stands for nothing. What averages over channels, or else
    looks at them together, must be in the table; PyTorch's own operators are, those of others can be put there. Where
    random numbers are drawn for the channels, others are drawn for fewer of them, and where data decides how a forward
    goes, it may go another way.
    """
    dropped = {graph.groups[name].atom for name in kept}
    drawn = {
        atom
        for call in graph.recording.calls
        if call.draws
        for value in call.outputs
        for axis in value.axes
        for atom in atoms(axis)
    }
    if dropped & drawn or decided(graph.recording, graph.recording.calls).start is not None:
        return False
    known = all(call.op.namespace == "aten" or call.op in OVER_KEPT for call in graph.recording.calls)
    return known or all(graph.groups[name].allow == Allow.ANY for name in kept)


def channel_masks(graph: Graph, kept: Mapping[str, Sequence[int]]) -> dict[Atom, Tensor]:
    """By atom, which of its channels are kept: BoolTensor of its size."""
    masks = {graph.groups[name].atom: torch.zeros(graph.groups[name].size, dtype=torch.bool) for name in kept}
    for name, channels in kept.items():
        masks[graph.groups[name].atom][list(channels)] = True
    return masks


def only_kept(tensor: Tensor, axes: Sequence[Axis], masks: Mapping[Atom, Tensor]) -> Tensor:
    """A tensor without the entries of dropped channels."""
    for dim, axis in enumerate(axes):
        tensor = tensor.index_select(dim, along(axis, masks).nonzero().flatten())
    return tensor


def along(axis: Axis, masks: Mapping[Atom, Tensor]) -> Tensor:
    """Which entries of one dimension are kept: BoolTensor of its length."""
    kept = torch.ones(1, dtype=torch.bool)
    for factor in resolve(axis):
        if isinstance(factor, Sum):
            inner = torch.cat([along(segment, masks) for segment in factor.segments])
        elif isinstance(factor, Atom) and factor in masks:
            inner = masks[factor]
        else:
            inner = torch.ones(factor.size, dtype=torch.bool)
        kept = (kept[:, None] & inner).flatten()  # row-major, like the axis
    return kept


def keep(value: Value, masks: Mapping[Atom, Tensor]) -> Tensor | None:
    """Which entries of a tensor are kept: BoolTensor of its shape; None for all."""
    rank = len(value.shape)
    vectors = [along(axis, masks) for axis in value.axes]
    partial = [
        vector.reshape([-1 if place == dim else 1 for place in range(rank)])
        for dim, vector in enumerate(vectors)
        if not bool(vector.all())
    ]
    return functools.reduce(torch.logical_and, partial).expand(value.shape) if partial else None


def _zeroed(tensor: Tensor, value: Value, masks: Mapping[Atom, Tensor]) -> Tensor:
    """`tensor` with zeros in its dropped entries; in place, because it may be a view of what is written later."""
    kept = keep(value, masks)
    if kept is None:
        return tensor
    zeroed = torch.where(kept, tensor, 0)
    if torch.equal(zeroed, tensor):
        return tensor
    if any(stride == 0 < length - 1 for stride, length in zip(tensor.stride(), tensor.shape, strict=True)):
        return zeroed  # expanded: one number in memory stands for kept and dropped entries
    return tensor.copy_(zeroed)


def over_kept(*ops: torch._ops.OpOverload) -> Callable[[Operator], Operator]:
    """Register how operators leave out what is not kept, by a function of that and of the operator's own arguments.

    What is kept of the first argument is a BoolTensor of its shape; the function is called only where something is
    dropped. It returns what the operator does, whose dropped entries do not matter.
    """

    def register(function: Operator) -> Operator:
        OVER_KEPT.update(dict.fromkeys(ops, function))
        return function

    return register


def _dims(dims: int | Sequence[int] | None, rank: int) -> list[int]:
    given = range(rank) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    return [dim % rank for dim in given]


def _moments(kept: Tensor, x: Tensor, dims: list[int], correction: float = 0) -> tuple[Tensor, Tensor]:
    """Mean and variance over the kept entries, with `dims` left as dimensions of size 1."""
    count = kept.sum(dims, keepdim=True).clamp(min=1)
    mean = torch.where(kept, x, 0).sum(dims, keepdim=True) / count
    variance = torch.where(kept, (x - mean) ** 2, 0).sum(dims, keepdim=True) / (count - correction)
    return mean, variance


def _shaped(result: Tensor, dims: list[int], keepdim: bool) -> Tensor:
    return result if keepdim else result.squeeze(tuple(dims))


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


@over_kept(aten.layer_norm.default)
def _layer_norm(
    kept: Tensor,
    x: Tensor,
    shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    mean, variance = _moments(kept, x, list(range(-len(shape), 0)))
    return _scaled((x - mean) / (variance + eps).sqrt(), weight, bias)


@over_kept(aten.native_layer_norm.default)
def _native_layer_norm(kept: Tensor, x: Tensor, shape: Sequence[int], *args: Any) -> tuple[Tensor, ...]:
    return _layer_norm(kept, x, shape, *args), *_moments(kept, x, list(range(-len(shape), 0)))


@over_kept(aten.rms_norm.default)
def _rms_norm(
    kept: Tensor, x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    square, _ = _moments(kept, x * x, list(range(-len(shape), 0)))
    return _scaled(x / (square + (torch.finfo(x.dtype).eps if eps is None else eps)).sqrt(), weight, None)


@over_kept(aten.group_norm.default)
def _group_norm(
    kept: Tensor,
    x: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: Any,
) -> Tensor:
    blocks = x.reshape(len(x), groups, -1)
    mean, variance = _moments(kept.reshape(blocks.shape), blocks, [-1])
    normalized = ((blocks - mean) / (variance + eps).sqrt()).reshape(x.shape)
    return _scaled(normalized, *(_per_channel(tensor, x) for tensor in (weight, bias)))


@over_kept(aten.batch_norm.default)
def _batch_norm(
    kept: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    *_: Any,
) -> Tensor:
    """In eval mode too some networks take statistics of what comes in: weights standardized as if they were a batch."""
    if not training:
        normalized: Tensor = aten.batch_norm.default(x, weight, bias, mean, variance, training, momentum, eps, False)
        return normalized
    average, spread = _moments(kept, x, [dim for dim in range(x.dim()) if dim != 1])
    return _scaled((x - average) / (spread + eps).sqrt(), *(_per_channel(tensor, x) for tensor in (weight, bias)))


def _per_channel(tensor: Tensor | None, x: Tensor) -> Tensor | None:
    return None if tensor is None else tensor.reshape([1, -1] + [1] * (x.dim() - 2))


@over_kept(aten.mean.default, aten.mean.dim)
def _mean(kept: Tensor, x: Tensor, dims: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
    places = _dims(dims, x.dim())
    return _shaped(_moments(kept, x, places)[0], places, keepdim)


def _spread(root: bool, with_mean: bool) -> Operator:
    def operator(
        kept: Tensor, x: Tensor, dims: Any = None, *, correction: float | None = None, keepdim: bool = False
    ) -> Any:
        places = _dims(dims, x.dim())
        average, variance = _moments(kept, x, places, 1 if correction is None else correction)
        result = _shaped(variance.sqrt() if root else variance, places, keepdim)
        return (result, _shaped(average, places, keepdim)) if with_mean else result

    return operator


def _spread_dim(spread: Operator) -> Operator:
    def operator(kept: Tensor, x: Tensor, dims: Any = None, unbiased: bool = True, keepdim: bool = False) -> Any:
        return spread(kept, x, dims, correction=int(unbiased), keepdim=keepdim)

    return operator


for _name in ("var", "std", "var_mean", "std_mean"):
    _operator = _spread(root="std" in _name, with_mean="mean" in _name)
    OVER_KEPT[getattr(aten, _name).correction] = _operator
    OVER_KEPT[getattr(aten, _name).dim] = _spread_dim(_operator)


def _filled(op: torch._ops.OpOverload, number: float) -> Operator:
    """An operator that sees `number`, which does not matter to it, in the place of what is dropped."""

    def operator(kept: Tensor, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return op(torch.where(kept, x, number), *args, **kwargs)

    return operator


for _op in (
    aten.softmax.int, aten.log_softmax.int, aten._softmax.default, aten._log_softmax.default, aten.logsumexp.default,
    aten.amax.default, aten.max.default, aten.max.dim, aten.argmax.default,
):  # fmt: skip
    OVER_KEPT[_op] = _filled(_op, -math.inf)
for _op in (aten.amin.default, aten.min.default, aten.min.dim, aten.argmin.default):
    OVER_KEPT[_op] = _filled(_op, math.inf)
for _op in (aten.prod.default, aten.prod.dim_int):
    OVER_KEPT[_op] = _filled(_op, 1.0)


def _window(op: torch._ops.OpOverload) -> Operator:
    """A window along channels runs over those that are left, each beside its new neighbours (as attention of ECA)."""

    def operator(kept: Tensor, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        places = kept.flatten(0, -2).any(0)
        made: Tensor = op(x[..., places], *args, **kwargs)
        if bool(places.all()):
            return made
        return made.new_zeros(*made.shape[:-1], len(places)).index_copy(-1, places.nonzero().flatten(), made)

    return operator


for _op in (aten.conv1d.default, aten.conv1d.padding):
    OVER_KEPT[_op] = _window(_op)


def attention_scaled_by_kept(kept: Tensor, query: Tensor, *args: Any, scale: float | None = None, **kwargs: Any) -> Any:
    """Fused attention as it is in a narrowed network: where no scale is given, it follows from the width kept.

    Not in the table, because it is no masking: the products of queries and keys come out larger than the original's.
    """
    width = int(kept.flatten(0, -2).any(0).sum())
    scale = width**-0.5 if scale is None else scale
    return aten.scaled_dot_product_attention.default(query, *args, scale=scale, **kwargs)
