"""Cases of operators that pick, write and order places: along space, and along the channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from rule_models import Function, assigned
from torch import Tensor, nn

aten = torch.ops.aten
Case = Function | nn.Module | tuple[Function, dict[str, Tensor]]


def at() -> Tensor:
    """Made in the forward: a tensor that is kept elsewhere would be looked for at each trace."""
    return torch.tensor([2, 0])


def spots(x: Tensor, y: Tensor) -> Tensor:
    """Places along a dimension of 4, other ones in each channel."""
    return (y > 0.5).long() + (x > 0.5).long()


def scattering(call: str, *options: Any, dim: int = 3, source: bool = True) -> Function:
    def function(x: Tensor, y: Tensor) -> Tensor:
        given = y if source else 0.5
        places = spots(x, y) if "add" in call or "reduce" in call or not source else torch.arange(4).expand_as(x)
        return getattr(x.clone(), call)(dim, places, given, *options)

    return function


def reduced_scattering(call: str, given: Callable[[Tensor], Any]) -> Function:
    return lambda x, y: getattr(x.clone(), call)(3, spots(x, y), given(y), reduce="multiply")


INDICES: dict[str, Case] = {
    "index": lambda x, y: x[:, :, at()],
    "index channels": lambda x, y: x[:, at()],
    "index by a mask": lambda x, y: x[:, :, torch.eye(4) > 0],
    "index by a byte mask": lambda x, y: x[:, :, torch.tensor([True, False, True, True])],
    "index apart": lambda x, y: x.movedim(1, 2)[:, torch.tensor([0, 1]), :, torch.tensor([2, 3])].transpose(0, 1),
    "index by channels": lambda x, y: torch.arange(6.0)[(x > 0.5).long() + 2] + y,
    "index_select": lambda x, y: x.index_select(2, at()),
    "index_select of channels": lambda x, y: x.index_select(1, at()),
    "gather": lambda x, y: x.gather(3, (y > 0.5).long()),
    "gather of channels": lambda x, y: x.gather(1, (y > 0.5).long()),
    "gather of the first": lambda x, y: x.gather(2, (y[..., :2] > 0.5).long()),
    "gather of the first channels": lambda x, y: x.gather(2, torch.ones(2, 3, 4, 4, dtype=torch.long)),
    "take_along_dim": lambda x, y: torch.take_along_dim(x, (y > 0.5).long(), 3),
    "take_along_dim for all": lambda x, y: torch.take_along_dim(x, at().view(1, 1, 2, 1), 2),
    "take_along_dim flat": lambda x, y: y.mean(1) + torch.take_along_dim(x, torch.tensor([3]), None),
    "scatter": scattering("scatter", source=False),
    "scatter_": scattering("scatter_", source=False),
    "scatter.src": scattering("scatter"),
    "scatter_.src": scattering("scatter_"),
    "scatter.value_reduce": reduced_scattering("scatter", lambda y: 0.5),
    "scatter_.value_reduce": reduced_scattering("scatter_", lambda y: 0.5),
    "scatter.reduce": reduced_scattering("scatter", lambda y: y),
    "scatter_.reduce": reduced_scattering("scatter_", lambda y: y),
    "scatter_add": scattering("scatter_add"),
    "scatter_add_": scattering("scatter_add_"),
    "scatter_reduce": scattering("scatter_reduce", "amax"),
    "scatter_reduce_": scattering("scatter_reduce_", "mean"),
    "scatter_add of channels": scattering("scatter_add", dim=1),
    "scatter_add of the first": lambda x, y: x.scatter_add(3, spots(x, y)[:, :, :2], y),
    "index_copy": lambda x, y: x.index_copy(2, at(), y[:, :, :2]),
    "index_copy_": lambda x, y: x.clone().index_copy_(2, at(), y[:, :, :2]),
    "index_add_": lambda x, y: x.clone().index_add_(2, at(), y[:, :, :2]),
    "index_add along channels": lambda x, y: x.index_add(1, at(), y[:, :2]),
    "index_add": lambda x, y: x.index_add(-2, at(), y[:, :, :2]),
    "index_reduce": lambda x, y: x.index_reduce(2, at(), y[:, :, :2], "amax"),
    "index_reduce_": lambda x, y: x.clone().index_reduce_(2, at(), y[:, :, :2], "amin"),
    "index_fill": lambda x, y: x.index_fill(3, at(), 0.5),
    "index_fill with a tensor": lambda x, y: x.index_fill(3, at(), torch.tensor(0.5).to(x)),
    "index_fill_": lambda x, y: x.clone().index_fill_(3, at(), 0.5),
    "index_fill_ with a tensor": lambda x, y: x.clone().index_fill_(3, at(), torch.tensor(0.5).to(x)),
    "index_fill of channels": lambda x, y: x.index_fill(1, at(), 0.5),
    "index_put": lambda x, y: x.movedim(1, 3).index_put((torch.tensor([1, 0]), at()), y.movedim(1, 3)[:, 0]),
    "index_put of samples": lambda x, y: x.index_put((torch.tensor([1, 0]), at()), torch.zeros(1).to(x)),
    "index_put_": lambda x, y: assigned(x, (slice(None), at()), y[:, :2]),
    "index_put_ in space": lambda x, y: assigned(x, (slice(None), slice(None), at()), y[:, :, :2]),
    "index_put_ by a mask": lambda x, y: assigned(x, (slice(None), slice(None), torch.eye(4) > 0), y[..., 0]),
    "index_put_ a number by a mask": lambda x, y: assigned(x, (slice(None), slice(None), torch.eye(4) > 0), 0.5),
    "write into a slice": lambda x, y: assigned(x, (slice(None), slice(None), slice(0, 2)), y[:, :, :2]),
    "masked_scatter": lambda x, y: x.movedim(1, 3).masked_scatter(torch.eye(4)[..., None] > 0, y.movedim(1, 3)),
    "masked_scatter_": lambda x, y: x.movedim(1, 3).clone().masked_scatter_(
        (torch.eye(4) > 0)[..., None].expand(2, 4, 4, x.shape[1]), y.movedim(1, 3)
    ),
    "masked_scatter over channels": lambda x, y: x.masked_scatter(torch.eye(4) > 0, y),
    "masked_select": lambda x, y: x.masked_select(x > -1).view(2, -1),
    "nonzero": lambda x, y: (x > -1).nonzero().reshape(x.size(0), -1),
    "where alone": lambda x, y: torch.where(x > -1)[1].reshape(x.size(0), -1),
    "argwhere": lambda x, y: torch.argwhere(x > -1).reshape(x.size(0), -1),
    "take": lambda x, y: torch.take(x, torch.tensor([[1], [0]])) + y.mean((2, 3)),
    "one_hot": lambda x, y: F.one_hot((x > 0.5).long(), 2),
    "bincount": lambda x, y: x + torch.bincount((y > 0.5).long().flatten(), minlength=2)[1],
    "unique": lambda x, y: y + torch.unique((x > -1).long())[0],
    "unique_consecutive": lambda x, y: y + aten.unique_consecutive.default((x > -1).long())[0],
    "searchsorted": lambda x, y: torch.searchsorted(torch.tensor([0.2, 0.6, 1.0]).to(x), y),
    "searchsorted of rows": lambda x, y: torch.searchsorted(x.cumsum(3), y),
    "bucketize": lambda x, y: torch.bucketize(x, torch.tensor([0.2, 0.6, 1.0]).to(x)),
    "repeat_interleave by a tensor": lambda x, y: x.repeat_interleave(torch.tensor([1, 2, 0, 1]), 2),
    "repeat_interleave flat by a tensor": lambda x, y: x.repeat_interleave(
        torch.ones(x.numel(), dtype=torch.long)
    ).view(2, -1),
    "segment_reduce": lambda x, y: torch.segment_reduce(
        x.movedim(2, 0).contiguous(), "sum", lengths=torch.tensor([1, 3]), axis=0
    ).movedim(1, 0),
}  # fmt: skip
ORDERED: dict[str, Case] = {
    f"{call}{where}": function
    for call, run in {
        "sort": lambda x, dim: x.sort(dim).values,
        "sort places": lambda x, dim: x.sort(dim).indices,
        "sort.stable": lambda x, dim: x.sort(dim=dim, stable=True).values,
        "topk": lambda x, dim: x.topk(2, dim).values,
        "topk places": lambda x, dim: x.topk(2, dim).indices,
        "kthvalue": lambda x, dim: x.kthvalue(2, dim).values,
        "mode": lambda x, dim: x.round().mode(dim, keepdim=True).values,
        "median": lambda x, dim: x.median(dim).values,
        "nanmedian": lambda x, dim: x.nanmedian(dim, keepdim=True).values,
        "median places": lambda x, dim: x.median(dim).indices,
        "argsort": lambda x, dim: x.argsort(dim),
        "argsort.stable": lambda x, dim: x.argsort(dim=dim, stable=True),
        "argmax": lambda x, dim: x.argmax(dim),
        "argmin": lambda x, dim: x.argmin(dim, keepdim=True),
        "quantile": lambda x, dim: torch.quantile(x, 0.3, dim),
        "nanquantile": lambda x, dim: torch.nanquantile(x, 0.3, dim, keepdim=True),
        "cumsum": lambda x, dim: x.cumsum(dim),
        "cumsum_": lambda x, dim: x.clone().cumsum_(dim),
        "cumprod": lambda x, dim: x.cumprod(dim),
        "cumprod_": lambda x, dim: x.clone().cumprod_(dim),
        "logcumsumexp": lambda x, dim: x.logcumsumexp(dim),
        "cummax": lambda x, dim: x.cummax(dim).values,
        "cummin": lambda x, dim: x.cummin(dim).values,
        "diff": lambda x, dim: x.diff(dim=dim),
        "trapezoid": lambda x, dim: torch.trapezoid(x, dim=dim),
        "trapz": lambda x, dim: torch.trapz(x, dim=dim),
        "cumulative_trapezoid": lambda x, dim: torch.cumulative_trapezoid(x, dim=dim),
        "flip": lambda x, dim: x.flip(dim),
        "roll": lambda x, dim: x.roll((1,), (dim,)),
        "rot90": lambda x, dim: x.rot90(1, (2, dim)),
    }.items()
    for where, dim in {"": 3, " of channels": 1}.items()
    for function in [lambda x, y, run=run, dim=dim: run(x, dim)]
}  # fmt: skip
ORDERED |= {
    "msort": lambda x, y: x.movedim(3, 0).msort().movedim(0, 3),
    "median of all": lambda x, y: x + y.median(),
    "nanmedian of all": lambda x, y: x + y.nanmedian(),
    "argmax of all": lambda x, y: x + y.argmax(),
    "quantile of several shares": lambda x, y: torch.quantile(x, torch.tensor([0.2, 0.7]).to(x), 3).movedim(0, 3),
    "nanquantile of several shares": lambda x, y: torch.nanquantile(x, torch.tensor([0.2, 0.7]).to(x), 2).movedim(0, 3),
    "diff with ends": lambda x, y: x.diff(dim=3, prepend=y[..., :1], append=y),
    "roll of all": lambda x, y: x.roll(1),
    "fliplr": lambda x, y: x.movedim(3, 1).fliplr().movedim(1, 3),
    "flipud": lambda x, y: x.movedim(3, 0).flipud().movedim(0, 3),
    "tril": lambda x, y: x.tril(),
    "triu": lambda x, y: x.triu(),
    "tril_": lambda x, y: x.clone().tril_(),
    "triu_": lambda x, y: x.clone().triu_(),
    "diagonal": lambda x, y: x.diagonal(0, 2, 3),
    "diagonal of channels": lambda x, y: x.movedim(0, -1).diagonal().permute(1, 0, 2),
    "diag_embed": lambda x, y: torch.diag_embed(x),
    "diag_embed of channels": lambda x, y: torch.diag_embed(x.mean((2, 3))),
}
