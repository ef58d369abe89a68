"""Narrow well: what is dropped is rebuilt, for each reader, from what is kept.

A reader of a narrowed group sees its kept channels only. Least squares on what it saw before tells how the dropped
ones follow from them; its weight takes that in (`W @ consume`), its bias the constant part, or else the running mean
of the batch norm behind it. So a dropped channel that is constant, or a linear combination of kept ones, costs nothing
(up to a convolution's zero padding).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from netmorph.edit.width_edit import Reading, WidthEdit
from netmorph.errors import EditError
from netmorph.graph import Graph, Role
from netmorph.graph.recording import Call
from netmorph.graph.running import no_fused_attention, untouched
from netmorph.graph.value import Value
from netmorph.observe.samples import BatchLoss, Samples, Seen, run_batch
from netmorph.widenings import ChannelMap

aten = torch.ops.aten

# What is added to the variances, relative to their mean: a kept channel that hardly varies on the samples must not be
# blown up, and channels that follow from one another leave the equations without a single solution. The one that serves
# best on samples that were held out is taken: with few positions for many channels, the smallest fits to noise.
RIDGES = (1e-10, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# Pivots below this, relative to the largest variance, are rounding.
ROUNDING = 1e-14


def reconstruct(edit: WidthEdit, samples: Samples) -> WidthEdit:
    """The same narrowing, with readers that make up for the dropped channels.

    Args:
        edit: an edit that only keeps channels, from `narrow`, `narrow_all` or `narrow_to`.
        samples: of the graph that the edit was made for. Several times as many positions (samples, times height and
            width) as channels are needed.

    Returns:
        An edit for `apply`. Readers that `samples` could not observe only drop what they lose.

    Raises:
        EditError: the edit adds channels, or there are no batches.
    """
    if any(bool(channels.is_fresh.any()) or channels.m > channels.n for channels in edit.changes.values()):
        raise EditError("only a narrowing can be reconstructed: this edit adds channels. Apply that one by itself")
    groups = {name: samples.graph.group(name) for name in edit.changes}
    if any(group.size != edit.changes[name].n for name, group in groups.items()):
        raise EditError("the samples are of another graph than the edit: a group has another width; make both again")
    names = {group.name: name for name, group in groups.items()}
    means = running_means(samples.graph)
    # A weight that writes the channels as well (tied to its own transpose) cannot take in what only a reader needs.
    readers = {
        (group.name, site.tensor, site.dim)
        for group in groups.values()
        for site in group.sites
        if all(use.role is Role.READ for use in site.uses)
    }
    readings = {
        (names[group], tensor, dim): _reading(seen, edit.changes[names[group]], means.get(tensor, set()))
        for (group, tensor, dim), seen in samples.seen.items()
        if (group, tensor, dim) in readers
    }
    return replace(edit, readings=readings)


def _reading(seen: Seen, channels: ChannelMap, running_means: set[str]) -> Reading:
    if not bool(seen.products.isfinite().all()):
        raise EditError("activations on the samples are NaN or infinite; nothing can be fitted to them")
    # A batch norm subtracts its running mean.
    offsets = dict.fromkeys(running_means, -1.0) if None in seen.biases else {name: 1.0 for name in seen.biases if name}
    if not offsets:  # without a place for a constant, the best fit is another one, through the origin
        return Reading(least_squares(seen.second_moments, channels.source), torch.zeros_like(seen.mean))
    consume = least_squares(seen.covariance, channels.source, _best_ridge(seen, channels.source, True))
    return Reading(consume, seen.mean - consume @ seen.mean[channels.source], offsets)


def _best_ridge(seen: Seen, kept: Tensor, constant: bool) -> float:
    """The ridge with which channels are met best on the positions that were held out, fitted on the others.

    Args:
        constant: whether there is a place for a constant.
    """
    held = seen.held
    if held is None or not 0 < held.count < seen.count:
        return RIDGES[0]
    rest = seen.without(held)
    gram, judged = (rest.covariance, held.covariance) if constant else (rest.second_moments, held.second_moments)
    if constant:
        judged = judged + (held.mean - rest.mean).outer(held.mean - rest.mean)
    missed = []
    for ridge in RIDGES:
        off = -least_squares(gram, kept, ridge)
        # (1 - consume) judged (1 - consume)^T, of which the diagonal
        found = judged.diagonal() + 2 * (off * judged[:, kept]).sum(1) + ((off @ judged[kept][:, kept]) * off).sum(1)
        missed.append(float(found.sum()))
    return RIDGES[missed.index(min(missed))]


def takers_of(graph: Graph) -> dict[Value, list[Call | None]]:
    """The calls that take a tensor, as often as they do; None stands for who takes the network's outputs."""
    takers: dict[Value, list[Call | None]] = {value: [None] for value in graph.recording.outputs}
    for call in graph.recording.calls:
        for leaf in tree_leaves((call.args, call.kwargs)):
            if isinstance(leaf, Value):
                takers.setdefault(leaf, []).append(call)
    return takers


