"""A model of scores that is fitted on the search's own records, and the moves that it expects most of.

A Gaussian process with the kernel `exp(-distance / length)`, distance being the sum of the features' differences: each
feature acts on its own where the length is great, and with the others where it is small. As costs are known before any
training, the expected growth of the front's hypervolume has a closed form: the strip between two neighbours of the
front is an expected improvement over the lower one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from netmorph.policy.searches import Parents, at_random, front
from netmorph.policy.spaces import Judged, Move, Space

Point = TypeVar("Point", bound=Hashable)
NOISES = (1e-3, 1e-2, 1e-1, 0.5)  # variances beside the kernel's 1
MARGIN = 0.5
TINY = 1e-12


# -- the model --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fitted:
    """A Gaussian process, given what was judged. Scores are standardized inside.

    Attributes:
        inputs: features of what was judged, `[judged, features]`.
        length: of the kernel.
        noise: of the values, as a variance beside the kernel's 1.
        scale: the standard deviation of the process.
        spectrum, vectors: of the kernel matrix, the noise added: `[judged]`, `[judged, judged]`.
        weights: of the kernel's columns in the mean, `[judged]`.
        mean, deviation: of the values that were given.
    """

    inputs: Tensor
    length: float
    noise: float
    scale: float
    spectrum: Tensor
    vectors: Tensor
    weights: Tensor
    mean: float
    deviation: float

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation at some points, `[points]` each, of `[points, features]`."""
        kernel = torch.exp(-torch.cdist(inputs, self.inputs, p=1) / self.length)
        known = ((kernel @ self.vectors).square() / self.spectrum).sum(1)
        spread = self.deviation * self.scale * (1 - known).clamp(min=1e-9).sqrt()
        return self.mean + self.deviation * (kernel @ self.weights), spread


def fit(inputs: Tensor, values: Tensor) -> Fitted:
    """The process whose noise makes the values most likely; its length is twice the mean distance of the points.

    Args:
        inputs: `[judged, features]`, float64.
        values: `[judged]`, float64.
    """
    mean, deviation = float(values.mean()), float(values.std(correction=0)) + TINY
    distances = torch.cdist(inputs, inputs, p=1)
    length = 2 * float(distances.mean()) + TINY
    spectrum, vectors = torch.linalg.eigh(torch.exp(-distances / length))
    turned = vectors.T @ ((values - mean) / deviation)

    def likelihood(noise: float) -> float:  # up to a constant, at the best scale
        noisy = spectrum.clamp(min=0) + noise
        return -float(len(values) * (turned.square() / noisy).mean().log() + noisy.log().sum())

    noise = max(NOISES, key=likelihood)
    spectrum = spectrum.clamp(min=0) + noise
    scale = math.sqrt(float((turned.square() / spectrum).mean()) + TINY)
    weights = vectors @ (turned / spectrum)
    return Fitted(inputs, length, noise, scale, spectrum, vectors, weights, mean, deviation)


def below_the_best(scores: Tensor) -> Tensor:
    """Scores on a scale on which half the distance to the best is always worth the same, rising with them; `[judged]`.

    Without it what is far too bad takes all of a model's attention. The distance counts from a little above the best.
    """
    best = scores.max()
    return torch.log(best - scores + MARGIN * (best - scores.median()) + TINY).neg()


# -- what is expected of a point --------------------------------------------------------------------------------------

# Means, deviations and costs of candidates, values and costs of what was judged -> how much good each candidate does.
Gain = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def improvement(means: Tensor, deviations: Tensor, over: Tensor) -> Tensor:
    """The expectation of what a normal value is above `over`, 0 where it is not."""
    z = (means - over) / deviations
    below: Tensor = torch.special.ndtr(z)
    return deviations * (z * below + torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi))


def best_gain(means: Tensor, deviations: Tensor, costs: Tensor, values: Tensor, paid: Tensor) -> Tensor:
    """The expected improvement over the best, whatever it costs."""
    return improvement(means, deviations, values.max())


