"""Sums, means and extremes over dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from netmorph.graph.axis import Allow, Axis, Fixed
from netmorph.graph.rules import Coupling, rule
from netmorph.graph.value import Value

aten = torch.ops.aten

# Copying every channel equally often leaves a mean and a largest value as they are.
AVERAGES = {
    aten.mean.dim, aten.mean.default, aten.amax.default, aten.amin.default, aten.max.dim, aten.min.dim,
    aten.max.default, aten.min.default, aten.all.dim, aten.any.dim, aten.all.default, aten.any.default,
    aten._is_all_true.default, aten._is_any_true.default,
}  # fmt: skip


@rule(aten.max.dim, aten.min.dim)
def extremes(couple: Coupling, x: Value, dim: int, keepdim: bool = False) -> list[list[Axis]]:
    """Largest or smallest values with their places; where the places are used, nothing can change."""
    made: list[list[Axis]] = _reduced(couple, x, dim)
    if couple.is_read(couple.call.outputs[1]):
        couple.freeze(x.axes[dim], "its places are counted")
    return made


@rule(*(AVERAGES - {aten.max.dim, aten.min.dim}))
@rule(aten.sum.dim_IntList, aten.sum.default, aten.prod.dim_int, aten.logsumexp.default)
@rule(aten.var.correction, aten.std.correction, aten.var.dim, aten.std.dim)
@rule(aten.var_mean.correction, aten.std_mean.correction, aten.var_mean.dim, aten.std_mean.dim)
def reduce(couple: Coupling, x: Value, dims: int | Sequence[int] | None = None, *args: Any, **kwargs: Any) -> Any:
    """Over height and width each channel is on its own. Over channels, copying all equally often keeps a mean."""
    return _reduced(couple, x, kwargs.get("dim", dims))


@rule(aten.linalg_vector_norm.default)
def vector_norm(couple: Coupling, x: Value, order: Any = 2, dims: Any = None, *args: Any, **kwargs: Any) -> list[Axis]:
    """The length of vectors: a root of a sum."""
    reduced: list[Axis] = _reduced(couple, x, dims)
    return reduced


def _reduced(couple: Coupling, x: Value, dims: int | Sequence[int] | None) -> Any:
    places = range(len(x.shape)) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    reduced = {place % len(x.shape) for place in places}
    allow = Allow.UNIFORM if couple.call.op in AVERAGES else Allow.INEXACT
    for place in reduced:
        couple.limit(x.axes[place], allow, "reduced over these channels")
    keeps = len(couple.shape) == len(x.shape)
    axes = [
        (Fixed(1),) if place in reduced else axis for place, axis in enumerate(x.axes) if keeps or place not in reduced
    ]
    return axes if len(couple.call.outputs) == 1 else [axes] * len(couple.call.outputs)
