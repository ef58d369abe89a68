"""What gradients tell of a layer at its place in a chain, by the index of each weight: slope, trend and importance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

ByIndex = dict[str, Tensor]  # of each parameter of a layer, by its name, float32 and as large as the parameter
DESCRIBED = 4  # numbers of `described`


class Told(NamedTuple):
    """The gradients of a layer as few numbers.

    Attributes:
        slope: root of the mean square of the slopes: how much the loss falls if the weights move.
        trend: by how much of its mean the slope changes from the first look to the last; -2 if it comes to nothing.
        importance: the sum over all weights: how much of the loss hangs on the layer, whatever units its weights have.
    """

    slope: float
    trend: float
    importance: float


@dataclass(frozen=True, eq=False)
class Gradients:
    """Of one layer at one place, over some looks: batches, each after a step along the gradient of the one before.

    Attributes:
        slope: the mean gradient of the loss.
        trend: by how much the gradient changes from look to look, by least squares.
        importance: the mean of `|weight * gradient|`, the change in loss if the weight were zero, to first order
            (P. Molchanov et al., Importance estimation for neural network pruning, 2019).
        looks: how many.
    """

    slope: ByIndex
    trend: ByIndex
    importance: ByIndex
    looks: int

    @property
    def told(self) -> Told:
        """As few numbers."""
        slope, trend = _flat(self.slope), _flat(self.trend)
        square = float(slope.square().sum())
        change = float((slope * trend).sum()) * (self.looks - 1) / square if square else 0.0
        return Told(math.sqrt(square / max(1, len(slope))), change, float(_flat(self.importance).sum()))

    @staticmethod
    def mean(several: Iterable[Gradients]) -> Gradients:
        """Of the same layer in several chains, each counting alike."""
        found = list(several)

        def of(parts: list[ByIndex]) -> ByIndex:
            return {name: torch.stack([part[name] for part in parts]).mean(0) for name in parts[0]}

        slope, trend, importance = ([getattr(one, kind) for one in found] for kind in ("slope", "trend", "importance"))
        return Gradients(of(slope), of(trend), of(importance), max(one.looks for one in found))


class Watch:
    """Sums up the gradients of a layer look after look; it holds three numbers for each weight."""

    def __init__(self, layer: nn.Module) -> None:
        self._layer, self._looks = layer, 0
        zeros = {name: torch.zeros_like(weight) for name, weight in layer.named_parameters()}
        self._sum, self._by_look, self._importance = zeros, _copied(zeros), _copied(zeros)

    @torch.no_grad()
    def look(self) -> None:
        """Take in the gradients that a backward pass left. Of a weight that has none they are zero."""
        for name, weight in self._layer.named_parameters():
            if weight.grad is not None:
                self._sum[name] += weight.grad
                self._by_look[name] += self._looks * weight.grad
                self._importance[name] += (weight * weight.grad).abs()
        self._looks += 1

    @property
    def seen(self) -> Gradients:
        """All looks so far, at least one."""
        count = self._looks
        middle, spread = (count - 1) / 2, count * (count**2 - 1) / 12  # of the numbers of the looks
        slope = {name: total.float().cpu() / count for name, total in self._sum.items()}
        tilt = {name: total.float().cpu() - middle * count * slope[name] for name, total in self._by_look.items()}
        trend = {name: one / spread if spread else torch.zeros_like(one) for name, one in tilt.items()}
        return Gradients(
            slope, trend, {name: one.float().cpu() / count for name, one in self._importance.items()}, count
        )


def described(sums: tuple[float, ...]) -> list[float]:
    """What an agent is told of a layer: whether its gradients were seen, and their means; zeros if they were not.

    Args:
        sums: of what `small` gave, over all chains in which they were seen.
    """
    return [value / sums[0] for value in sums] if sums[0] else list(sums)


def small(told: Told) -> tuple[float, ...]:
    """`DESCRIBED` numbers of about 1, the first one 1: of slope and importance the order of magnitude counts."""
    return 1.0, math.log10(told.slope + 1e-8) / 8, math.tanh(told.trend), math.log10(told.importance + 1e-8) / 8


def as_tensors(seen: Mapping[tuple[str, int], Gradients]) -> dict[str, Tensor]:
    """For a file, by `ENTRY/PLACE/PARAMETER/slope` and so on; the first place is 1.

    Args:
        seen: by the id of a layer and the number of layers in front of it.
    """
    return {
        f"{id}/{place + 1}/{name}/{kind}": tensor
        for (id, place), one in seen.items()
        for kind, by_index in (("slope", one.slope), ("trend", one.trend), ("importance", one.importance))
        for name, tensor in by_index.items()
    }


def _flat(by_index: ByIndex) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in by_index.values()]).double() if by_index else torch.zeros(0)


def _copied(zeros: ByIndex) -> ByIndex:
    return {name: tensor.clone() for name, tensor in zeros.items()}
