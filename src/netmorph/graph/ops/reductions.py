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
    aten.all.dims, aten.any.dims, aten.nanmean.default, aten.aminmax.default,
    aten._is_all_true.default, aten._is_any_true.default,
}  # fmt: skip

SUMS = {aten.sum.dim_IntList, aten.sum.default}


@rule(aten.max.dim, aten.min.dim)
def extremes(couple: Coupling, x: Value, dim: int, keepdim: bool = False) -> list[list[Axis]]:
    """Largest or smallest values with their places; where the places are used, nothing can change."""
    made: list[list[Axis]] = _reduced(couple, x, dim)
    if couple.is_read(couple.call.outputs[1]):
        couple.freeze(x.axes[dim], "its places are counted")
    return made


@rule(*(AVERAGES - {aten.max.dim, aten.min.dim}))
@rule(aten.sum.dim_IntList, aten.sum.default, aten.prod.dim_int, aten.prod.default, aten.logsumexp.default)
@rule(aten.nansum.default, aten.count_nonzero.default, aten.count_nonzero.dim_IntList)
@rule(aten.var.default, aten.std.default, aten.var_mean.default, aten.std_mean.default)
@rule(aten.var.correction, aten.std.correction, aten.var.dim, aten.std.dim)
@rule(aten.var_mean.correction, aten.std_mean.correction, aten.var_mean.dim, aten.std_mean.dim)
def reduce(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> Any:
    """Over height and width each channel is on its own. Over channels, copying all equally often keeps a mean."""
    return _reduced(couple, x, couple.call.named.get("dim"))


@rule(aten.linalg_vector_norm.default)
def vector_norm(couple: Coupling, x: Value, order: Any = 2, dims: Any = None, *args: Any, **kwargs: Any) -> list[Axis]:
    """The length of vectors: a root of a sum."""
    reduced: list[Axis] = _reduced(couple, x, dims)
    return reduced


@rule(aten.linalg_norm.default, aten.linalg_norm.ord_str, aten.linalg_matrix_norm.default)
@rule(aten.linalg_matrix_norm.str_ord)
def norm(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> list[Axis]:
    """The length of vectors or of matrices, over the dimensions that are given or all."""
    axes: list[Axis] = _reduced(couple, x, couple.call.named.get("dim"))
    return axes


# The number by which PyTorch tells how a loss is reduced.
MEAN = 1


@rule(aten.mse_loss.default, aten.l1_loss.default, aten.smooth_l1_loss.default, aten.huber_loss.default)
@rule(aten.binary_cross_entropy_with_logits.default, aten.kl_div.default, aten.binary_cross_entropy.default)
def loss(couple: Coupling, x: Value, target: Value, *args: Any, **kwargs: Any) -> list[Axis]:
    """What differs from place to place, or its mean or sum over all."""
    axes = couple.broadcast(*couple.call.values)
    if len(couple.shape) == len(axes):
        return axes
    allow = Allow.UNIFORM if couple.call.named["reduction"] == MEAN else Allow.INEXACT
    for axis in axes:
        couple.limit(axis, allow, "a loss is taken over these channels")
    return []


@rule(aten.cross_entropy_loss.default, aten.nll_loss_nd.default, aten.nll_loss.default, aten.nll_loss2d.default)
@rule(aten.ctc_loss.Tensor, aten.ctc_loss.IntList, aten.cosine_embedding_loss.default)
def loss_of_classes(couple: Coupling, *args: Any, **kwargs: Any) -> list[Axis]:
    """How likely the right classes are: nothing that meets it can change."""
    for value in couple.call.values:
        for axis in value.axes:
            couple.freeze(axis, "a loss is taken of these")
    return [couple.fixed(dim, "a loss") for dim in range(len(couple.shape))]


def _is_read_by_weight(couple: Coupling, x: Value, place: int) -> bool:
    """Whether it is a product with a weight that is summed up here: the weight takes the shares, as a layer's does."""
    product = couple.product_of(x)
    if product is None or len(product.values) != 2:
        return False
    weights = [value for value in product.values if value.is_weight]
    at = place - len(x.shape)
    if len(weights) != 1 or not all(len(v.shape) >= -at and v.shape[at] == x.shape[at] for v in product.values):
        return False
    couple.reads(weights[0], at % len(weights[0].shape))
    return True


def _reduced(couple: Coupling, x: Value, dims: int | Sequence[int] | None) -> Any:
    places = range(len(x.shape)) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    reduced = {place % len(x.shape) for place in places}
    allow = Allow.UNIFORM if couple.call.op in AVERAGES else Allow.INEXACT
    sums = couple.call.op in SUMS
    for place in reduced:
        if not (sums and _is_read_by_weight(couple, x, place)):
            couple.limit(x.axes[place], allow, "reduced over these channels")
    keeps = len(couple.shape) == len(x.shape)
    axes = [
        (Fixed(1),) if place in reduced else axis for place, axis in enumerate(x.axes) if keeps or place not in reduced
    ]
    return axes if len(couple.call.outputs) == 1 else [axes] * len(couple.call.outputs)
