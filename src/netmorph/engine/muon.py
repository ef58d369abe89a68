"""Muon: momentum whose updates of weight matrices are made orthogonal, beside AdamW for all other parameters."""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn

# Of the quintic iteration: the slope at zero is as steep as it can be while singular values stay near one.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
# The size of an AdamW update, as a share of the learning rate (J. Liu et al., Muon is scalable, 2025).
ADAMW_RMS = 0.2
EPSILON = 1e-7
ADAM_EPSILON = 1e-8


class Muon(torch.optim.Optimizer):
    """Muon for weights of two dimensions or more, taken as matrices [outputs, everything else]; AdamW for the rest.

    The updates of both have about the same size, so one learning rate, that of AdamW, serves all. `torch.optim.Muon`
    computes the same for weights of exactly two dimensions (up to bfloat16, in which it iterates), but refuses filters
    and biases: a network would need two optimizers, each with a state to carry through edits.

    Source: K. Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        momentum: of the matrices (Nesterov's).
        betas: of AdamW, for the rest.
        weight_decay: decoupled, for all.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "betas": betas, "weight_decay": weight_decay})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move the parameters that have a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    rule = _matrix_update if parameter.ndim >= 2 else _vector_update
                    update = rule(parameter.grad, self.state[parameter], group)
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.sub_(update, alpha=group["lr"])
        return loss


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the nearest matrix with orthonormal rows (or columns), [m, n] -> [m, n]; singular values 0.7 to 1.2.

    Newton-Schulz iteration: matrix products only, which bfloat16 would serve as well.
    """
    a, b, c = COEFFICIENTS
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + EPSILON)
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


def _matrix_update(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    if not state:
        state["momentum_buffer"] = torch.zeros_like(gradient)
    state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
    ahead = gradient.lerp(state["momentum_buffer"], group["momentum"])
    flat = orthogonal(ahead.flatten(1))
    update: Tensor = flat.view(ahead.shape) * (ADAMW_RMS * max(flat.shape) ** 0.5)
    return update


def _vector_update(gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    if not state:
        state["step"] = 0
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
    first, second = group["betas"]
    state["step"] += 1
    state["exp_avg"].lerp_(gradient, 1 - first)
    state["exp_avg_sq"].lerp_(gradient.square(), 1 - second)
    spread = (state["exp_avg_sq"] / (1 - second ** state["step"])).sqrt().add(ADAM_EPSILON)
    update: Tensor = state["exp_avg"] / (1 - first ** state["step"]) / spread
    return update
