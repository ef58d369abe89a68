"""Weights that are computed from parameters: to which parameters goes what is said of their dimensions.

A layer may read `W + B A`, a masked or a normalized weight. Where such a weight is a linear function of parameters
along a dimension, multiplying these multiplies it, so that copies of channels can share what it reads.
"""

from __future__ import annotations

import torch

from netmorph.graph.axis import Atom, atoms
from netmorph.graph.recording import Call
from netmorph.graph.value import Origin, Place, Value

aten = torch.ops.aten
SUMS = {aten.add.Tensor, aten.add_.Tensor, aten.sub.Tensor, aten.complex.default, aten.stack.default, aten.cat.default}
FACTORS = {aten.mul.Tensor, aten.mul_.Tensor}
QUOTIENTS = {aten.div.Tensor, aten.mul.Scalar, aten.div.Scalar, aten.neg.default, aten.real.default, aten.imag.default}
PRODUCTS = {
    aten.matmul.default, aten.mm.default, aten.bmm.default, aten.linalg_matmul.default, aten.mv.default,
    aten.dot.default, aten.vdot.default,
}  # fmt: skip
# Memory that may be filled with anything later on.
EMPTY = {
    aten.zeros.default, aten.empty.memory_format, aten.full.default, aten.ones.default, aten.zeros_like.default,
    aten.empty_like.default, aten.ones_like.default, aten.full_like.default, aten.new_zeros.default,
    aten.new_empty.default, aten.new_ones.default, aten.new_full.default,
}  # fmt: skip


def derive(call: Call, rearranges: bool) -> None:
    """Tell of a call's results whether they depend on the model's inputs, and otherwise where their channels are from.

    Args:
        rearranges: the results hold the elements of the first tensor as they are.
    """
    from_input = call.op in EMPTY or any(value.from_input for value in call.values)
    for output in call.outputs:
        if output.name is not None:  # a parameter or buffer that is changed in place
            continue
        output.from_input |= from_input
        if from_input or output.origins:
            continue
        output.origins = [_origin(call, output, dim, rearranges) for dim in range(len(output.shape))]
        if call.op in PRODUCTS:  # sums over channels, which stay as they are
            kept = [origin for origin in output.origins if origin is not None]
            output.scale_of = frozenset(name for origin in kept for name, _ in origin.places)
        else:
            output.scale_of = frozenset().union(*(value.scale_of for value in call.values))


def _origin(call: Call, output: Value, dim: int, rearranges: bool) -> Origin | None:
    """Of one dimension of a result: from the dimensions of the operands that hold the same channels."""
    if call.op in PRODUCTS:
        return _of_product(call, output, dim)
    own = set(atoms(output.axes[dim]))
    operands = [(value, _of_operand(value, own)) for value in call.values]
    known = [(value, origin) for value, origin in operands if origin is not None]
    if not own or not known:
        return None
    first = known[0][1]
    if rearranges:
        return operands[0][1]
    if call.op in SUMS:
        places = _union(*(origin.places for _, origin in known))
        if len(known) < len(operands) or any(origin.scaled is None for _, origin in known):
            return Origin(places, None)
        return Origin(places, _union(*(origin.scaled or () for _, origin in known)))
    if call.op in FACTORS | QUOTIENTS or call.op is aten._weight_norm.default:
        candidates = known if call.op in FACTORS else operands[1:2] if call.op not in QUOTIENTS else operands[:1]
        return Origin(first.places, next(filter(None, (_multiplied(call, *one) for one in candidates)), None))
    return Origin(first.places, None)


def _multiplied(call: Call, value: Value, origin: Origin | None) -> tuple[Place, ...] | None:
    """Where one factor of a product can be multiplied, unless the others change then."""
    scaled = origin.scaled if origin is not None else None
    names = {name for name, _ in scaled or ()}
    return None if any(names & other.scale_of for other in call.values if other is not value) else scaled


def _of_operand(value: Value, own: set[Atom]) -> Origin | None:
    """From all of its dimensions that hold some of these channels."""
    origins = zip(value.axes, value.origins, strict=False)
    crossed = [origin for axis, origin in origins if origin is not None and own & set(atoms(axis))]
    if not crossed:
        return None
    scaled = [origin.scaled for origin in crossed]
    both = None if None in scaled else _union(*(places for places in scaled if places is not None))
    return Origin(_union(*(origin.places for origin in crossed)), both)


def _of_product(call: Call, output: Value, dim: int) -> Origin | None:
    """Rows are the first matrix's, columns the second's."""
    left, right = call.values
    at = dim - len(output.shape)
    if at == -1 and len(right.shape) > 1:
        return right.origins[-1] if right.origins else None
    at += len(right.shape) == 1
    return left.origins[at] if left.origins and len(left.shape) >= -at else None


def _union(*places: tuple[Place, ...]) -> tuple[Place, ...]:
    return tuple(dict.fromkeys(place for some in places for place in some))
