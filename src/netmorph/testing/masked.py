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
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from netmorph.graph import Allow, Axis, Graph, Value
from netmorph.graph.axis import Atom, Sum, atoms, resolve
from netmorph.graph.decided import decided
from netmorph.graph.running import untouched
from netmorph.testing.kept import OVER_KEPT, Operator


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
    zeroed = torch.where(kept, tensor, tensor.new_zeros(()))
    if torch.equal(zeroed, tensor):
        return tensor
    if any(stride == 0 < length - 1 for stride, length in zip(tensor.stride(), tensor.shape, strict=True)):
        return zeroed  # expanded: one number in memory stands for kept and dropped entries
    return tensor.copy_(zeroed)
