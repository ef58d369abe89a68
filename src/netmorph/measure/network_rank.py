"""Candidates for the rank of a whole network: one number, to be compared across architectures.

Only those that look at the input-output Jacobian depend on the function alone; `docs/network-rank.md` measures what
each of them satisfies.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from netmorph.errors import EditError
from netmorph.graph import Graph, Value
from netmorph.graph.axis import atoms
from netmorph.graph.record import tensors_in
from netmorph.graph.running import no_fused_attention, set_mode
from netmorph.measure.spectrum import Spectrum, effective_rank, spectra
from netmorph.observe.features import Batch, as_inputs

NetworkRank = Callable[[Graph, Iterable[Batch]], float]

# Of more outputs than this, the products of the Jacobian with as many random directions stand in.
OUTPUTS = 512


def layer_ranks(graph: Graph, batches: Iterable[Batch]) -> float:
    """The numerical ranks of the layers' matrices `[out, in * kernel]`, summed, over the sum of their `out`.

    Args:
        graph: a traced network.
        batches: not looked at.

    Raises:
        EditError: no linear or convolution layer with a weight of its own, or weights that are not finite.
    """
    matrices = _matrices(graph)
    return sum(_numerical_rank(matrix) for matrix in matrices) / sum(len(matrix) for matrix in matrices)


def log_effective_rank(graph: Graph, batches: Iterable[Batch]) -> float:
    """The mean over layers of the entropy of the normalized singular values, over the logarithm of the smaller side.

    The entropy is the logarithm of the effective rank (Roy and Vetterli, The effective rank, EUSIPCO 2007). A layer
    whose smaller side is 1 has nothing to tell and is left out; a zero matrix counts as 0. Arguments and errors are
    those of `layer_ranks`, or there is no layer of two channels.
    """
    shares = [
        math.log(max(1.0, effective_rank(_spectrum(matrix)))) / math.log(min(matrix.shape))
        for matrix in _matrices(graph)
        if min(matrix.shape) > 1
    ]
    if not shares:
        raise EditError("every layer of the network has one channel, of which no effective rank can be told")
    return sum(shares) / len(shares)


def jacobian_participation(graph: Graph, batches: Iterable[Batch]) -> float:
    """The participation ratio `(sum s^2)^2 / sum s^4` of the input-output Jacobian of each sample, averaged over all.

    Of each sample, and not of the covariance over the data: the Jacobian of one sample never has a higher rank than
    the narrowest place that it goes through, while those of many samples, added up, may through a curved bottleneck;
    the mean does not grow with the number of samples; and a sample with large gradients counts like another. Where all
    outputs of a sample stand still, its ratio is 0. In eval mode, in float64 on a copy of the network.

    Up to 512 outputs a sample are taken exactly. Of more, `v^T J J^T w` for 512 random directions gives both sums
    without bias: products `(v^T J J^T v) (w^T J J^T w)` have the mean `(sum s^2)^2`, squares `(v^T J J^T w)^2` have
    `sum s^4`. The directions depend on the number of outputs alone, so that equal functions have equal numbers.

    Args:
        graph: a traced network.
        batches: float inputs, samples along the first dimension.

    Raises:
        EditError: no batch, inputs that are no floats (tokens), weights or Jacobians that are not finite, outputs that
            are not one tensor by samples, or samples of a batch that depend on each other.
    """
    return _mean_over_samples(graph, batches, _participation)


def jacobian_rank(graph: Graph, batches: Iterable[Batch]) -> float:
    """The numerical rank of the input-output Jacobian of each sample, averaged over all (arXiv 2209.15055).

    Of more than 512 outputs at most 512 are told. Arguments and errors are those of `jacobian_participation`.
    """
    return _mean_over_samples(graph, batches, lambda jacobian, exact: float(_numerical_rank(jacobian)))


def narrowest_cut(graph: Graph, batches: Iterable[Batch]) -> float:
    """The least numerical rank, over the places that everything passes, of the features' correlation.

    Such a place is a tensor that lies on every path from the inputs to the outputs. Inside a residual block there is
    none, as the skip connection goes round; the sum behind it is one. (Cuts of several tensors are not looked at: a
    stream and a branch beside it.) Positions are rows, channels are columns, each centred and divided by its deviation.
    A rank is at most the number of positions less 1: flattened features need more samples than channels.

    Args:
        graph: a traced network.
        batches: what the network takes.

    Raises:
        EditError: no batch, weights that are not finite, no such place, or a forward that runs other operators on a
            batch than on the example inputs.
    """
    cuts = cut_values(graph)
    rows: dict[Value, list[Tensor]] = {}
    model = _in_float64(graph)
    for inputs in _each(batches):
        taking = _Taking(graph, cuts)
        with torch.inference_mode(), no_fused_attention(), taking:
            _call(model, inputs)
        taking.check()
        for value, tensor in taking.taken.items():
            rows.setdefault(value, []).append(tensor)
    return float(min(_numerical_rank(_standardized(torch.cat(parts))) for parts in rows.values()))


NETWORK_RANKS: dict[str, NetworkRank] = {
    "layer_ranks": layer_ranks,
    "log_effective_rank": log_effective_rank,
    "jacobian_participation": jacobian_participation,
    "jacobian_rank": jacobian_rank,
    "narrowest_cut": narrowest_cut,
}


def _numerical_rank(matrix: Tensor) -> int:
    return _spectrum(matrix).rank() if matrix.numel() else 0


def _spectrum(matrix: Tensor) -> Spectrum:
    return spectra({"matrix": matrix.double()})["matrix"]


def cut_values(graph: Graph) -> dict[Value, int]:
    """The tensors with channels that lie on every path from inputs to outputs, and the dimension of their channels.

    In the order of the forward, a tensor is on every path if, once it is made, it is the only one that is read later.

    Raises:
        EditError: there is none.
    """
    calls, outputs = graph.recording.calls, set(graph.recording.outputs)
    depends = set(graph.recording.inputs)
    for call in calls:
        if depends.intersection(call.values):
            depends.update(call.outputs)
    last = {value: len(calls) for value in outputs}
    for number in reversed(range(len(calls))):
        if any(value in last for value in calls[number].outputs):
            for value in calls[number].values:
                last.setdefault(value, number)
    known = {group.atom for group in graph.groups.values()}
    live: set[Value] = {value for value in graph.recording.inputs if value in last}
    found: dict[Value, int] = {}
    for number, call in enumerate(calls):
        live |= {value for value in call.outputs if value in last and value in depends}
        live = {value for value in live if last[value] > number}
        if len(live) == 1:
            (value,) = live
            dims = [dim for dim, axis in enumerate(value.axes) if dim and known.intersection(atoms(axis))]
            if dims and value in call.outputs:
                found[value] = dims[0]
    if not found:
        raise EditError(
            "no tensor with channels lies on every path from the inputs to the outputs (several inputs or outputs, or "
            "streams side by side all the way), so there is no narrowest cut; take jacobian_participation"
        )
    return found


class _Taking(TorchDispatchMode):
    """Keeps some tensors of a forward that runs the recorded operators, as rows of channels."""

    def __init__(self, graph: Graph, wanted: dict[Value, int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.taken: dict[Value, Tensor] = {}
        self._calls, self._wanted = graph.recording.calls, wanted
        self._ops: list[Any] = []

    def __torch_dispatch__(self, func: torch._ops.OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        number = len(self._ops)
        self._ops.append(func)
        if number < len(self._calls) and self._calls[number].op is func:
            tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
            for value, tensor in zip(self._calls[number].outputs, tensors, strict=True):
                if value in self._wanted:
                    self.taken[value] = tensor.movedim(self._wanted[value], -1).flatten(0, -2).clone()
        return result

    def check(self) -> None:
        if self._ops != [call.op for call in self._calls]:
            raise EditError(
                "on this batch the forward runs other operators than on the example inputs, so its features are not "
                "known again; trace the network on a batch like it"
            )


def _standardized(rows: Tensor) -> Tensor:
    """Each column centred and divided by its deviation; one that does not vary is zero."""
    if not bool(rows.isfinite().all()):
        raise EditError("features hold numbers that are not finite, so they have no rank; look for NaN in the batches")
    centred = rows - rows.mean(0)
    deviation = centred.square().mean(0).sqrt()
    varies = deviation > len(rows) * torch.finfo(rows.dtype).eps * rows.abs().amax(0)
    return centred[:, varies] / deviation[varies]


def _matrices(graph: Graph) -> list[Tensor]:
    """float64 `[out, in * kernel]` of each layer's weight, a shared one once."""
    _check_finite(graph.model)
    tensors = dict(graph.model.named_parameters())
    layers = [call.layer for call in graph.recording.calls if call.layer]
    places = {layer.weight.name: layer.write[0][0] for layer in layers if layer.weight.name in tensors}
    if not places:
        raise EditError("the network has no linear or convolution layer with a weight of its own, so no layer's rank")
    return [tensors[name].detach().double().movedim(dim, 0).flatten(1) for name, dim in places.items()]


