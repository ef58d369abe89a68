"""Places that tensors of indices tell: read, written, summed up. Along the other dimensions channels pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from netmorph.graph.axis import Axis, Fixed, size
from netmorph.graph.ops.passing import along, meet_beside, tensors, with_axis
from netmorph.graph.rules import Coupling, rule
from netmorph.graph.value import Value

aten = torch.ops.aten

PICKED = "picked by a tensor of indices"
WRITTEN = "written at places given by indices"


@rule(aten.index.Tensor)
def index(couple: Coupling, x: Value, indices: Sequence[Value | None]) -> list[Axis]:
    """Places picked by tensors of indices: these dimensions keep their lengths, the others pass.

    Whatever shape the indices have together is in the result; a mask picks as many places as it holds.
    """
    picked = _picked(couple, x, indices, PICKED)
    new: list[Axis] = couple.broadcast_axes([value.axes for value in picked.indices])
    if picked.has_mask:
        for axis in new:
            couple.freeze(axis, PICKED)
        count = len(couple.shape) - len(picked.passing)
        new = [(Fixed(n, PICKED),) for n in couple.shape[picked.at : picked.at + count]]
    return picked.around(new)


@rule(aten.index_put_.default, aten.index_put.default)
def index_put(couple: Coupling, x: Value, indices: Sequence[Value | None], values: Value, *args: Any) -> list[Axis]:
    """Places that are written by their indices; along the other dimensions what is written is the same channels."""
    picked = _picked(couple, x, indices, WRITTEN)
    new: list[Axis] = couple.broadcast_axes([value.axes for value in picked.indices])
    for axis in new:
        couple.freeze(axis, WRITTEN)
    if picked.has_mask:  # nobody says how many places it holds; what is written has one, or as many
        new = [_counterpart(values, len(picked.passing) - picked.at)]
        couple.freeze(new[0], WRITTEN)
    couple.broadcast_axes([picked.around(new), values.axes])
    return x.axes


def _counterpart(values: Value, behind: int) -> Axis:
    """The axis of what is written that lies in front of the last `behind` ones."""
    place = len(values.axes) - 1 - behind
    return values.axes[place] if place >= 0 else (Fixed(1),)


class _Picked:
    """Which dimensions are indexed, and where the result has those of the indices."""

    def __init__(self, x: Value, indices: Sequence[Value | None]) -> None:
        self.indices: list[Value] = []
        self.dims: list[int] = []
        self.has_mask = False
        dim = 0
        for entry in indices:
            is_mask = entry is not None and entry.dtype in (torch.bool, torch.uint8)
            taken = len(entry.shape) if entry is not None and is_mask else 1
            if entry is not None:
                self.indices.append(entry)
                self.has_mask |= is_mask
                self.dims.extend(range(dim, dim + taken))
            dim += taken
        together = self.dims == list(range(self.dims[0], self.dims[-1] + 1))
        self.at = self.dims[0] if together else 0
        self.passing = [axis for place, axis in enumerate(x.axes) if place not in self.dims]

    def around(self, new: Sequence[Axis]) -> list[Axis]:
        """The axes of the result, where the indices have these."""
        return [*self.passing[: self.at], *new, *self.passing[self.at :]]


def _picked(couple: Coupling, x: Value, indices: Sequence[Value | None], reason: str) -> _Picked:
    picked = _Picked(x, indices)
    for dim in picked.dims:
        couple.freeze(x.axes[dim], reason)
    return picked


@rule(aten.index_select.default)
def index_select(couple: Coupling, x: Value, dim: int, indices: Value) -> list[Axis]:
    """Places of one dimension, picked by indices."""
    couple.freeze(x.axes[dim], PICKED)
    return with_axis(x, dim, indices.axes[0] if indices.shape else couple.fixed(dim, PICKED))


@rule(aten.gather.default, aten.take_along_dim.default)
def gather(couple: Coupling, x: Value, indices: int | Value, *args: Any, **kwargs: Any) -> list[Axis]:
    """Places picked along one dimension; along the others each channel picks for itself."""
    given = couple.call.named
    dim, at = given["dim"], next(value for value in tensors(given.get("index"), given.get("indices")))
    if dim is None:  # both are read as if they were flat
        for axis in (*x.axes, *at.axes):
            couple.freeze(axis, PICKED)
        return [couple.fixed(0, PICKED)]
    dim %= len(x.shape)
    axes = list(at.axes)
    for place, (axis, other) in enumerate(zip(x.axes, at.axes, strict=True)):
        if place == dim:
            couple.freeze(axis, PICKED)
        elif size(axis) == size(other):
            couple.unify(axis, other)
            axes[place] = axis
        elif couple.call.op is aten.take_along_dim.default:
            axes[place] = couple.meet([axis, other])
        else:  # the first places only
            for short in (axis, other):
                couple.freeze(short, PICKED)
    return axes


@rule(
    *(getattr(op, name) for op in (aten.scatter, aten.scatter_) for name in op.overloads()
      if name in ("src", "value", "reduce", "value_reduce")),
    aten.scatter_add.default, aten.scatter_add_.default, aten.scatter_reduce.two, aten.scatter_reduce_.two,
)  # fmt: skip
def scatter(couple: Coupling, x: Value, dim: int, indices: Value, source: Any, *args: Any, **kwargs: Any) -> list[Axis]:
    """What `source` holds goes to places along one dimension; along the others each channel has its own places."""
    if len(x.shape) and len(indices.shape):
        meet_beside(couple, dim % len(x.shape), WRITTEN, x, indices, *tensors(source))
    return x.axes


@rule(aten.index_add.default, aten.index_add_.default, aten.index_copy.default, aten.index_copy_.default)
@rule(aten.index_reduce.default, aten.index_reduce_.default)
def index_add(couple: Coupling, x: Value, dim: int, indices: Value, source: Value, *args: Any, **kw: Any) -> list[Axis]:
    """Places of one dimension get what `source` holds for them; the others pass."""
    for axis in indices.axes:
        couple.freeze(axis, WRITTEN)
    if len(x.shape) == len(source.shape) > 0:
        meet_beside(couple, dim % len(x.shape), WRITTEN, x, source)
    else:
        couple.freeze(x.axes[dim], WRITTEN)
    return x.axes


@rule(*(getattr(op, name) for op in (aten.index_fill, aten.index_fill_) for name in ("int_Scalar", "int_Tensor")))
def index_fill(couple: Coupling, x: Value, dim: int, indices: Value, value: Any) -> list[Axis]:
    """Places of one dimension get one number."""
    for axis in (x.axes[dim], *indices.axes):
        couple.freeze(axis, WRITTEN)
    return x.axes


@rule(aten.masked_scatter.default, aten.masked_scatter_.default)
def masked_scatter(couple: Coupling, x: Value, mask: Value, source: Value) -> list[Axis]:
    """Places that a mask holds get what comes next in `source`.

    Dimensions behind the last along which the mask differs are taken whole: there both hold the same channels.
    """
    whole = 0
    while whole < min(len(x.shape), len(source.shape)) and _is_same(mask, whole, x.shape[-1 - whole]):
        if x.shape[-1 - whole] != source.shape[-1 - whole]:
            break
        whole += 1
    for dim in range(-whole, 0):
        couple.unify(x.axes[dim], source.axes[dim])
    for value in (x, source):
        for axis in value.axes[: len(value.axes) - whole]:
            couple.freeze(axis, WRITTEN)
    couple.broadcast_axes([x.axes, mask.axes])
    return x.axes


def _is_same(mask: Value, place: int, length: int) -> bool:
    """Whether a mask holds the same all along its last dimension but `place`, as it is broadcast to this length."""
    if place >= len(mask.shape):
        return True
    return length > 1 and (mask.shape[-1 - place] == 1 or (-1 - place) % len(mask.shape) in mask.repeated)


@rule(
    aten.masked_select.default,
    aten.take.default,
    aten.nonzero.default,
    aten.where.default,
)
@rule(aten.multinomial.default)
@rule(aten.argwhere.default, aten.bincount.default, aten.unique_consecutive.default, aten._unique2.default)
def found(couple: Coupling, *args: Any, **kwargs: Any) -> Any:
    """What is found somewhere in the whole tensor, in a list: nothing can change."""
    for value in couple.call.values:
        for axis in value.axes:
            couple.freeze(axis, "its places are counted")
    made: list[list[Axis]] = [
        [(Fixed(length, f"places are counted: {couple.where}"),) for length in output.shape]
        for output in couple.call.outputs
    ]
    return made


@rule(aten.one_hot.default)
def one_hot(couple: Coupling, x: Value, classes: int = -1) -> list[Axis]:
    """A new last dimension that says which class it is."""
    couple.number(classes)
    return [*x.axes, couple.fixed(-1, "its places are counted")]


@rule(aten.searchsorted.Tensor)
def searchsorted(couple: Coupling, borders: Value, x: Value, **kwargs: Any) -> list[Axis]:
    """Between which borders a number lies; of several rows of borders each has its own numbers."""
    if len(borders.shape) > 1:
        meet_beside(couple, len(x.shape) - 1, "sorted borders", borders, x)
    for value in tensors(borders, *kwargs.values()):
        couple.freeze(value.axes[-1], "sorted borders")
    return x.axes


@rule(aten.bucketize.Tensor)
def bucketize(couple: Coupling, x: Value, borders: Value, **kwargs: Any) -> list[Axis]:
    """Between which borders a number lies."""
    couple.freeze(borders.axes[0], "sorted borders")
    return x.axes


@rule(aten.repeat_interleave.self_Tensor)
def repeat_each(couple: Coupling, x: Value, repeats: Value, dim: int | None = None, **kwargs: Any) -> list[Axis]:
    """Copies of each place of one dimension, as many as a tensor says."""
    if dim is None:
        for axis in x.axes:
            couple.freeze(axis, PICKED)
        return [couple.fixed(0, PICKED)]
    return along(couple, x, dim, PICKED)


@rule(aten.segment_reduce.default)
def segment_reduce(couple: Coupling, x: Value, reduce: str, **kwargs: Any) -> list[Axis]:
    """Runs of places of one dimension become one each; the others pass."""
    return along(couple, x, couple.call.named["axis"], "summed up in segments")
