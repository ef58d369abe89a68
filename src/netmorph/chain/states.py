"""What an agent sees of a chain so far: the features that it computes, or the layers that it is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

PROBE = 256  # samples whose features are looked at


class State(Protocol):
    """A view of a prefix, as numbers."""

    needs_features: bool
    """Whether the layers have to be run for it."""

    def __call__(self, place: Place) -> Tensor:
        """float32, of one length for all prefixes."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where a chain stands.

    Attributes:
        features: of the probe samples there, `[N, ...]`; None for a state that needs none.
        channel: the dimension of one sample's features that counts channels.
        layers: which they are, by their number among the actions.
        actions: how many there are.
        longest: the most layers.
        flops: of a sample, so far.
    """

    features: Tensor | None
    channel: int
    layers: Sequence[int]
    actions: int
    longest: int
    flops: int

    @property
    def progress(self) -> list[float]:
        """Depth and cost so far, as numbers about 1."""
        return [len(self.layers) / self.longest, math.log10(1 + self.flops) / 10]


@dataclass(frozen=True)
class Seen:
    """Mean and deviation of each channel over a probe batch, through a fixed random projection; depth and cost so far.

    Attributes:
        length: numbers of each of both projections.
        seed: draws a projection for each number of channels.
    """

    length: int = 32
    seed: int = 0
    needs_features = True

    def __call__(self, place: Place) -> Tensor:
        """float32 `[2 * length + 4]`; large numbers are compressed (asinh), and what is no number counts as 0."""
        assert place.features is not None
        channels = (
            place.features.detach().movedim(place.channel + 1, 1).flatten(2)
            if place.features.dim() > 2
            else (place.features.detach()[:, :, None])
        )
        count = channels.shape[1]
        generator = torch.Generator().manual_seed(self.seed + count)
        projection = torch.randn(self.length, count, generator=generator) / count**0.5
        statistics = [channels.mean((0, 2)), channels.std((0, 2), correction=0)]
        projected = [projection @ one.float().cpu() for one in statistics]
        sizes = [math.log10(count), math.log10(channels.shape[2])]
        whole = torch.cat([*projected, torch.tensor([*place.progress, *sizes])])
        return whole.nan_to_num(0.0, 0.0, 0.0).asinh()


@dataclass(frozen=True)
class Named:
    """The number of layers, and which layer stands at each place, one-hot; no layer has to be run for it."""

    needs_features = False

    def __call__(self, place: Place) -> Tensor:
        """float32 `[2 + longest * actions]`."""
        places = torch.zeros(place.longest, place.actions)
        for number, layer in enumerate(place.layers):
            places[number, layer] = 1
        return torch.cat([torch.tensor(place.progress), places.flatten()])


STATES: dict[str, State] = {"features": Seen(), "layers": Named()}
