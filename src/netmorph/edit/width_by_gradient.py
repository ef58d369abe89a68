"""Widen with the channels that the loss asks for most (GradMax: Evci et al., arXiv 2201.05125)."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.edit.blocks import Layer
from netmorph.edit.copies import graph_of
from netmorph.edit.layers import groups_of, layer_at
from netmorph.edit.replace import make
from netmorph.edit.width import widen
from netmorph.edit.width_edit import WidthEdit
from netmorph.errors import EditError
from netmorph.graph import Graph, Group, Role
from netmorph.graph.axis import resolve
from netmorph.graph.running import no_fused_attention, untouched
from netmorph.observe.samples import BatchLoss
from netmorph.widenings import zero


def gradmax(graph: Graph, group: str, to: int, data: Iterable[Any], loss: BatchLoss) -> WidthEdit:
    """An exact edit that widens a group by the channels whose gradients are largest.

    The paper starts one side of each new channel at zero and takes the other from the singular vectors of the gradient
    of the loss with respect to the map that the channel would add, from the producer's inputs to the consumers' sums.
    Here the consumers start at zero: `relu'(0) = 0` in PyTorch, so behind a producer of zeros nothing would train. The
    singular vectors take what stands between for linear; of each vector and its opposite, those are taken that get
    the largest gradients through it. The new rows are as long as the old ones are on average.

    Args:
        group: written by one linear or convolution layer and read by such layers, without groups.
        data: batches, gone through twice (a list, a `DataLoader`).
        loss: `(model, batch) -> scalar`; the model is in eval mode.

    Raises:
        EditError: the group has other producers or consumers, its features change size on the way, there are no
            batches, or the gradient has not the rank for so many channels.
        UnknownGroup, WidthError: as for `widen`.
    """
    edit = widen(graph, group, to, zero)
    found = graph.group(group)
    producer, consumers = _layers(graph, found)
    count = to - found.size
    rows = _directions(graph, producer, consumers, data, loss)
    if count > 2 * len(rows):
        raise EditError(
            f"the gradient has rank {len(rows)}, which gives at most {2 * len(rows)} new channels for {group!r}, "
            f"not {count}; widen by fewer, and again after some training"
        )
    rows = rows[:count] * _length(graph, producer)
    candidates = torch.cat([rows, -rows])
    gains = _gains(graph, _edit(graph, group, producer, candidates), consumers, found.size, data, loss)
    best = gains.argsort(descending=True, stable=True)[:count]
    chosen = _edit(graph, group, producer, candidates[best])
    return WidthEdit(edit.changes, "gradmax", 0, chosen.fresh)


def _edit(graph: Graph, group: str, producer: str, rows: Tensor) -> WidthEdit:
    """The group widened by unread channels with these rows `[count, in * kernel]` and no bias."""
    size = graph.group(group).size
    layer = layer_at(graph, producer)
    fresh = {(f"{producer}.weight", 0): rows.reshape(-1, *layer.weight.shape[1:])}
    if layer.bias is not None:
        fresh[f"{producer}.bias", 0] = rows.new_zeros(len(rows))
    return WidthEdit({group: zero(size, size + len(rows), torch.Generator())}, "gradmax", 0, fresh)


def _layers(graph: Graph, group: Group) -> tuple[str, list[str]]:
    """The modules that write and read a group."""

    def modules(role: Role) -> list[str]:
        sites = [site for site in group.where(role) if graph.shapes[site.tensor][1:]]  # biases have one dimension
        plain = all(resolve(site.axis) == (group.atom,) and site.tensor.endswith(".weight") for site in sites)
        paths = [site.tensor.rpartition(".")[0] for site in sites]
        if not plain or not paths or any(groups_of(layer_at(graph, path)) > 1 for path in paths):
            raise EditError(
                "gradmax needs a group that linear or convolution layers without groups write and read; "
                f"{group.name!r} has {', '.join(site.tensor for site in sites) or 'none'} as its {role.value}s"
            )
        return paths

    producers = modules(Role.WRITE)
    if len(producers) > 1:
        raise EditError(
            f"gradmax needs a group with one producer; {group.name!r} has {', '.join(producers)} (a residual stream, "
            "or a concatenation)"
        )
    return producers[0], modules(Role.READ)


def _directions(graph: Graph, producer: str, consumers: list[str], data: Iterable[Any], loss: BatchLoss) -> Tensor:
    """The right singular vectors `[rank, in * kernel]`, the largest first, of the gradient of the composite map."""
    layer, readers = layer_at(graph, producer), [layer_at(graph, path) for path in consumers]
    # Every weight of the producer's rows as a channel of its own, and what the consumers would learn about it.
    count = layer.weight[0].numel()
    single = torch.eye(count).to(layer.weight).reshape(count, *layer.weight.shape[1:])
    gradient: Tensor | None = None
    for batch in data:
        (given, _), *sums = _seen(graph.model, [layer, *readers], batch, loss)
        features = _applied(layer, given, single)
        for path, (seen, _) in zip(consumers, sums, strict=True):
            if _positions(layer, features) != _positions(layer, seen):
                raise EditError(
                    f"gradmax needs features that keep their size from {producer!r} to {path!r}; they go from "
                    f"{tuple(features.shape)} (before choosing channels) to {tuple(seen.shape)}"
                )
        parts = [_weight_gradient(reader, features, out) for reader, (_, out) in zip(readers, sums, strict=True)]
        step = torch.cat([part.movedim(1, -1).flatten(0, -2) for part in parts]).double().cpu()
        gradient = step if gradient is None else gradient + step
    if gradient is None:
        raise EditError("there are no batches to compute a gradient on; pass a list or a DataLoader")
    _, values, rows = torch.linalg.svd(gradient, full_matrices=False)
    directions: Tensor = rows[values > values[0] * torch.finfo(torch.float32).eps]
    return directions


def _gains(
    graph: Graph, edit: WidthEdit, consumers: list[str], size: int, data: Iterable[Any], loss: BatchLoss
) -> Tensor:
    """For each new channel of an edit, the norm of the gradient of what reads it."""
    model = copy.deepcopy(graph.model)
    plan = edit.plan(graph_of(graph, model))
    make(model, plan, [])
    weights = [model.get_parameter(f"{path}.weight").requires_grad_() for path in consumers]
    totals = [torch.zeros_like(weight) for weight in weights]
    with untouched(model), no_fused_attention(), torch.inference_mode(False), torch.enable_grad():
        model.eval()
        for batch in data:
            for total, gradient in zip(totals, torch.autograd.grad(loss(model, batch), weights), strict=True):
                total += gradient
    return torch.stack([total[:, size:].movedim(1, 0).flatten(1).square().sum(1) for total in totals]).sum(0).cpu()


def _seen(model: nn.Module, layers: list[Layer], batch: Any, loss: BatchLoss) -> list[tuple[Tensor, Tensor]]:
    """What some layers take on a batch, and the gradient of the loss with respect to what each returns."""
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def keep(layer: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
        if layer in seen:
            raise EditError(f"gradmax needs layers that are called once; {layer} is called several times")
        seen[layer] = args[0].detach().clone(), output if output.requires_grad else output.requires_grad_()
        return output.clone()  # a later layer may work in place

    handles = [layer.register_forward_hook(keep) for layer in layers]
    try:
        with untouched(model), no_fused_attention(), torch.inference_mode(False), torch.enable_grad():
            value = loss(model.eval(), batch)
            gradients = torch.autograd.grad(value, [seen[layer][1] for layer in layers])
    finally:
        for handle in handles:
            handle.remove()
    return [(seen[layer][0], gradient) for layer, gradient in zip(layers, gradients, strict=True)]


def _weight_gradient(layer: Layer, x: Tensor, out: Tensor) -> Tensor:
    """The gradient of a weight `[out, channels of x, *kernel]` in the place of the layer's own."""
    channels = x.shape[-1 if isinstance(layer, nn.Linear) else 1]
    with torch.inference_mode(False), torch.enable_grad():
        weight = layer.weight.new_zeros(len(layer.weight), channels, *layer.weight.shape[2:]).requires_grad_()
        return torch.autograd.grad(_applied(layer, x, weight), weight, out)[0]


def _positions(producer: Layer, x: Tensor) -> torch.Size:
    """The dimensions of features that hold no channels."""
    return x.shape[:-1] if isinstance(producer, nn.Linear) else x.shape[:1] + x.shape[2:]


def _applied(layer: Layer, x: Tensor, weight: Tensor) -> Tensor:
    """The layer with another weight and no bias."""
    if isinstance(layer, nn.Linear):
        return nn.functional.linear(x, weight)
    result: Tensor = layer._conv_forward(x, weight, None)
    return result


def _length(graph: Graph, producer: str) -> float:
    """The mean norm of the producer's rows."""
    return float(layer_at(graph, producer).weight.detach().double().flatten(1).norm(dim=1).mean())
