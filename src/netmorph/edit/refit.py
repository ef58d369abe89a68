"""Narrow deep networks well: layer after layer is fitted to what it computed before, given what changed before it.

`reconstruct` fits each reader to the network as it was, all at once: what is left of the errors piles up with depth.
Here the narrowed network runs once on all samples, and each layer, when its turn comes, gets the weights that bring it
closest to what the layer gave before at the channels that stay, from the inputs that it really has now (as in channel
pruning, He et al., arXiv 1707.06168).
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from netmorph.edit.branches import Branch, Call, Following, channels_last
from netmorph.edit.layer_fit import LAYERS, ROUNDING, best_change, moments_of
from netmorph.edit.reconstruct import running_means, takers_of
from netmorph.edit.width_edit import WidthEdit
from netmorph.errors import EditError
from netmorph.graph import Graph
from netmorph.graph.axis import along
from netmorph.graph.running import no_fused_attention, untouched
from netmorph.memory import total
from netmorph.observe.samples import Samples, run_batch
from netmorph.seeds import generator_of

aten = torch.ops.aten

# All samples go through a network at once: so much of the memory may activations take, of which so many are alive.
MEMORY, ALIVE = 0.25, 6
# At most so many positions of one layer are looked at, drawn at random: neighbours tell little more.
POSITIONS = 32768


@dataclass(frozen=True, eq=False)
class Target:
    """What one layer gave before a narrowing, at some positions and at the channels that stay.

    Attributes:
        positions: LongTensor `[p]`, ascending: in the output without its channels, flattened.
        shape: of the output without its channels.
        outputs: `[p, m]`; where the layer adds to something else (a residual stream), the sum.
        is_sum: whether they are.
        means: for each batch norm's running mean behind it, the values `[m]` before the narrowing.
    """

    positions: Tensor
    shape: tuple[int, ...]
    outputs: Tensor
    is_sum: bool
    means: Mapping[str, Tensor]


@dataclass(frozen=True)
class Refitted:
    """How well a layer meets what it gave before, on samples that it was not fitted to.

    Attributes:
        layer: the name of its weight.
        before: the squared error over the variance of what it has to meet, with the weights as they were.
        after: and with those that it has now: never more.
    """

    layer: str
    before: float
    after: float


@dataclass(frozen=True, eq=False)
class KeptOutputs:
    """What the layers of a network gave before a narrowing, see `kept_outputs`."""

    batch: Any
    samples: Samples
    layers: Mapping[str, Target]
    single: frozenset[str]  # the tensors that the forward uses once


def kept_outputs(edit: WidthEdit, samples: Samples) -> KeptOutputs:
    """What each layer gives now, at the channels that an edit keeps; for `refit`, once the edit is applied.

    Layers are linear ones and convolutions, in groups as well, whose weight is a parameter that the forward uses once
    and as it is.

    Args:
        edit: an edit that only keeps channels, for the graph of the samples.
        samples: their batches are put together and go through the network at once, the first of them if the
            activations of all would take more than a quarter of the memory; some hundred images are enough.

    Raises:
        EditError: the edit adds channels, or there are no batches, or they cannot be put together.
    """
    if any(bool(channels.is_fresh.any()) or channels.m > channels.n for channels in edit.changes.values()):
        raise EditError("only a narrowing can be refitted: this edit adds channels. Apply that one by itself")
    graph = samples.graph
    batch = _joined(_first(samples.batches, _fitting(graph)))
    watching = _Watching(graph, _kept(graph, edit), samples.seed)
    with untouched(graph.model), no_fused_attention(), torch.inference_mode(), watching:
        graph.model.eval()
        run_batch(graph.model, batch, samples.loss)
    single = frozenset(name for name, uses in watching.uses.items() if uses == 1)
    return KeptOutputs(
        batch, samples, {name: watching.found[name] for name in watching.found if name in single}, single
    )


def refit(model: nn.Module, before: KeptOutputs) -> list[Refitted]:
    """Give each layer the weights with which it comes closest to what it gave before a narrowing, in place.

    In the order of the forward; each is fitted on the inputs that it has behind those that have been fitted. What is
    constant goes into its bias, or into the running mean of the batch norm behind it. A fit that does not serve on
    samples that were held out is dropped: the layer keeps its weights.

    Args:
        model: the narrowed network.
        before: what `kept_outputs` made of the network before, with the edit that narrowed it.

    Returns:
        The layers that were looked at, in order. Others are as they were: those whose weight is used twice or computed.

    Raises:
        EditError: the model is not what the edit leaves, or activations are NaN or infinite.
    """
    fitting = _Fitting(model, before.layers, before.single)
    with untouched(model), no_fused_attention(), torch.inference_mode(), fitting:
        model.eval()
        run_batch(model, before.batch, before.samples.loss)
    with torch.no_grad():
        current = dict(model.named_parameters()) | dict(model.named_buffers())
        for name, value in fitting.changed.items():
            current[name].copy_(value)
    return fitting.told


def _fitting(graph: Graph) -> int:
    """How many samples at once the memory holds the activations of."""
    made = [value for call in graph.recording.calls for value in call.outputs if value.from_input]
    largest = max((math.prod(value.shape) * value.dtype.itemsize for value in made), default=1)
    examples = next((value.shape[0] for value in graph.recording.inputs if value.shape), 1)
    device = next((parameter.device for parameter in graph.model.parameters()), torch.device("cpu"))
    there = total(device)
    return sys.maxsize if there is None else int(MEMORY * there / (ALIVE * largest / examples))


def _first(batches: Iterable[Any], count: int) -> list[Any]:
    """The first batches with about so many samples together, and one at least."""
    taken: list[Any] = []
    held = 0
    for batch in batches:
        size = next((len(leaf) for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.dim()), 1)
        if taken and held + size > count:
            break
        taken.append(batch)
        held += size
    return taken


def _joined(batches: Sequence[Any]) -> Any:
    """All batches as one."""
    if not batches:
        raise EditError("there are no batches to fit layers to; pass samples with batches")
    first, *others = batches

    def join(*parts: Any) -> Any:
        return torch.cat(parts) if isinstance(parts[0], Tensor) and parts[0].dim() else parts[0]

    try:
        return tree_map(join, first, *others)
    except (ValueError, RuntimeError, TypeError) as error:
        raise EditError(
            "the batches cannot be put together as one, which needs the same structure, and tensors that differ in "
            f"their first dimension only: {error}"
        ) from error


def _kept(graph: Graph, edit: WidthEdit) -> dict[str, Tensor]:
    """By weight: the rows that stay."""
    changes = {graph.group(name).atom: channels.source for name, channels in edit.changes.items()}
    kept: dict[str, Tensor] = {}
    for name in edit.changes:
        for site in graph.group(name).sites:
            if site.dim == 0 and site.tensor not in kept:
                rows = torch.arange(graph.shapes[site.tensor][0])
                selections = {atom: _selection(source) for atom, source in changes.items()}
                kept[site.tensor] = along(rows, 0, site.axis, selections)
    return kept


def _alone(graph: Graph) -> set[str]:
    """The weights of layers whose output, and what a batch norm makes of it, is taken once: a sum tells all of them."""
    takers = takers_of(graph)
    alone: set[str] = set()
    for call in graph.recording.calls:
        if call.op in LAYERS and call.args[1].name is not None:
            found = takers.get(call.outputs[0], [])
            if len(found) == 1 and found[0] is not None and found[0].op is aten.batch_norm.default:
                found = takers.get(found[0].outputs[0], [])
            if len(found) == 1:
                alone.add(call.args[1].name)
    return alone


def _selection(source: Tensor) -> Any:
    return lambda part, dim: part.index_select(dim, source)


class _Watching(Following):
    """Keeps what layers give."""

    def __init__(self, graph: Graph, kept: Mapping[str, Tensor], seed: int) -> None:
        super().__init__(graph.model)
        self.found: dict[str, Target] = {}
        self.uses: Counter[str] = Counter()
        self._kept, self._means, self._alone = kept, running_means(graph), _alone(graph)
        self._generator = generator_of(seed)

    def __torch_dispatch__(self, func: torch._ops.OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.uses.update(name for leaf in tree_leaves((args, kwargs)) if (name := self._names.get(id(leaf))))
        return super().__torch_dispatch__(func, types, args, kwargs)

    def at_layer(self, branch: Branch) -> None:
        """See `Following`."""
        output = channels_last(branch.layer[0], branch.output)
        positions = torch.randperm(output[..., 0].numel(), generator=self._generator)[:POSITIONS].sort().values
        rows = self._kept.get(branch.name, torch.arange(output.shape[-1]))
        means = {mean: self._tensors[mean].detach()[rows].clone() for mean in self._means.get(branch.name, ())}
        at = positions.to(output.device)
        self.found[branch.name] = Target(at, tuple(output.shape[:-1]), output.flatten(0, -2)[at][:, rows], False, means)

    def at_sum(self, branch: Branch, call: Call) -> None:
        """See `Following`."""
        if branch.name not in self._alone:
            return
        added = channels_last(branch.layer[0], torch.add(*call[1]))
        target, rows = self.found[branch.name], self._kept.get(branch.name, torch.arange(added.shape[-1]))
        outputs = added.flatten(0, -2)[target.positions][:, rows]
        self.found[branch.name] = replace(target, outputs=outputs, is_sum=True)


class _Fitting(Following):
    """Fits each layer when its turn comes."""

    def __init__(self, model: nn.Module, layers: Mapping[str, Target], single: Set[str]) -> None:
        super().__init__(model)
        self.changed: dict[str, Tensor] = {}
        self.told: list[Refitted] = []
        self._layers, self._single = layers, single

    def at_layer(self, branch: Branch) -> None:
        """See `Following`."""
        target = self._layers.get(branch.name)
        if target is not None and not target.is_sum:
            self._fit(branch, target, branch.output)

    def at_sum(self, branch: Branch, call: Call) -> None:
        """See `Following`."""
        target = self._layers.get(branch.name)
        if target is not None and target.is_sum:
            self._fit(branch, target, torch.add(*call[1]))

    def _fit(self, branch: Branch, target: Target, output: Tensor) -> None:
        func, args = branch.layer
        weight, bias = args[1], args[2] if len(args) > 2 else None
        output = channels_last(func, output)
        if tuple(output.shape) != (expected := (*target.shape, target.outputs.shape[1])):
            raise EditError(
                f"{branch.name!r} gives {tuple(output.shape)} (channels last), but the edit that was given "
                f"to kept_outputs leaves {expected}; apply that edit, then refit"
            )
        wanted = target.outputs.double()
        left = wanted - output.flatten(0, -2)[target.positions].double()
        if bias is None and not target.is_sum:
            for mean, values in target.means.items():  # which the batch norm takes away
                left += self._tensors[mean].double() - values.double()
        offsets = dict.fromkeys(target.means, -1.0) if bias is None else {self._names.get(id(bias), ""): 1.0}
        free = offsets.keys() <= self._single and len(offsets) == 1
        fitted, held = moments_of(func, args, left, target.positions, free)
        variance = float((wanted - wanted.mean(0)).square().sum()) / len(wanted)
        if not math.isfinite(variance + fitted.left + held.left):
            raise EditError(
                f"activations around {branch.name!r} are NaN or infinite on the samples; nothing can be fitted to them"
            )
        change, before, after = best_change(fitted, held)
        whole = max(variance * held.count, torch.finfo(torch.float64).tiny)
        if before <= ROUNDING * whole:
            change, after = None, before
        self.told.append(Refitted(branch.name, before / whole, after / whole))
        if change is None:
            return
        slopes, constants = change[:, : weight[0].numel()], change[:, weight[0].numel() :]
        factor = branch.factor(target.is_sum)
        rows = slopes.transpose(1, 2).reshape(len(weight), -1) * factor.unsqueeze(-1)
        self._set(branch.name, weight + rows.reshape(weight.shape).to(weight))
        if free:
            constant = (constants - fitted.shift.unsqueeze(1) @ slopes).flatten() * factor
            for name, sign in offsets.items():
                self._set(name, self._tensors[name] + (sign * constant).to(weight))
        branch.output.copy_(branch.again())

    def _set(self, name: str, value: Tensor) -> None:
        self._tensors[name].copy_(value)
        self.changed[name] = value.clone()
