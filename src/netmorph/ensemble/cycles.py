"""One training that leaves several networks: its learning rate falls and starts again."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn

from netmorph.data import Dataset
from netmorph.ensemble.selection import EnsembleError
from netmorph.train.loop import train
from netmorph.train.optimizers import build_optimizer
from netmorph.train.recipe import Recipe


def snapshots(
    model: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    cycles: int,
    *,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> list[nn.Module]:
    """Train a model in place, in cycles of the learning rate, and keep a copy from the end of each.

    In each cycle the rate falls from the recipe's to zero along half a cosine; the next one throws the network out of
    the minimum that it has reached. A copy is of the best epoch of its cycle on the validation part, which as a rule is
    the last, and the next cycle goes on from there.

    Source: G. Huang et al., Snapshot ensembles: train 1, get M for free, 2017.

    Args:
        recipe: its epochs are those of all cycles together; its schedule, warm-up and patience are not used.
        cycles: how many; each gets as many epochs.
        seed: of the first cycle; the others count on.

    Returns:
        The copies, the last one equal to the model.

    Raises:
        EnsembleError: the epochs cannot be shared equally.
        NetmorphError: see `netmorph.train.train`.
    """
    if cycles < 1 or recipe.epochs % cycles:
        raise EnsembleError(f"{recipe.epochs} epochs cannot be shared equally by {cycles} cycles; give a multiple")
    cycle = replace(recipe, epochs=recipe.epochs // cycles, schedule="cosine", warmup=0.0, patience=None)
    optimizer = build_optimizer(model, cycle)
    kept = []
    for number in range(cycles):
        train(model, dataset, cycle, seed=seed + number, device=device, optimizer=optimizer)
        kept.append(copy.deepcopy(model))
    return kept
