"""Working back from the output: which input a layer needs to give it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.solve.moments import SolveError


@dataclass(frozen=True, eq=False)
class Required:
    """An input from which a layer gives an output, or comes closest to it.

    Attributes:
        input: float64 `[B, in]`. Of a layer with fewer outputs than inputs many serve; this is the smallest.
        residual: float64 `[B]`: the distance of what the layer then gives from what was asked for.
        rank: the smallest rank of the linear layers: so many directions of the output can be reached.
        condition: the product of their condition numbers, on the directions that are reached: so many times an error
            of the output grows at most in the input, activations aside.
    """

    input: Tensor
    residual: Tensor
    rank: int
    condition: float


def required_input(layer: nn.Module, output: Tensor) -> Required:
    """The input that a layer needs for an output.

    Linear layers are inverted by their pseudo-inverse: exactly where they are square and regular; otherwise the
    smallest input with the smallest error is found, of one layer. Activations are inverted one number at a time.

    Args:
        layer: `nn.Linear`, one of `INVERSES`, or an `nn.Sequential` of such.
        output: `[B, out]`.

    Raises:
        SolveError: a layer has no inverse, or an activation never gives such an output.
    """
    layers = list(layer) if isinstance(layer, nn.Sequential) else [layer]
    wanted, rank, condition = output.double(), output.shape[-1], 1.0
    with torch.no_grad():
        for each in reversed(layers):
            if isinstance(each, nn.Linear):
                wanted, own_rank, own_condition = _before_linear(each, wanted)
                rank, condition = min(rank, own_rank), condition * own_condition
            else:
                wanted = _before_activation(each, wanted)
        given = wanted
        for each in layers:
            given = _linear(each, given) if isinstance(each, nn.Linear) else each(given)
    return Required(wanted, torch.linalg.vector_norm(given - output.double(), dim=-1), rank, condition)


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    """In float64, whatever the layer's type is."""
    return nn.functional.linear(x, layer.weight.double(), None if layer.bias is None else layer.bias.double())


def _before_linear(layer: nn.Linear, output: Tensor) -> tuple[Tensor, int, float]:
    weight = layer.weight.detach().double()
    if output.dim() != 2 or output.shape[1] != len(weight):
        raise SolveError(f"{layer} gives [B, {len(weight)}], an output {list(output.shape)} was asked for")
    if layer.bias is not None:
        output = output - layer.bias.detach().double()
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    # Rounding of the layer's own type: what is below it is no direction that the layer has.
    tolerance = float(values[0]) * max(weight.shape) * torch.finfo(layer.weight.dtype).eps
    rank = int((values > tolerance).sum())
    if rank == 0:
        raise SolveError(f"the weight of {layer} is zero: its output does not depend on its input")
    inverse = (right[:rank].T / values[:rank]) @ left[:, :rank].T
    return output @ inverse.T, rank, float(values[0] / values[rank - 1])


def _before_activation(layer: nn.Module, output: Tensor) -> Tensor:
    inverse = INVERSES.get(type(layer))
    if inverse is None:
        raise SolveError(
            f"{layer} has no inverse here: several inputs may give the same output (as with ReLU). Layers that have "
            f"one: Linear, {', '.join(sorted(known.__name__ for known in INVERSES))}; others can be added to INVERSES"
        )
    before = inverse(layer, output)
    if not bool(before.isfinite().all()):
        raise SolveError(
            f"{layer} never gives some of the outputs asked for, which go from {float(output.min()):.4g} to "
            f"{float(output.max()):.4g}; clamp them to what it can give"
        )
    return before


def _before_leaky(layer: Any, output: Tensor) -> Tensor:
    if layer.negative_slope <= 0:
        raise SolveError(f"{layer} has no inverse: its slope below zero must be above 0")
    return torch.where(output < 0, output / layer.negative_slope, output)


# By type of an activation: itself and an output -> the input, NaN or infinite where there is none.
INVERSES: dict[type[nn.Module], Callable[[Any, Tensor], Tensor]] = {
    nn.Identity: lambda layer, output: output,
    nn.LeakyReLU: _before_leaky,
    nn.Sigmoid: lambda layer, output: torch.logit(output),
    nn.Softplus: lambda layer, output: output + torch.log(-torch.expm1(-layer.beta * output)) / layer.beta,
    nn.Tanh: lambda layer, output: torch.atanh(output),
}
