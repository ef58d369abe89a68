"""N networks of one shape as one: their tensors stacked, called together and moved together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from netmorph.train.optimizers import OPTIMIZERS
from netmorph.train.recipe import Recipe

# Whether weight decay is apart from the gradient that the optimizer sees.
DECOUPLED = {"sgd": False, "adam": False, "adamw": True}


@dataclass(frozen=True)
class Stack:
    """Networks of one shape.

    Attributes:
        template: one of the networks; only its code and its mode are used, never its tensors.
        parameters: by name, each network's [N, ...]; leaves that require gradients as in the networks.
        buffers: by name, each network's [N, ...].
    """

    template: nn.Module
    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]

    @classmethod
    def of(cls, models: Sequence[nn.Module]) -> Stack:
        """Copies of the tensors of networks that have the same ones."""
        parameters = [dict(model.named_parameters()) for model in models]
        buffers = [dict(model.named_buffers()) for model in models]
        return cls(
            models[0],
            {
                name: torch.stack([each[name].detach() for each in parameters]).requires_grad_(like.requires_grad)
                for name, like in parameters[0].items()
            },
            {name: torch.stack([each[name] for each in buffers]) for name in buffers[0]},
        )

    def __len__(self) -> int:
        """How many networks."""
        return len(next(iter(self.parameters.values())))

    @property
    def like(self) -> Tensor:
        """A tensor with the device and dtype of the input: the first floating parameters."""
        return next(tensor for tensor in self.parameters.values() if tensor.is_floating_point())

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All parameters and buffers, without gradients."""
        return {name: tensor.detach() for name, tensor in (self.parameters | self.buffers).items()}

    def __call__(self, inputs: Tensor, *, shared: bool = False) -> Tensor:
        """The outputs [N, B, ...], in the template's mode; running statistics move in train mode.

        Args:
            inputs: each network's [N, B, ...], or `shared` by all [B, ...].
        """

        def forward(parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor) -> Tensor:
            result: Tensor = functional_call(self.template, (parameters, buffers), (inputs,))
            return result

        batched = vmap(forward, in_dims=(0, 0, None if shared else 0), randomness="different")
        result: Tensor = batched(self.parameters, self.buffers, inputs)
        return result


class StackedOptimizer:
    """One of torch's optimizers for stacked networks, each with its own learning rate and weight decay.

    What these optimizers add to a weight is the learning rate times something that does not depend on it. So a single
    optimizer runs with a rate of one, over zeros, which become that something for all networks; each network's rate
    and weight decay are applied here.

    Args:
        stack: its parameters that require gradients are moved.
        recipes: one a network, alike in what concerns the optimizer but the rate and the weight decay.
    """

    def __init__(self, stack: Stack, recipes: Sequence[Recipe]) -> None:
        self._weights = [weight for weight in stack.parameters.values() if weight.requires_grad]
        self._moves = [nn.Parameter(torch.zeros_like(weight)) for weight in self._weights]
        plain = replace(recipes[0], learning_rate=1.0, weight_decay=0.0)
        self._optimizer = OPTIMIZERS[plain.optimizer](self._moves, plain)
        self._decoupled = DECOUPLED[plain.optimizer]
        decays = [recipe.decay for recipe in recipes]
        device = self._weights[0].device
        self._decays = torch.tensor(decays, dtype=torch.float64, device=device) if any(decays) else None
        self._clip_norm = plain.clip_norm

    @torch.no_grad()
    def step(self, rates: Tensor) -> None:
        """Move the weights by their gradients, and let these go.

        Args:
            rates: the learning rate of each network, float64 [N] on the device of the weights.
        """
        moved = [
            (weight, weight.grad, move)
            for weight, move in zip(self._weights, self._moves, strict=True)
            if weight.grad is not None
        ]
        if self._clip_norm is not None:
            _clip([gradient for _, gradient, _ in moved], self._clip_norm)
        for weight, gradient, move in moved:
            if self._decays is not None and self._decoupled:
                weight.mul_(_along(1 - rates * self._decays, weight))
            elif self._decays is not None:
                gradient.addcmul_(weight, _along(self._decays, weight))
            move.zero_()
            move.grad = gradient
        self._optimizer.step()
        for weight, _, move in moved:
            weight.addcmul_(move, _along(rates, weight))
            weight.grad = move.grad = None


def _clip(gradients: Sequence[Tensor], clip_norm: float) -> None:
    """Like `torch.nn.utils.clip_grad_norm_`, for each network by itself."""
    norms = torch.stack([gradient.reshape(len(gradient), -1).norm(dim=1) for gradient in gradients]).norm(dim=0)
    factors = (clip_norm / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(_along(factors, gradient))


def _along(numbers: Tensor, stacked: Tensor) -> Tensor:
    """One number for each network, to broadcast over its entries."""
    return numbers.to(stacked.dtype).view(-1, *[1] * (stacked.dim() - 1))
