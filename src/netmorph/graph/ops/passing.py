"""What runs along some dimensions leaves the others alone: channels there pass, each on its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from netmorph.graph.axis import Axis, Fixed, size
from netmorph.graph.rules import Coupling
from netmorph.graph.value import Value

# Tensors, tuples of dimensions and all else that an operator may be given for them.
Dims = int | Iterable[int] | None


def places(x: Value, dims: Dims) -> list[int]:
    """Dimensions counted from the first, in their order; of None all."""
    rank = len(x.shape)
    given = range(rank) if dims is None else [dims] if isinstance(dims, int) else dims
    return [int(dim) % rank for dim in given] if rank else []


def along(couple: Coupling, x: Value, dims: Dims, reason: str) -> list[Axis]:
    """The axes of a result whose dimensions `dims` are made of all that the tensor has there; the others pass.

    Along these dimensions the tensor keeps its length, and the result has its own.
    """
    axes = list(x.axes)
    for dim in places(x, dims):
        couple.freeze(axes[dim], reason)
        axes[dim] = (Fixed(couple.shape[dim], f"{reason}: {couple.where}"),)
    return axes


def reduced(couple: Coupling, x: Value, dims: Dims, reason: str) -> list[Axis]:
    """The same for a result that lacks these dimensions, or has ones there."""
    gone = set(places(x, dims))
    for dim in gone:
        couple.freeze(x.axes[dim], reason)
    keeps = len(couple.shape) == len(x.shape)
    return [(Fixed(1),) if dim in gone else axis for dim, axis in enumerate(x.axes) if keeps or dim not in gone]


def meet_beside(couple: Coupling, dim: int, reason: str, *values: Value) -> None:
    """Tensors of one rank that are read and written at the same places of all dimensions but one.

    Along the others the same channels meet; where one tensor is shorter there, only the first places take part.
    """
    for place, axes in enumerate(zip(*(value.axes for value in values), strict=True)):
        lengths = {size(axis) for axis in axes}
        if place == dim or len(lengths) > 1:
            for axis in axes:
                couple.freeze(axis, reason)
        else:
            for axis in axes[1:]:
                couple.unify(axes[0], axis)


def tensors(*given: Any) -> list[Value]:
    """The tensors among some arguments."""
    return [entry for entry in given if isinstance(entry, Value)]


def with_axis(x: Value, dim: int, axis: Axis) -> list[Axis]:
    """The tensor's axes with another one in dimension `dim`."""
    axes = list(x.axes)
    axes[dim] = axis
    return axes


def without_axis(x: Value, dim: int) -> list[Axis]:
    """The tensor's axes without that of dimension `dim`."""
    axes = list(x.axes)
    del axes[dim]
    return axes