def front_gain(means: Tensor, deviations: Tensor, costs: Tensor, values: Tensor, paid: Tensor) -> Tensor:
    """The expected growth of the hypervolume: from the lowest value, up to the highest cost of all here."""
    order = torch.argsort(paid)
    heights, steps = torch.cummax(values[order], 0).values, paid[order]
    higher = torch.cat([torch.tensor([True]), heights[1:] > heights[:-1]])
    heights, steps = torch.cat([values.min()[None], heights[higher]]), steps[higher]
    ends = torch.cat([steps, torch.maximum(paid.max(), costs.max())[None]])
    begins = torch.cat([costs.min()[None], steps])
    widths = (ends - torch.maximum(costs[:, None], begins)).clamp(min=0)
    return (widths * improvement(means[:, None], deviations[:, None], heights)).sum(1)


# -- the policy -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Surrogate:
    """The moves of which the most is expected, out of many that are drawn from the parents.

    Attributes:
        parents: where moves are drawn from.
        gain: what is expected of a point.
        pace: how many points are asked for at once, as a share of those judged; at least one.
        candidates: moves drawn for each fit.
        steps: moves in a row, at most, between a parent and a candidate; one to so many, evenly.
    """

    parents: Parents = front
    gain: Gain = front_gain
    pace: float = 0.1
    candidates: int = 200
    steps: int = 2

    def __call__(
        self, space: Space[Point], judged: Sequence[Judged[Point]], generator: np.random.Generator
    ) -> list[Move[Point]]:
        """See `netmorph.policy.spaces.Policy`."""
        drawn = self._drawn(space, judged, generator)
        if not drawn:
            return at_random(space, judged, generator)
        inputs, values = _told(space, judged)
        model = fit(inputs, values)
        means, deviations = model(_features(space, [move.to for move in drawn]))
        costs = torch.tensor([space.cost(move.to) for move in drawn], dtype=torch.float64)
        paid = torch.tensor([one.cost for one in judged], dtype=torch.float64)
        chosen: list[int] = []
        for _ in range(min(len(drawn), max(1, int(self.pace * len(judged))))):
            gains = self.gain(means, deviations, costs, values, paid)
            gains[chosen] = -1.0
            chosen.append(int(gains.argmax()))
            # The next is chosen as if this one were what is expected of it.
            values, paid = torch.cat([values, means[chosen[-1:]]]), torch.cat([paid, costs[chosen[-1:]]])
        return [drawn[index] for index in chosen]

    def _drawn(
        self, space: Space[Point], judged: Sequence[Judged[Point]], generator: np.random.Generator
    ) -> list[Move[Point]]:
        """Different points that were not judged yet, each with the last of the moves that lead to it."""
        seen, parents = {one.point for one in judged}, self.parents(judged)
        drawn: dict[Point, Move[Point]] = {}
        for parent, steps in zip(
            generator.integers(len(parents), size=self.candidates),
            generator.integers(1, self.steps + 1, size=self.candidates),
            strict=True,
        ):
            point = judged[parents[parent]].point
            for _ in range(steps):
                for move in islice(space.moves(point, generator), 1):
                    point = move.to
            if point not in seen:
                drawn.setdefault(point, move)
        return [*drawn.values()]


def smoothed(space: Space[Point], judged: Sequence[Judged[Point]]) -> Judged[Point]:
    """The one that a model of all scores thinks best: where scores are noisy, the highest is often a lucky one."""
    inputs, values = _told(space, judged)
    means, _ = fit(inputs, values)(inputs)
    return judged[int(means.argmax())]


def _told(space: Space[Point], judged: Sequence[Judged[Point]]) -> tuple[Tensor, Tensor]:
    """Features and values of what was judged, for a fit."""
    scores = torch.tensor([one.score for one in judged], dtype=torch.float64)
    return _features(space, [one.point for one in judged]), below_the_best(scores)


def _features(space: Space[Point], points: Sequence[Point]) -> Tensor:
    return torch.from_numpy(np.stack([space.features(point) for point in points]))
