"""Scales of fresh weights that are worked out from data: the same edit, with a draw that is multiplied by numbers."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor

from netmorph.draws import scaled
from netmorph.edit.copies import graph_of
from netmorph.edit.entries import mark_new_channels
from netmorph.edit.replace import make
from netmorph.edit.width_edit import WidthEdit
from netmorph.errors import EditError
from netmorph.graph import Graph, trace
from netmorph.graph.running import no_fused_attention, untouched
from netmorph.observe.samples import Samples
from netmorph.widenings import ChannelMap

SILENT = 1e-3  # relative to the old channels' RMS: what is below was hardly active on the samples


def same_rms(edit: WidthEdit, samples: Samples, rounds: int = 3) -> WidthEdit:
    """The edit with fresh channels whose activations, where they are read, have the RMS of the old ones.

    Each fresh row and its bias are multiplied by `sqrt(mean over old channels of E[x_i^2] / E[x_fresh^2])`, in eval
    mode, with `E` over samples and positions: SPARKLING (arXiv 2602.02472) asks that the RMS of activations be kept;
    here it is measured. Copies have that RMS already. Between row and reader, activations may bend, so it is done some
    times over. A fresh channel that is hardly active on the samples stays as drawn.

    Args:
        samples: batches for the graph that the edit was made for.
        rounds: how often to measure and multiply.

    Raises:
        EditError: the edit gives the rows itself, no weight reads the channels directly, or there are no batches.
    """
    if edit.fresh:
        raise EditError(f"{edit.method} gives the weights of its new channels, so there is no scale to choose")
    factors = {name: torch.ones(channels.classes, dtype=torch.float64) for name, channels in edit.changes.items()}
    for _ in range(rounds):
        grown = _grown(samples.graph, replace(edit, draw=scaled(edit.draw, factors)))
        seen = Samples(grown, samples.batches, samples.loss, samples.seed).seen
        for name, channels in edit.changes.items():
            group = grown.group(name).name
            squares = [found.second_moments.diagonal() for (read, _, _), found in seen.items() if read == group]
            if not squares:
                raise EditError(f"no weight reads the channels of {name!r} directly, so how large they are is not seen")
            factors[name] = factors[name] * _corrections(channels, torch.stack(squares).mean(0))
    return replace(edit, draw=scaled(edit.draw, factors))


def _corrections(channels: ChannelMap, squares: Tensor) -> Tensor:
    """float64 `[classes]`. Args: squares: float64 `[m]`: the mean square of each channel."""
    result = torch.ones(channels.classes, dtype=torch.float64)
    wanted = squares[~channels.is_new].mean()
    for place in channels.is_fresh.nonzero().flatten().tolist():
        if squares[place] > SILENT**2 * wanted:
            result[channels.twin[place]] = (wanted / squares[place]).sqrt()
    return result


def keep_gradients(edit: WidthEdit, samples: Samples, change: float = 0.1) -> WidthEdit:
    """An inexact edit whose readers' fresh weights are so small that the old weights' gradients stay as they were.

    With these weights `Z` times `r`, the gradient `g` of all old weights is `g(0) + r D + O(r^2)`, where `D` is the
    mixed second derivative of the loss along `Z` and the old weights, computed exactly by differentiating twice. So
    `r = change * |g(0)| / |D|` changes it by the share `change`, to first order; `r` is 1 at most. In eval mode, over
    all batches. `netmorph.draws.quiet` estimates the same from variances, without data.

    Where an edit is exact there is nothing to choose: what the new channels give cancels, or is read with zeros, at any
    scale. (`net2net` shares the gradients of the rows that it copies out among the copies.)

    Args:
        samples: batches with a loss, for the graph that the edit was made for.
        change: the norm of the change relative to that of the gradient.

    Raises:
        EditError: the edit is exact, the readers' weights are not drawn, there is no loss or no batch, or the old
            weights have no gradient on the samples.
    """
    if not 0 < change < math.inf:
        raise EditError(f"keep_gradients takes the relative change that is allowed, a number above 0, got {change!r}")
    if samples.loss is None:
        raise EditError("gradients need a loss: Samples(graph, batches, loss=lambda model, batch: ...)")
    plan = edit.plan(samples.graph)
    if plan.exact:
        raise EditError(
            f"{edit.method} is exact here: the scale of what reads new channels does nothing to the gradients of old "
            "weights. keep_gradients is for random_pad and its like"
        )
    grown = _grown(samples.graph, replace(edit, draw=scaled(edit.draw, columns=0.0)))
    weights = {name: p.requires_grad_() for name, p in grown.model.named_parameters() if p.is_floating_point()}
    drawn = {name: plan.tensors[name] - p.detach() for name, p in weights.items() if name in plan.tensors}
    drawn = {name: direction for name, direction in drawn.items() if bool(direction.any())}
    if not drawn:
        raise EditError("the edit gives the weights of what reads its channels, so there is no scale to choose")
    new = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in weights.items()}
    mark_new_channels(grown, {name: channels.is_new for name, channels in edit.changes.items()}, new)
    before, slope = _derivatives(grown, weights, drawn, samples)
    size, changes = (
        math.sqrt(sum(float(total[name][~new[name]].square().sum()) for name in weights)) for total in (before, slope)
    )
    if not size:
        raise EditError("the old weights have no gradient on these samples, so there is nothing to keep")
    return replace(edit, draw=scaled(edit.draw, columns=min(1.0, change * size / changes) if changes else 1.0))


def _derivatives(
    graph: Graph, weights: dict[str, Tensor], along: dict[str, Tensor], samples: Samples
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """By weight, float64: the gradient of the loss summed over batches, and its derivative along a direction."""
    model, loss = graph.model, samples.loss
    totals = [{name: torch.zeros_like(p, dtype=torch.float64) for name, p in weights.items()} for _ in range(2)]
    several = list(weights.values())
    empty = True
    with untouched(model), no_fused_attention(), torch.inference_mode(False), torch.enable_grad():
        model.eval()
        for batch in samples.batches:
            empty = False
            assert loss is not None
            value = loss(model, batch)
            first = torch.autograd.grad(value, several, create_graph=True, materialize_grads=True)
            gradients = dict(zip(weights, first, strict=True))
            step = torch.stack([(gradients[name] * towards).sum() for name, towards in along.items()]).sum()
            second = torch.autograd.grad(step, several, materialize_grads=True)
            for total, found in zip(totals, (first, second), strict=True):
                for name, gradient in zip(weights, found, strict=True):
                    total[name] += gradient.detach()
    if empty:
        raise EditError("there are no batches to compute gradients on; pass a list or a DataLoader")
    return totals[0], totals[1]


def _grown(graph: Graph, edit: WidthEdit) -> Graph:
    """The graph of a copy of the network after an edit."""
    model = copy.deepcopy(graph.model)
    with torch.inference_mode(False), torch.no_grad():
        make(model, edit.plan(graph_of(graph, model)), [])
        return trace(model, graph.inputs, auxiliary=graph.auxiliary)