def running_means(graph: Graph) -> dict[str, set[str]]:
    """By weight: the running means of the batch norms that take all it computes, and take nothing else."""
    makers = {value: call for call in graph.recording.calls for value in call.outputs}
    takers = takers_of(graph)
    norms_of: dict[str, set[str | None]] = {}
    weights_of: dict[str, set[str | None]] = {}
    for call in graph.recording.calls:
        if call.op is aten.batch_norm.default and call.args[3] is not None:
            weights_of.setdefault(call.args[3].name, set()).add(_weight(makers.get(call.args[0])))
    for call in graph.recording.calls:
        if (weight := _weight(call)) is not None:
            norms = [_running_mean(taker, call) for taker in takers.get(call.outputs[0], ())]
            norms_of.setdefault(weight, set()).update(norms or [None])
    return {
        weight: {mean for mean in means if mean}
        for weight, means in norms_of.items()
        if None not in means and all(mean and weights_of[mean] == {weight} for mean in means)
    }


def _weight(call: Call | None) -> str | None:
    """The weight of a layer's call."""
    layer = None if call is None else call.layer
    return None if layer is None else layer.weight.name


def _running_mean(taker: Call | None, call: Call) -> str | None:
    """That of a batch norm over the channels that a layer writes: behind a linear one, that takes two dimensions."""
    layer, rank = call.layer, len(call.outputs[0].shape)
    if taker is None or taker.op is not aten.batch_norm.default or taker.args[3] is None:
        return None
    name: str | None = taker.args[3].name
    return name if layer is not None and layer.write[0][1] % rank == 1 else None


def least_squares(gram: Tensor, kept: Tensor, ridge: float = RIDGES[0]) -> Tensor:
    """The best linear estimate of all channels from the kept ones.

    Args:
        gram: float64 `[n, n]`: second moments of the channels, about zero or about their means.
        kept: LongTensor `[m]`.
        ridge: what is added to the variances, relative to their mean.

    Returns:
        float64 `[n, m]`: rows of kept channels pick these. Where kept channels vary by rounding alone (moments about
        means may then come out below zero), they explain nothing, and the other rows are zero.
    """
    n, m = len(gram), len(kept)
    consume = torch.zeros(n, m, dtype=gram.dtype)
    consume[kept, torch.arange(m)] = 1
    dropped = torch.ones(n, dtype=torch.bool)
    dropped[kept] = False
    inner = gram[kept][:, kept]
    added = (ridge * inner.diagonal().mean()).clamp_min(torch.finfo(gram.dtype).tiny)
    factor, failed = torch.linalg.cholesky_ex(inner + added * torch.eye(m, dtype=gram.dtype))
    if not failed:
        consume[dropped] = torch.cholesky_solve(gram[kept][:, dropped], factor).T
    return consume


def pivots(gram: Tensor) -> tuple[list[int], list[float]]:
    """Channels in the order in which each adds most to what those before it explain: QR with column pivoting.

    Computed on second moments (a Cholesky decomposition with pivoting); the first `m` channels are those that an
    interpolative decomposition of rank `m` keeps (Chee et al., arXiv 2110.15984).

    Args:
        gram: float64 `[n, n]`.

    Returns:
        The order, and for each the square of the part of it that those before it do not explain.
    """
    n = len(gram)
    left = gram.diagonal().clone()  # what is not explained yet; -1 for channels that have been taken
    rows = torch.zeros_like(gram)  # of the Cholesky factor's transpose
    order: list[int] = []
    gains: list[float] = []
    smallest = ROUNDING * float(left.max())
    while len(order) < n:
        pivot = int(left.argmax())
        gain = float(left[pivot])
        if gain <= smallest:
            break
        done = len(order)
        row = (gram[pivot] - rows[:done, pivot] @ rows[:done]) / gain**0.5
        rows[done] = row
        left -= row.square()
        left[[*order, pivot]] = -1
        order.append(pivot)
        gains.append(gain)
    explained = sorted(set(range(n)) - set(order))
    return order + explained, gains + [0.0] * len(explained)


def recalibrate(model: nn.Module, batches: Iterable[Any], loss: BatchLoss | None = None) -> None:
    """Compute the running statistics of all batch norms anew, as the mean over the batches, in place.

    After an inexact edit they describe the network before. All else runs in eval mode and is left as it was.

    Args:
        batches: as for `Samples`; each of more than one value per channel.

    Raises:
        EditError: there are no batches. The statistics stay as they are on any error.
    """
    norms = [
        module
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
    ]
    statistics = [buffer for norm in norms for buffer in norm.buffers(recurse=False)]
    with untouched(model), no_fused_attention(), torch.no_grad():
        model.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
            norm.train()
        empty = True
        for batch in batches:
            run_batch(model, batch, loss)
            empty = False
        if empty:
            raise EditError("there are no batches to compute batch-norm statistics on; pass some")
        computed = [buffer.clone() for buffer in statistics]
    with torch.no_grad():
        for buffer, value in zip(statistics, computed, strict=True):
            buffer.copy_(value)
