"""Which sizes of a forward data decides: the tokens that a router sends to an expert, boxes above a threshold.

What data decides may be another number once the weights are others, as after a narrowing; what does not come from data
may not. So the sizes that follow from values are told apart from all others, dimension by dimension.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch.utils._pytree import tree_leaves

from netmorph.graph.axis import Atom, Axis, Fixed, Sum, resolve, size
from netmorph.graph.provenance import Size
from netmorph.graph.recording import Call, Recording
from netmorph.graph.rules import RULES
from netmorph.graph.sources import Difference, Length, Lost, Product, Quotient, Source, Total, Written
from netmorph.graph.value import Value

aten = torch.ops.aten

# Operators whose result is as long as the values of their arguments say, beside those that PyTorch marks itself.
DECIDING = {
    aten.where.default, aten.nonzero_numpy.default, aten.argwhere.default, aten.repeat_interleave.self_Tensor,
    aten._pack_padded_sequence.default, aten._pad_packed_sequence.default,
}  # fmt: skip
# Of these, all but the first tensor say it.
PICKING = {aten.index.Tensor, aten.masked_select.default, aten.repeat_interleave.self_Tensor}
# Operators that give a number to Python, beside those that PyTorch marks itself: what comes next may depend on it.
READING = {aten.is_nonzero.default, aten.equal.default, aten.allclose.default}
# Operators that cut a dimension where numbers say: that the piece is as long as the whole says nothing.
CUTTING = {
    aten.slice.Tensor, aten.narrow.default, aten.split.Tensor, aten.split_with_sizes.default, aten.split.sizes,
    aten.chunk.default, aten.tensor_split.indices, aten.tensor_split.sections,
}  # fmt: skip


@dataclass
class Decided:
    """What data decides in one forward.

    Attributes:
        start: how many calls ran when the forward first knew something that follows from weights and data; from there
            on it may go another way. None if it never did.
        loose: the dimensions whose length follows from it, by tensor.
        everywhere: whether any length may: those of a forward that went another way.
    """

    start: int | None = None
    loose: dict[Value, frozenset[int]] = field(default_factory=dict)
    everywhere: bool = False

    def fits(self, value: Value, sizes: Mapping[Atom, int], made: Sequence[int]) -> bool:
        """Whether a tensor has the shape that its axes predict.

        Of a dimension that data decides only the channels in it are known: it holds a whole number of them. One that
        holds channels alone is as long as they are many.
        """
        loose = range(len(made)) if self.everywhere else self.loose.get(value, frozenset())
        return len(made) == len(value.axes) and all(
            length == size(axis, dict(sizes))
            or (dim in loose and _has_length(axis) and length % _channels(axis, sizes) == 0)
            for dim, (axis, length) in enumerate(zip(value.axes, made, strict=True))
        )


def decided(recording: Recording, calls: Sequence[Call]) -> Decided:
    """What data decides in a recorded and coupled forward.

    Args:
        calls: those of the recording that are looked at, in order; `Decided.start` counts them.
    """
    found = Decided()
    learned = {*recording.tensors.values()}  # what follows from weights: all else stays what it is after an edit
    read = set(recording.read)
    for number, call in enumerate(calls):
        values = call.values
        if found.start is not None:  # what a forward makes of numbers that it has read
            for value in recording.constants.keys() & set(values):
                learned.add(value)
                found.loose.setdefault(value, frozenset(range(len(value.shape))))
        decides, is_touched = _decides(call, learned), _is_touched(call, found)
        if not is_touched and not any(value in learned for value in values):
            continue
        learned.update(call.outputs)
        if decides or is_touched:
            known = [axis for value in values for axis in _held(value, found, loose=False)]
            free = [axis for value in values for axis in _held(value, found, loose=True)]
            for output in call.outputs:
                loose = {dim for dim, axis in enumerate(output.axes) if _is_loose(axis, known, free)}
                if call.op in CUTTING:
                    loose.add(call.named["dim"] % len(output.shape))
                if loose:
                    found.loose[output] = frozenset(loose)
        if found.start is None and (decides or _reads(call) or read.intersection(call.outputs)):
            found.start = number + 1
    return found


def _is_loose(axis: Axis, known: Sequence[Axis], free: Sequence[Axis]) -> bool:
    """Whether data decides an axis of a result: unless it holds channels alone, or is one of those that are known."""
    axis = resolve(axis)
    return _has_length(axis) and (axis in free or axis not in known)


def _has_length(axis: Axis) -> bool:
    """Whether an axis is more than channels."""
    return any(isinstance(factor, Fixed | Sum) for factor in resolve(axis))


def _held(value: Value, found: Decided, *, loose: bool) -> Iterator[Axis]:
    dims = found.loose.get(value, frozenset())
    return (resolve(axis) for dim, axis in enumerate(value.axes) if (dim in dims) is loose)


def _decides(call: Call, learned: set[Value]) -> bool:
    """Whether values that follow from weights say how long the result is."""
    picking = call.op in PICKING
    values = call.values[1:] if picking else call.values
    if call.op is aten.index.Tensor:
        values = [value for value in values if value.dtype in (torch.bool, torch.uint8)]
    # Nothing is known of an operator of a library's own, such as one that leaves out boxes.
    unknown = call.op not in RULES and call.op.namespace != "aten"
    deciding = unknown or call.op in DECIDING or torch.Tag.dynamic_output_shape in call.op.tags
    return deciding and any(value in learned for value in values)


def _reads(call: Call) -> bool:
    return call.op in READING or torch.Tag.data_dependent_output in call.op.tags


def _is_touched(call: Call, found: Decided) -> bool:
    """Whether a size that data decides may have reached this call: through tensors, integers, or lists of tensors."""
    if any(found.loose.get(value) for value in call.values) or any(_follows(call, found)):
        return True
    if found.start is None:
        return False
    numbers = (
        leaf
        for leaf in tree_leaves((call.args, call.kwargs))
        if isinstance(leaf, int | float) and not isinstance(leaf, bool)
    )
    written = (not isinstance(number, Size) or isinstance(number.source, Written | Lost) for number in numbers)
    lists = (arg for arg in call.args if isinstance(arg, list | tuple) and arg and isinstance(arg[0], Value))
    return any(written) or any(lists)


def _follows(call: Call, found: Decided) -> Iterator[bool]:
    """For each integer that the call was given, whether it comes from a length that data decides."""
    for leaf in tree_leaves((call.args, call.kwargs)):
        if isinstance(leaf, Size):
            yield any(length.dim in found.loose.get(length.value, ()) for length in _lengths(leaf.source))


def _lengths(source: Source) -> Iterator[Length]:
    match source:
        case Length():
            yield source
        case Product(left, right) | Total(left, right):
            yield from _lengths(left)
            yield from _lengths(right)
        case Quotient(whole, part, _) | Difference(whole, part, _):
            yield from _lengths(whole)
            yield from _lengths(part)


def _channels(axis: Axis, sizes: Mapping[Atom, int]) -> int:
    """How many channels a place of an axis holds that is no concatenation."""
    return size(tuple(factor for factor in resolve(axis) if isinstance(factor, Atom)), dict(sizes))


def decides_by_rounding(recording: Recording) -> bool:
    """Whether the forward uses integers or truths that it finds by comparing what follows from weights.

    The largest of two scores, a box above a threshold: a difference that rounding explains may turn them over.
    """
    used = {*recording.outputs, *(value for call in recording.calls for value in call.values)}
    learned = {*recording.tensors.values()}
    for call in recording.calls:
        inside = [value for value in call.values if value in learned]
        learned.update(call.outputs if inside else ())
        if any(value.dtype.is_floating_point for value in inside) and (
            _reads(call) or any(not _is_number(output) and output in used for output in call.outputs)
        ):
            return True
    return False


def _is_number(value: Value) -> bool:
    return value.dtype.is_floating_point or value.dtype.is_complex
