"""A moving average of the weights of a network in training."""

import copy
import itertools

import torch
from torch import nn

# So the first steps, from random weights, are forgotten: after n steps the average reaches back n / 9 at most.
WARMUP = 9


class MovingAverage:
    """An exponential moving average of a model's parameters and buffers, in a model of its own.

    Counters and other integers are copied. The decay starts low, (1 + n) / (10 + n) after n steps, and rises to
    the one given, as in TensorFlow's `ExponentialMovingAverage`.

    Source: B. Polyak and A. Juditsky, Acceleration of stochastic approximation by averaging, 1992.

    Attributes:
        model: holds the average.
        steps: how many updates it has had.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.steps = 0
        self._decay = decay
        self._pairs = [
            (own.detach(), other.detach()) for own, other in zip(_tensors(self.model), _tensors(model), strict=True)
        ]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's present weights."""
        decay = min(self._decay, (1 + self.steps) / (1 + WARMUP + self.steps))
        floating = [(own, other) for own, other in self._pairs if own.is_floating_point()]
        torch._foreach_lerp_([own for own, _ in floating], [other for _, other in floating], 1 - decay)
        for own, other in self._pairs:
            if not own.is_floating_point():
                own.copy_(other)
        self.steps += 1


def _tensors(model: nn.Module) -> "itertools.chain[torch.Tensor]":
    return itertools.chain(model.parameters(), model.buffers())
