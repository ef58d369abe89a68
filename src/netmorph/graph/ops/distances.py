"""How far vectors are from each other, and products of several tensors that are no layer's."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import torch

from netmorph.graph.axis import Allow, Axis, Fixed
from netmorph.graph.contraction import Contraction
from netmorph.graph.ops.passing import places
from netmorph.graph.ops.products import einsum
from netmorph.graph.rules import Coupling, rule
from netmorph.graph.uses import Role
from netmorph.graph.value import Value

aten = torch.ops.aten


@rule(aten.cosine_similarity.default)
def cosine(couple: Coupling, x: Value, y: Value, dim: int = 1, *args: Any) -> list[Axis]:
    """The angle between vectors stays where every channel is copied equally often."""
    axes = couple.broadcast(x, y)
    couple.limit(axes.pop(dim), Allow.UNIFORM, "an angle is taken over these channels")
    return axes


@rule(aten.pairwise_distance.default)
def distance(
    couple: Coupling, x: Value, y: Value, order: float = 2, eps: float = 1e-6, keepdim: bool = False
) -> list[Axis]:
    """The length of the difference of vectors, in the last dimension."""
    axes = couple.broadcast(x, y)
    couple.limit(axes.pop(), Allow.INEXACT, "a distance is summed up over these channels")
    return [*axes, (Fixed(1),)] if keepdim else axes


@rule(aten.cdist.default)
def distances(couple: Coupling, x: Value, y: Value, *args: Any) -> list[Axis]:
    """`[..., n, width]` and `[..., m, width]` -> `[..., n, m]`."""
    couple.unify(x.axes[-1], y.axes[-1])
    couple.limit(x.axes[-1], Allow.INEXACT, "a distance is summed up over these channels")
    return [*couple.broadcast_axes([x.axes[:-2], y.axes[:-2]]), x.axes[-2], y.axes[-2]]


@rule(aten.bilinear.default)
def bilinear(couple: Coupling, x: Value, y: Value, weight: Value, bias: Value | None = None) -> list[Axis]:
    """Weight `[out, first, second]`: each output is a sum of products of both inputs' channels."""
    out, *read = weight.axes
    batch = couple.broadcast_axes([x.axes[:-1], y.axes[:-1]])
    for value, axis, dim in ((x, read[0], 1), (y, read[1], 2)):
        couple.unify(value.axes[-1], axis)
        couple.reads(weight, dim)
    couple.use(weight, 0, Role.WRITE)
    if bias is not None:
        couple.unify(bias.axes[0], out)
        couple.use(bias, 0, Role.WRITE)
    couple.contract(Contraction((*batch, out, *read), weight, x, read=((-1, 1),)))
    couple.contract(Contraction((*batch, out, read[1]), y))
    couple.scale(weight, bias)
    couple.attribute("in1_features", read[0])
    couple.attribute("in2_features", read[1])
    couple.attribute("out_features", out)
    return [*batch, out]


@rule(aten.tensordot.default)
def tensordot(couple: Coupling, x: Value, y: Value, dims: Sequence[int], others: Sequence[int]) -> list[Axis]:
    """Summed over pairs of dimensions; what is left of the first, then of the second."""
    letters = iter(string.ascii_letters)
    left = [next(letters) for _ in x.shape]
    right = [next(letters) for _ in y.shape]
    for dim, other in zip(places(x, dims), places(y, others), strict=True):
        right[other] = left[dim]
    summed = set(left) & set(right)
    result = [letter for letter in (*left, *right) if letter not in summed]
    axes: list[Axis] = einsum(couple, f"{''.join(left)},{''.join(right)}->{''.join(result)}", [x, y])
    return axes


@rule(aten.inner.default)
def inner(couple: Coupling, x: Value, y: Value) -> list[Axis]:
    """Summed over the last dimension of both; with a number, a product with it."""
    if not x.shape or not y.shape:
        return couple.broadcast(x, y)
    axes: list[Axis] = tensordot(couple, x, y, [-1], [-1])
    return axes


@rule(aten.kron.default)
def kronecker(couple: Coupling, x: Value, y: Value) -> list[Axis]:
    """All products of the elements of two tensors: in each dimension the second lies within each place of the first."""
    rank = max(len(x.shape), len(y.shape))
    both = zip(*([(Fixed(1),)] * (rank - len(v.shape)) + v.axes for v in (x, y)), strict=True)
    return [(*one, *other) for one, other in both]


@rule(aten.linalg_cross.default)
def cross(couple: Coupling, x: Value, y: Value, *, dim: int = -1) -> list[Axis]:
    """The vector that is orthogonal to two, of three components."""
    axes = couple.broadcast(x, y)
    couple.freeze(axes[dim], "the three components of a vector")
    return axes


@rule(
    aten.inverse.default, aten.linalg_inv.default, aten.pinverse.default, aten.linalg_pinv.atol_rtol_tensor,
    aten.linalg_matrix_exp.default, aten.matrix_exp.default,
    aten.linalg_cholesky.default, aten.linalg_householder_product.default,
    aten.linalg_det.default, aten.det.default, aten.logdet.default, aten.linalg_slogdet.default, aten.slogdet.default,
    aten.linalg_qr.default, aten.linalg_svd.default, aten.svd.default, aten.linalg_svdvals.default,
    aten.linalg_eigh.default, aten.linalg_eigvalsh.default,
    aten.linalg_solve.default, aten.linalg_solve_triangular.default,
)  # fmt: skip
def matrices(couple: Coupling, *args: Any, **kwargs: Any) -> list[list[Axis]]:
    """Decompositions, inverses and solutions of matrices: all rows and columns of each take part."""
    reason = "a matrix is inverted or decomposed, which takes all of its rows and columns"
    batches = []
    rank = len(couple.call.values[0].shape) - 2
    for value in couple.call.values:  # some are vectors beside the matrices
        for axis in value.axes[rank:]:
            couple.freeze(axis, reason)
        batches.append(value.axes[:rank])
    batch = couple.broadcast_axes(batches)
    return [
        [*batch, *((Fixed(n, f"{reason}: {couple.where}"),) for n in output.shape[len(batch) :])]
        for output in couple.call.outputs
    ]
