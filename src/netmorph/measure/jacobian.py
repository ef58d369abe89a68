"""The ranks of a network's function: of the derivatives of its outputs by its inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from netmorph.errors import EditError
from netmorph.graph import Graph
from netmorph.graph.record import tensors_in
from netmorph.graph.running import no_fused_attention
from netmorph.measure.probing import called, float64_batches, in_float64, rank_of
from netmorph.observe.features import Batch

# Of more outputs than this, the products of the Jacobian with as many random directions stand in.
OUTPUTS = 512


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
    return _mean_over_samples(graph, batches, lambda jacobian, exact: float(rank_of(jacobian)))


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
    model = in_float64(graph)
    numbers = [
        measure(jacobian, exact) for inputs in float64_batches(batches) for jacobian, exact in _jacobians(model, inputs)
    ]
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
        found = tensors_in(called(model, inputs))
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