def _participation(jacobian: Tensor, exact: bool) -> float:
    """Of one Jacobian `[outputs, inputs]`, or of random directions times it."""
    products = jacobian @ jacobian.T
    largest = products.diagonal().amax()
    if largest == 0:
        return 0.0
    products = products / largest  # or the squares of small gradients would be lost
    diagonal = products.diagonal()
    total, squares = diagonal.sum().square(), products.square().sum()
    if not exact:  # pairs of different directions alone are independent
        total, squares = total - diagonal.square().sum(), squares - diagonal.square().sum()
    return float(total / squares)


def _mean_over_samples(graph: Graph, batches: Iterable[Batch], measure: Callable[[Tensor, bool], float]) -> float:
    model = _in_float64(graph)
    numbers = [measure(jacobian, exact) for inputs in _each(batches) for jacobian, exact in _jacobians(model, inputs)]
    return sum(numbers) / len(numbers)


def _jacobians(model: nn.Module, inputs: Any) -> Iterator[tuple[Tensor, bool]]:
    """For each sample of a batch, float64 `[outputs, inputs]`, and whether the rows are outputs, not random sums."""
    tensors = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
    others = sorted({str(tensor.dtype) for tensor in tensors if not tensor.is_floating_point()})
    if others or not tensors:
        raise EditError(
            f"a Jacobian needs float inputs, got {', '.join(others) or 'no tensor'}: nothing can be differentiated by "
            "tokens. It is not taken at the embedding's output, as edits change that; trace the part of the network "
            "behind the embedding, on embedded samples"
        )
    samples = {len(tensor) if tensor.dim() else 0 for tensor in tensors}
    for tensor in tensors:
        tensor.requires_grad_()
    with torch.enable_grad(), no_fused_attention():
        found = tensors_in(_call(model, inputs))
        if len(found) != 1 or samples != {len(found[0]) if found[0].dim() else 0}:
            raise EditError(
                f"a Jacobian by samples needs inputs and one output with samples along the first dimension; the inputs "
                f"have {sorted(samples)} and the outputs' shapes are {[tuple(tensor.shape) for tensor in found]}"
            )
        outputs = found[0].flatten(1)
        exact = outputs.shape[1] <= OUTPUTS
        directions = _directions(outputs.shape[1]).to(outputs.device)
        if outputs.requires_grad:
            _check_apart(outputs, tensors)
            rows = [_gradients((outputs @ direction).sum(), tensors) for direction in directions]
        else:  # nothing of the inputs reaches them
            rows = [torch.cat([torch.zeros_like(tensor).flatten(1) for tensor in tensors], 1) for _ in directions]
    jacobians = torch.stack(rows, 1).detach()
    if not bool(jacobians.isfinite().all()):
        raise EditError("the Jacobian holds numbers that are not finite; look for NaN or huge numbers in the batches")
    for jacobian in jacobians:
        yield jacobian, exact


