"""Random networks of the study: perceptrons with and without skip connections, and how each is trained."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from netmorph.train import Recipe

BATCHES = (16, 64)
# From which learning rates and weight decays are drawn, evenly on a logarithmic scale. The decay of adamw is decoupled
# from the gradient: to shrink weights as fast as that of sgd it has to be larger.
RATES = {"sgd": (0.003, 0.02), "adamw": (3e-4, 2e-3)}
DECAYS = {"sgd": (1e-4, 1e-2), "adamw": (1e-3, 0.3)}


@dataclass(frozen=True)
class Architecture:
    """A network, and how it is trained.

    Attributes:
        widths: units of each hidden layer; all alike with skip connections.
        skips: whether each hidden layer but the first adds what came in to what it puts out.
    """

    widths: tuple[int, ...]
    skips: bool
    batch_size: int
    learning_rate: float
    weight_decay: float
    optimizer: str

    @property
    def noise(self) -> float:
        """B / (mu lambda): batch size over learning rate and weight decay; infinite without decay.

        Under SGD with weight decay the rank of a layer is bounded by a multiple of it (Galanti et al., arXiv
        2206.05794).
        """
        pace = self.learning_rate * self.weight_decay
        return self.batch_size / pace if pace > 0 else math.inf

    @property
    def kind(self) -> tuple[int, bool, int, str]:
        """What networks have in common that can be trained as one stacked batch: all but widths, rate and decay."""
        return len(self.widths), self.skips, self.batch_size, self.optimizer

    def recipe(self, epochs: int) -> Recipe:
        """At a constant learning rate, so that the loss saturates because of the network, not of the schedule."""
        return Recipe(
            epochs=epochs,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            nesterov=False,
            schedule="constant",
        )

    def build(self, input_shape: Sequence[int], classes: int, seed: int) -> nn.Module:
        """The network with the weights of a seed."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return perceptron(math.prod(input_shape), classes, self.widths, self.skips)


class Layer(nn.Module):
    """A linear layer with ReLU; what came in is added where it skips."""

    def __init__(self, inputs: int, outputs: int, skips: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.skips = skips

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs] -> [N, outputs]."""
        result = functional.relu(self.linear(x))
        return x + result if self.skips else result


def perceptron(inputs: int, classes: int, widths: Sequence[int], skips: bool = False) -> nn.Sequential:
    """Hidden layers of these widths, and a linear classifier; with `skips`, widths are all the same."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for number, (before, width) in enumerate(zip((inputs, *widths), widths, strict=False), start=1):
        layers[f"layer{number}"] = Layer(before, width, skips and number > 1)
    layers["head"] = nn.Linear(widths[-1], classes)
    return nn.Sequential(layers)


def draw(count: int, widths: tuple[int, int], depths: tuple[int, int], seed: int) -> list[Architecture]:
    """Random networks.

    Args:
        widths: the smallest and the largest width of a hidden layer; drawn evenly on a logarithmic scale.
        depths: the smallest and the largest number of hidden layers.
    """
    random = np.random.default_rng(seed)

    def between(low: float, high: float) -> float:
        return float(f"{math.exp(random.uniform(math.log(low), math.log(high))):.4g}")

    found = []
    for _ in range(count):
        depth, skips = int(random.integers(depths[0], depths[1] + 1)), bool(random.integers(2))
        optimizer = tuple(RATES)[int(random.integers(len(RATES)))]
        own = [round(between(*widths)) for _ in range(depth)]
        found.append(
            Architecture(
                widths=(own[0],) * depth if skips else tuple(own),
                skips=skips,
                batch_size=BATCHES[int(random.integers(len(BATCHES)))],
                learning_rate=between(*RATES[optimizer]),
                weight_decay=between(*DECAYS[optimizer]),
                optimizer=optimizer,
            )
        )
    return found
