"""Muon: momentum whose updates of weight matrices are made orthogonal, beside AdamW for all other parameters."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

# Of the quintic iteration: the slope at zero is as steep as it can be while singular values stay near one.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
# The size of an AdamW update, as a share of the learning rate (J. Liu et al., Muon is scalable, 2025).
ADAMW_RMS = 0.2
EPSILON = 1e-7
ADAM_EPSILON = 1e-8

Moving = tuple[nn.Parameter, Tensor]  # with its gradient


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
            moving = [(parameter, parameter.grad) for parameter in group["params"] if parameter.grad is not None]
            self._move_matrices([pair for pair in moving if pair[0].ndim >= 2], group)
            self._move_vectors([pair for pair in moving if pair[0].ndim < 2], group)
        return loss

    def _move_matrices(self, moving: list[Moving], group: dict[str, Any]) -> None:
        # Starting an operation on a small matrix takes longer than the operation: those of one shape share it.
        alike: defaultdict[object, list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
        for parameter, gradient in moving:
            state = self.state[parameter]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(gradient)
            state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
            ahead = gradient.lerp(state["momentum_buffer"], group["momentum"]).flatten(1)
            alike[ahead.shape, ahead.dtype, ahead.device].append((parameter, ahead))
        for members in alike.values():
            updates = orthogonal(torch.stack([ahead for _, ahead in members]))
            rate = group["lr"] * ADAMW_RMS * max(updates.shape[1:]) ** 0.5
            for (parameter, _), update in zip(members, updates, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(update.view(parameter.shape), alpha=rate)

    def _move_vectors(self, moving: list[Moving], group: dict[str, Any]) -> None:
        states = [self.state[parameter] for parameter, _ in moving]
        for (parameter, gradient), state in zip(moving, states, strict=True):
            if not state:
                state["step"] = torch.zeros((), device=parameter.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
        adamw(
            [parameter for parameter, _ in moving],
            [gradient for _, gradient in moving],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=ADAM_EPSILON,
            maximize=False,
        )


def orthogonal(matrices: Tensor) -> Tensor:
    """Nearly the nearest matrices with orthonormal rows (or columns), [k, m, n] -> [k, m, n].

    Singular values become 0.7 to 1.2, those below a thousandth of the norm less. Newton-Schulz iteration, in which each
    step multiplies the matrix by a polynomial of its Gram matrix: the small Gram matrices are iterated, and the product
    of the polynomials is applied once. Filters, nine times as wide as high, take less than half of the multiplications
    so, square matrices a quarter more.
    """
    high = matrices.shape[1] > matrices.shape[2]
    wide = matrices.transpose(1, 2) if high else matrices
    unit: Tensor = wide / (wide.norm(dim=(1, 2), keepdim=True) + EPSILON)
    gram = unit @ unit.mT
    product = _polynomial(gram)
    step = product
    for _ in range(ITERATIONS - 1):
        gram = step @ gram @ step  # symmetric matrices that commute
        step = _polynomial(gram)
        product = step @ product
    result = product @ unit
    return result.transpose(1, 2) if high else result


def _polynomial(gram: Tensor) -> Tensor:
    a, b, c = COEFFICIENTS
    found: Tensor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    found.diagonal(dim1=1, dim2=2).add_(a)
    return found