def _directions(outputs: int) -> Tensor:
    """float64 `[rows, outputs]`: the outputs themselves, or random directions, drawn from one seed."""
    if outputs <= OUTPUTS:
        return torch.eye(outputs, dtype=torch.float64)
    return torch.randn(OUTPUTS, outputs, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def _gradients(number: Tensor, tensors: list[Tensor]) -> Tensor:
    """`[samples, inputs]`: by all inputs, flattened."""
    gradients = torch.autograd.grad(number, tensors, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten(1) for gradient in gradients], 1)


def _check_apart(outputs: Tensor, tensors: list[Tensor]) -> None:
    """One backward pass serves all samples only where none looks at another."""
    mixed = _gradients((outputs[0] * torch.linspace(1, 2, outputs.shape[1]).to(outputs)).sum(), tensors)[1:]
    if bool((mixed != 0).any()):
        raise EditError("samples of a batch depend on each other in eval mode; give batches of one sample each")


def _in_float64(graph: Graph) -> nn.Module:
    """A copy in eval mode whose weights need no gradient."""
    _check_finite(graph.model)
    model = copy.deepcopy(graph.model).double().requires_grad_(False)
    set_mode(model, training=False)
    return model


def _check_finite(model: nn.Module) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if not bool(tensor.isfinite().all()):
            raise EditError(f"{name!r} holds numbers that are not finite (NaN or infinity), so the network has no rank")


def _each(batches: Iterable[Batch]) -> Iterator[Any]:
    """Copies of the batches' inputs, floats in float64."""
    empty = True
    for batch in batches:
        inputs = tree_map(_doubled, as_inputs(batch))
        if any(isinstance(leaf, Tensor) and not leaf.numel() for leaf in tree_leaves(inputs)):
            raise EditError("a batch holds no samples; leave it out")
        if not all(bool(leaf.isfinite().all()) for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)):
            raise EditError("a batch holds numbers that are not finite (NaN or infinity); clean the data first")
        empty = False
        yield inputs
    if empty:
        raise EditError("there are no batches to look at; pass batches of inputs: [x] of one tensor")


def _doubled(leaf: Any) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    return leaf.detach().to(torch.float64 if leaf.is_floating_point() else leaf.dtype, copy=True)


def _call(model: nn.Module, inputs: Any) -> Any:
    return model(**inputs) if isinstance(inputs, dict) else model(*inputs)
