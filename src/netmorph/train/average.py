"""A moving average of the weights of a network in training."""

import copy
from itertools import compress

import torch
from torch import Tensor, nn

from netmorph.lazy import check_sized

# So the first steps, from random weights, are forgotten: after n steps the average reaches back n / 9 at most.
WARMUP = 9


class MovingAverage:
    """An exponential moving average of a model's parameters and buffers, in a model of its own.

    Counters and other integers are copied. The decay starts low, (1 + n) / (10 + n) after n steps, and rises to
    the one given, as in TensorFlow's `ExponentialMovingAverage`.

    `torch.optim.swa_utils.AveragedModel` would not do: it counts its updates in a tensor and reads it in each of them,
    which waits for an accelerator, and it averages counters, too, or no buffer at all.

    Source: B. Polyak and A. Juditsky, Acceleration of stochastic approximation by averaging, 1992.

    Attributes:
        model: holds the average.
        steps: how many updates it has had.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        check_sized(model)
        self.model = copy.deepcopy(model)
        self.steps = 0
        self._decay = decay
        self._source = model
        self.look_up()

    def look_up(self) -> None:
        """Look up the parameters and buffers of both models again, after the same edit was made on both."""
        model = self._source
        self.model.requires_grad_(False)
        self._own = list(self.model.parameters())
        self._followed = list(model.parameters())
        # By name, because a module may put another tensor in the place of a buffer in each forward.
        places = [name.rpartition(".") for name, _ in model.named_buffers()]
        self._buffers = [(self.model.get_submodule(path), model.get_submodule(path), name) for path, _, name in places]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's present weights."""
        mine: list[Tensor] = [*self._own, *(getattr(module, name) for module, _, name in self._buffers)]
        theirs: list[Tensor] = [*self._followed, *(getattr(module, name) for _, module, name in self._buffers)]
        decay = min(self._decay, (1 + self.steps) / (1 + WARMUP + self.steps))
        floating = [tensor.is_floating_point() for tensor in mine]
        torch._foreach_lerp_(list(compress(mine, floating)), list(compress(theirs, floating)), 1 - decay)
        for own, other, is_floating in zip(mine, theirs, floating, strict=True):
            if not is_floating:
                own.copy_(other)
        self.steps += 1
