"""The structures of a network that grows while it trains: what each costs, and from which step on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from netmorph.data import Dataset
from netmorph.graph import Graph
from netmorph.measure.cost import cost
from netmorph.train.editing import InLoop
from netmorph.train.fit import shrink
from netmorph.train.history import History
from netmorph.train.inputs import examples
from netmorph.train.recipe import Recipe
from netmorph.train.schedules import image_scale_at


@dataclass(frozen=True)
class Structure:
    """What a network costs from some step of its training on.

    Attributes:
        done: the steps before.
        parameters: of the network.
        training_flops: FLOPs of one sample's forward and backward pass, epoch by epoch from the first one: images may
            grow, too.
    """

    done: int
    parameters: int
    training_flops: tuple[int, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @staticmethod
    def from_json(told: Mapping[str, Any]) -> Structure:
        """The structure that `as_json` told of."""
        return Structure(told["done"], told["parameters"], tuple(told["training_flops"]))


def structure_of(model: nn.Module, dataset: Dataset, recipe: Recipe, done: int = 0) -> Structure:
    """What the network costs as it is now."""
    inputs = examples(dataset, model, 2)
    scales = [image_scale_at(recipe, epoch) for epoch in range(1, recipe.epochs + 1)]
    prices = {scale: cost(model, shrink(inputs, scale)) for scale in dict.fromkeys(scales)}
    return Structure(done, prices[scales[-1]].parameters, tuple(prices[scale].training_flops for scale in scales))


def noting(edit: InLoop, dataset: Dataset, recipe: Recipe, note: Callable[[Structure], object]) -> InLoop:
    """The same edits; each new structure is noted."""

    def edited(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
        after = edit(graph, history, optimizer)
        if after is not graph:
            note(structure_of(after.model, dataset, recipe, history.done))
        return after

    return edited


def training_flops(structures: Sequence[Structure], samples: int, steps: int, epochs: int) -> list[int]:
    """FLOPs of each of so many epochs, of so many samples and steps each.

    Args:
        structures: in their order; the first one from step 0 on.
    """
    ends = [*(structure.done for structure in structures), epochs * steps]
    spent = [0] * epochs
    for structure, (begin, end) in zip(structures, pairwise(ends), strict=True):
        for epoch in range(begin // steps, min(epochs, -(-end // steps))):
            own = min(end, (epoch + 1) * steps) - max(begin, epoch * steps)
            spent[epoch] += structure.training_flops[epoch] * samples * own // steps
    return spent
