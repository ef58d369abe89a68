"""How operators that look at channels together leave some of them out: the table behind the masked original.

Each entry does what its operator does in a network that lacks the channels that are not kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
# Gets what is kept of the first argument (a BoolTensor of its shape), then the operator's own arguments.
Operator = Callable[..., Any]
OVER_KEPT: dict[torch._ops.OpOverload, Operator] = {}


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


def _spread_of_all(spread: Operator) -> Operator:
    return lambda kept, x, unbiased=True: spread(kept, x, None, unbiased)


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


@over_kept(aten.nanmean.default)
def _nanmean(kept: Tensor, x: Tensor, dims: Any = None, keepdim: bool = False, **_: Any) -> Any:
    return aten.nanmean.default(torch.where(kept, x, math.nan), dims, keepdim)


@over_kept(aten.aminmax.default)
def _aminmax(kept: Tensor, x: Tensor, *, dim: int | None = None, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    dims = [] if dim is None else [dim]
    least: Tensor = aten.amin.default(torch.where(kept, x, math.inf), dims, keepdim)
    largest: Tensor = aten.amax.default(torch.where(kept, x, -math.inf), dims, keepdim)
    return least, largest


for _name in ("var", "std", "var_mean", "std_mean"):
    OVER_KEPT[getattr(aten, _name).default] = _spread_of_all(OVER_KEPT[getattr(aten, _name).dim])
for _op in (aten.median.default, aten.nanmedian.default):
    OVER_KEPT[_op] = _filled(aten.nanmedian.default, math.nan)
for _op in (aten.median.dim, aten.nanmedian.dim):
    OVER_KEPT[_op] = _filled(aten.nanmedian.dim, math.nan)


@over_kept(aten.pairwise_distance.default)
def _distance(kept: Tensor, x: Tensor, y: Tensor, order: float = 2, eps: float = 1e-6, *rest: Any) -> Any:
    """What is left out differs by nothing, also where a small number is added to each difference."""
    return aten.pairwise_distance.default(torch.where(kept, x, y - eps), y, order, eps, *rest)


@over_kept(aten.masked_scatter.default, aten.masked_scatter_.default)
def _masked_scatter(kept: Tensor, x: Tensor, mask: Tensor, source: Tensor) -> Any:
    """The mask holds whole channels; where some are left out, it takes as much of the source as before."""
    mask = mask.expand(x.shape)
    for dim in range(x.dim()):
        if bool((kept != kept.narrow(dim, 0, 1)).any()):
            mask = mask.any(dim, keepdim=True).expand(x.shape)
    return aten.masked_scatter.default(x, mask, source)


def _loss(op: torch._ops.OpOverload) -> Operator:
    """A loss of each entry, averaged or summed up over what is kept."""
    places = {argument.name: place for place, argument in enumerate(op._schema.arguments)}
    none, mean = 0, 1

    def operator(kept: Tensor, *args: Any, **kwargs: Any) -> Any:
        place = places["reduction"]
        how = kwargs.get("reduction", args[place] if place < len(args) else mean)
        plain = (*args[:place], none, *args[place + 1 :]) if place < len(args) else args
        each = op(*plain, **(kwargs if place < len(args) else kwargs | {"reduction": none}))
        if how == none:
            return each
        total = torch.where(kept, each, 0).sum()
        return total / kept.sum() if how == mean else total

    return operator


for _op in (
    aten.mse_loss.default, aten.l1_loss.default, aten.smooth_l1_loss.default, aten.huber_loss.default,
    aten.binary_cross_entropy_with_logits.default, aten.binary_cross_entropy.default, aten.kl_div.default,
):  # fmt: skip
    OVER_KEPT[_op] = _loss(_op)


def _regular(op: torch._ops.OpOverload) -> Operator:
    """An operator on matrices that fails where one is singular: what is left out is the identity."""

    def operator(kept: Tensor, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        return op(torch.where(kept, x, torch.eye(x.shape[-1]).to(x)), *args, **kwargs)

    return operator


for _op in (
    aten.inverse.default, aten.linalg_inv.default, aten.linalg_cholesky.default,
    aten.linalg_solve.default, aten.linalg_solve_triangular.default,
):  # fmt: skip
    OVER_KEPT[_op] = _regular(_op)


def attention_scaled_by_kept(kept: Tensor, query: Tensor, *args: Any, scale: float | None = None, **kwargs: Any) -> Any:
    """Fused attention as it is in a narrowed network: where no scale is given, it follows from the width kept.

    Not in the table, because it is no masking: the products of queries and keys come out larger than the original's.
    """
    width = int(kept.flatten(0, -2).any(0).sum())
    scale = width**-0.5 if scale is None else scale
    return aten.scaled_dot_product_attention.default(query, *args, scale=scale, **kwargs)
