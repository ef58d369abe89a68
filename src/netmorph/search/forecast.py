"""How long an evolution will take, told before it begins: from a few training steps of its start network."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import nn

from netmorph.data import Dataset, Split
from netmorph.run.config import EvolveConfig
from netmorph.train.loop import train
from netmorph.workers.threads import plan_workers, set_threads

STEPS = 4
ARMS = 3  # that train as much as the children of a round
GROWN = 1.5  # a child's cost, by its parent's, in the first rounds
# The share of a budget of time that founders and a round may take. In the first round the baselines make up for the
# founders, too, one of them in a single chain of trainings.
FOUNDERS, ROUND = 0.15, 0.2


@dataclass(frozen=True)
class Forecast:
    """Seconds of the founders' training together, and of a round in the beginning."""

    founders: float
    round: float


def seconds_per_epoch(model: nn.Module, dataset: Dataset, config: EvolveConfig) -> float:
    """Of the start network, measured on a few steps, which train the model; with the threads of a worker."""
    before = torch.get_num_threads()
    few = Split(*next(iter(dataset.train.cut(min(len(dataset.train), STEPS * config.recipe.batch_size)))))
    set_threads(config.threads)
    try:
        recipe = replace(config.recipe, epochs=2, patience=None)  # the first one warms up
        _, second = train(model, replace(dataset, train=few, validation=few), recipe, device=config.device)
    finally:
        torch.set_num_threads(before)
    return second.seconds * len(dataset.train) / len(few)


def forecast(config: EvolveConfig, epoch: float, workers: int | None) -> Forecast:
    """What to expect of workers that train the start network for an epoch in so many seconds."""
    count = plan_workers(workers, config.threads).workers
    founders = math.ceil(config.founders / count) * config.start_epochs * epoch
    return Forecast(founders, ARMS * GROWN * config.children * config.recipe.epochs * epoch / count)


def shortened(
    config: EvolveConfig, epoch: float, workers: int | None, *, children: bool, founders: bool
) -> EvolveConfig:
    """The same with fewer epochs, where a round or the founders would take too much of a budget of time.

    Args:
        children: those of a child may be fewer; the founders' as well then, in proportion, if they may.
        founders: those of a founder may be fewer.
    """
    expected = forecast(config, epoch, workers)
    if children and expected.round > ROUND * config.budget.seconds:
        share = ROUND * config.budget.seconds / expected.round
        config = replace(config, recipe=replace(config.recipe, epochs=max(1, int(config.recipe.epochs * share))))
    room = FOUNDERS * config.budget.seconds
    if founders and expected.founders > room:
        fewest = min(config.recipe.epochs, config.start_epochs)
        config = replace(config, start_epochs=max(fewest, int(config.start_epochs * room / expected.founders)))
    return config
