"""Narrow deep networks well: layer after layer is fitted to what it computed before, given what changed before it.

`reconstruct` fits each reader to the network as it was, all at once: what is left of the errors piles up with depth.
Here the narrowed network runs once on all samples, and each layer, when its turn comes, gets the weights that bring it
closest to what the layer gave before at the channels that stay, from the inputs that it really has now (as in channel
pruning, He et al., arXiv 1707.06168).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from netmorph.edit.reconstruct import running_means
from netmorph.edit.width import WidthEdit
from netmorph.errors import EditError
from netmorph.graph import Graph
from netmorph.graph.axis import along
from netmorph.graph.record import canonical_names
from netmorph.graph.running import no_fused_attention, untouched
from netmorph.observe.samples import Samples, run_batch
from netmorph.seeds import generator_of

aten = torch.ops.aten

# Operators `(input, weight, bias, ...)` with a weight `[out, in, *kernel]`.
CONVOLUTIONS = {
    getattr(getattr(aten, f"conv{rank}d"), overload) for rank in (1, 2, 3) for overload in ("default", "padding")
}
LAYERS = CONVOLUTIONS | {aten.linear.default}

# At most so many positions of one layer are looked at, drawn at random: neighbours tell little more.
POSITIONS = 32768
# A share of the positions, those of the last samples, is not fitted to but tells whether a fit serves.
HELD_OUT = 0.2
# How much a change of the weights costs, relative to the variance of the inputs; the one that serves best is taken.
RIDGES = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1)
# An error below this share of the outputs' squares is rounding.
ROUNDING = 1e-10
CHUNK = 2**22  # so many numbers of a layer's inputs are laid out at once


@dataclass(frozen=True, eq=False)
class Target:
    """What one layer gave before a narrowing, at some positions and at the channels that stay.

    Attributes:
        positions: LongTensor `[p]`, ascending: in the output without its channels, flattened.
        shape: of the output without its channels.
        outputs: `[p, m]`.
        means: for each batch norm's running mean behind it, the values `[m]` before the narrowing.
    """

    positions: Tensor
    shape: tuple[int, ...]
    outputs: Tensor
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


def kept_outputs(edit: WidthEdit, samples: Samples) -> KeptOutputs:
    """What each layer gives now, at the channels that an edit keeps; for `refit`, once the edit is applied.

    Layers are linear ones and convolutions, in groups as well, whose weight is a parameter that the forward uses once
    and as it is.

    Args:
        edit: an edit that only keeps channels, for the graph of the samples.
        samples: their batches are put together and go through the network at once, so that memory has to hold the
            activations; some hundred images are enough.

    Raises:
        EditError: the edit adds channels, or there are no batches.
    """
    if any(bool(channels.is_fresh.any()) or channels.m > channels.n for channels in edit.changes.values()):
        raise EditError("only a narrowing can be refitted: this edit adds channels. Apply that one by itself")
    batch = _joined(list(samples.batches))
    graph = samples.graph
    watching = _Watching(graph, _kept(graph, edit), samples.seed)
    with untouched(graph.model), no_fused_attention(), torch.inference_mode(), watching:
        graph.model.eval()
        run_batch(graph.model, batch, samples.loss)
    once = {name: target for name, target in watching.found.items() if watching.uses[name] == 1}
    return KeptOutputs(batch, samples, once)


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
        EditError: activations are NaN or infinite.
    """
    fitting = _Fitting(model, before.layers)
    with untouched(model), no_fused_attention(), torch.inference_mode(), fitting:
        model.eval()
        run_batch(model, before.batch, before.samples.loss)
    with torch.no_grad():
        current = dict(model.named_parameters()) | dict(model.named_buffers())
        for name, value in fitting.changed.items():
            current[name].copy_(value)
    return fitting.told


def _joined(batches: Sequence[Any]) -> Any:
    """All batches as one."""
    if not batches:
        raise EditError("there are no batches to fit layers to; pass samples with batches")
    first, *others = batches
    if any(type(other) is not type(first) for other in others):
        raise EditError(f"the batches are of several types: {sorted({type(batch).__name__ for batch in batches})}")

    def join(*parts: Any) -> Any:
        return torch.cat(parts) if isinstance(parts[0], Tensor) and parts[0].dim() else parts[0]

    return tree_map(join, first, *others)


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


def _selection(source: Tensor) -> Any:
    return lambda part, dim: part.index_select(dim, source)


class _Watching(TorchDispatchMode):
    """Keeps what layers give."""

    def __init__(self, graph: Graph, kept: Mapping[str, Tensor], seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[str, Target] = {}
        self.uses: Counter[str] = Counter()
        self._kept, self._means = kept, running_means(graph)
        self._tensors = dict(graph.model.named_parameters()) | dict(graph.model.named_buffers())
        self._names = canonical_names(graph.model)
        self._generator = generator_of(seed)

    def __torch_dispatch__(self, func: torch._ops.OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.uses.update(name for leaf in tree_leaves((args, kwargs)) if (name := self._names.get(id(leaf))))
        if func in LAYERS and (name := self._names.get(id(args[1]))) is not None and name not in self.found:
            self._keep(name, _channels_last(func, result))
        return result

    def _keep(self, name: str, output: Tensor) -> None:
        shape = tuple(output.shape[:-1])
        count = output[..., 0].numel()
        positions = torch.randperm(count, generator=self._generator)[:POSITIONS].sort().values
        rows = self._kept.get(name, torch.arange(output.shape[-1]))
        places = positions.to(output.device)
        outputs = output.flatten(0, -2)[places][:, rows.to(output.device)].clone()
        means = {mean: self._tensors[mean].detach()[rows].clone() for mean in self._means.get(name, ())}
        self.found[name] = Target(positions, shape, outputs, means)


def _channels_last(func: torch._ops.OpOverload, output: Tensor) -> Tensor:
    return output.movedim(1, -1) if func in CONVOLUTIONS else output


class _Fitting(TorchDispatchMode):
    """Fits each layer when its turn comes."""

    def __init__(self, model: nn.Module, layers: Mapping[str, Target]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.changed: dict[str, Tensor] = {}
        self.told: list[Refitted] = []
        self._layers = layers
        self._tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        self._names = canonical_names(model)

    def __torch_dispatch__(self, func: torch._ops.OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in LAYERS and (target := self._layers.get(name := self._names.get(id(args[1]), ""))) is not None:
            self._fit(name, func, target, args)
        return func(*args, **(kwargs or {}))

    def _fit(self, name: str, func: torch._ops.OpOverload, target: Target, args: Any) -> None:
        weight, bias = args[1], args[2] if len(args) > 2 else None
        output = _channels_last(func, func(*args))
        if tuple(output.shape) != (*target.shape, target.outputs.shape[1]):
            return
        wanted = target.outputs.double()
        left = wanted - output.flatten(0, -2)[target.positions].double()
        for mean, values in target.means.items() if bias is None else ():
            left += self._tensors[mean].double() - values.double()  # which the batch norm takes away
        offsets = dict.fromkeys(target.means, -1.0) if bias is None else {self._names.get(id(bias), ""): 1.0}
        fitted, held = _moments(func, args, left, target.positions, free=bool(offsets.keys() - {""}))
        variance = float((wanted - wanted.mean(0)).square().sum()) / len(wanted)
        if not math.isfinite(variance + fitted.left + held.left):
            raise EditError(
                f"activations around {name!r} are NaN or infinite on the samples; nothing can be fitted to them"
            )
        change, before, after = _best(fitted, held)
        scale = max(variance * held.count, torch.finfo(torch.float64).tiny)
        if before <= ROUNDING * scale:
            change, after = None, before
        self.told.append(Refitted(name, before / scale, after / scale))
        if change is None:
            return
        columns = weight[0].numel()
        slopes = change[:, :columns]
        self._set(name, weight + slopes.transpose(1, 2).reshape(weight.shape).to(weight))
        if fitted.free:
            constant = (change[:, -1:] - fitted.shift.unsqueeze(1) @ slopes).flatten()
            for tensor, factor in offsets.items():
                self._set(tensor, self._tensors[tensor] + (factor * constant).to(self._tensors[tensor]))

    def _set(self, name: str, value: Tensor) -> None:
        self._tensors[name].copy_(value)
        self.changed[name] = value.clone()


@dataclass(eq=False)
class _Moments:
    """Sums over positions, for each of `g` groups of a layer: of its inputs `x`, `c` a group, and what it leaves, `r`.

    Attributes:
        shift: float64 `[g, c]`: is taken from the inputs, or else rounding would eat small variances.
        free: whether there is a place for a constant: then a column of ones is among the inputs, as their last.
        inner: float64 `[g, c, c]`: of `x x^T`.
        cross: float64 `[g, c, r]`: of `x r^T`.
        left: of `r^2`.
        count: of positions.
    """

    shift: Tensor
    free: bool
    inner: Tensor
    cross: Tensor
    left: float = 0.0
    count: int = 0

    def add(self, x: Tensor, left: Tensor) -> None:
        """More positions: `[p, g, c]` and `[p, g, r]`, both float64."""
        x = x - self.shift
        if self.free:
            x = torch.cat([x, x.new_ones(*x.shape[:2], 1)], dim=-1)
        x, left = x.transpose(0, 1), left.transpose(0, 1)
        self.inner += x.transpose(1, 2) @ x
        self.cross += x.transpose(1, 2) @ left
        self.left += float(left.square().sum())
        self.count += x.shape[1]

    def error(self, change: Tensor) -> float:
        """The squares that are left with a change of the weights, `[g, c, r]`."""
        return self.left + float((change * (self.inner @ change - 2 * self.cross)).sum())


def _moments(
    func: torch._ops.OpOverload, args: Any, left: Tensor, positions: Tensor, free: bool
) -> tuple[_Moments, _Moments]:
    """Of the positions to fit to, and of those held out."""
    groups = args[6] if len(args) > 6 else 1
    held_from = len(positions) - int(HELD_OUT * len(positions))
    both: list[_Moments] = []
    for begin, rows in _inputs(func, args, positions):
        x = rows.double().unflatten(1, (groups, -1))
        r = left[begin : begin + len(x)].unflatten(1, (groups, -1))
        if not both:
            shift = x.mean(0) if free else torch.zeros_like(x[0])
            columns = x.shape[2] + free
            for _ in range(2):
                inner, cross = x.new_zeros(groups, columns, columns), x.new_zeros(groups, columns, r.shape[2])
                both.append(_Moments(shift, free, inner, cross))
        cut = max(0, held_from - begin)
        for moments, part in zip(both, (slice(0, cut), slice(cut, None)), strict=True):
            moments.add(x[part], r[part])
    return both[0], both[1]


def _inputs(func: torch._ops.OpOverload, args: Any, positions: Tensor) -> Iterator[tuple[int, Tensor]]:
    """What a layer's weights are multiplied with at some positions, `[p, in * kernel]`, part by part.

    Yields:
        The number of the first of these positions among all, and the rows.
    """
    x, weight = args[:2]
    if func not in CONVOLUTIONS:
        rows = x.flatten(0, -2)
        step = max(1, CHUNK // rows.shape[1])
        for begin in range(0, len(positions), step):
            yield begin, rows[positions[begin : begin + step]]
        return
    channels, kernel, space = x.shape[1], tuple(weight.shape[2:]), tuple(x.shape[2:])
    taps = math.prod(kernel)
    # The layer's own operator says which places each tap of the kernel meets: it is given their numbers, from 1.
    numbers = torch.arange(1, math.prod(space) + 1, dtype=torch.float64, device=x.device).reshape(1, 1, *space)
    picks = torch.eye(taps, dtype=torch.float64, device=x.device).reshape(taps, 1, *kernel)
    met = func(numbers, picks, None, *args[3:6]).flatten(2)[0].T.round().long()  # [places of the output, taps]
    flat = functional.pad(x.flatten(2), (1, 0))  # number 0 is the padding
    samples, places = positions // len(met), positions % len(met)
    step = max(1, CHUNK // (channels * taps))
    for begin in range(0, len(positions), step):
        of = slice(begin, begin + step)
        yield begin, flat[samples[of, None], :, met[places[of]]].transpose(1, 2).flatten(1)


def _best(fitted: _Moments, held: _Moments) -> tuple[Tensor | None, float, float]:
    """The change of the weights that serves best on what was held out; None where none does better than no change."""
    best, before = None, held.left
    after = before
    penalty = fitted.inner.diagonal(dim1=1, dim2=2).clone()
    if fitted.free:
        penalty[:, -1] = 0
    mean = penalty.mean(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    for ridge in RIDGES:
        added = (ridge * mean).expand_as(penalty).clone()
        if fitted.free:
            added[:, -1] = ROUNDING * fitted.count
        factor, failed = torch.linalg.cholesky_ex(fitted.inner + added.diag_embed())
        if bool(failed.any()):
            continue
        change = torch.cholesky_solve(fitted.cross, factor)
        error = held.error(change)
        if error < after:
            best, after = change, error
    return best, before, max(after, 0.0)
