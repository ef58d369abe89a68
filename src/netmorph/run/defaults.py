"""What a run takes where nothing is given, by what its data hold: a network and a recipe, for minutes on two cores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from netmorph.data import Columns, Dataset, Tokens
from netmorph.train.recipe import Recipe
from netmorph.zoo import MODELS

START_FACTOR = 3
START_WIDTH = 0.25
# Of an evolution: its networks are small, and trained for a short time each.
LEARNING_RATE = 5e-3
# Samples that each child of an evolution sees: an epoch of MNIST or CIFAR-10 is about two of these.
SAMPLES = 25_000
SMALL = 10_000
# What a training sees of tables (rows), in so many epochs at least and at most, and of texts (tokens).
ROWS_SEEN, FEWEST, MOST = 60_000, 10, 200
TOKENS_SEEN = 6_000_000
FEW_SAMPLES = 1000  # of a validation set: with fewer, the share of right answers tells networks badly apart
WINDOWS = 16  # of a text in a step
# What a child sees of those: rows of tables come again and again before a network has seen as many as images.
ROWS_OF_A_CHILD, TOKENS_OF_A_CHILD = 10_000, 500_000


@dataclass(frozen=True)
class Defaults:
    """What a command takes where the user gives nothing.

    Attributes:
        model: a name of `netmorph.zoo`.
        options: arguments of its constructor.
        others: arguments of the other networks of the zoo.
        recipe: how it is trained.
        smooth: whether networks are compared by smoothed scores, see `netmorph.run.EvolveConfig`.
    """

    model: str
    options: Mapping[str, Any]
    others: Mapping[str, Any]
    recipe: Recipe
    smooth: bool = False

    def network(self, model: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
        """The fields `model` and `options` of a run's config.

        Args:
            model: what the user gave, if anything.
            given: arguments of its constructor that the user gave.
        """
        model = model or self.model
        options = self.options if model == self.model else self.others if model in MODELS else {}
        return {"model": model, "options": {**options, **given}}


def for_training(dataset: Dataset) -> Defaults:
    """What `netmorph train` takes.

    Images: lenet5 and ten epochs. Tables: mlp, and as many epochs as make some thousand steps of small ones. Texts: a
    gpt of half its width and depth, and epochs for a few million tokens.
    """
    samples = len(dataset.train)
    match dataset.preparation:
        case Columns():
            epochs = min(MOST, max(FEWEST, _epochs(ROWS_SEEN, samples)))
            return Defaults("mlp", {}, {}, Recipe(epochs=epochs, batch_size=_batch_size(samples)))
        case Tokens():
            recipe = Recipe(epochs=_epochs(TOKENS_SEEN, _tokens(dataset)), batch_size=WINDOWS, learning_rate=3e-3)
            return Defaults("gpt", {"width": 0.5, "depth": 2}, {}, recipe)
        case _:
            return Defaults("lenet5", {}, {}, Recipe())


def for_evolution(dataset: Dataset) -> Defaults:
    """What `netmorph evolve` takes: the epochs are those of a child, of founders `START_FACTOR` times as many.

    Networks start at a quarter of their width. Small data take small batches and many epochs.
    """
    samples, start = len(dataset.train), {"width": START_WIDTH}
    match dataset.preparation:
        case Columns():
            recipe = Recipe(epochs=_epochs(ROWS_OF_A_CHILD, samples), batch_size=_batch_size(samples))
            found = Defaults("mlp", start, start, recipe)
        case Tokens():
            recipe = Recipe(epochs=_epochs(TOKENS_OF_A_CHILD, _tokens(dataset)), batch_size=WINDOWS)
            found = Defaults("gpt", {**start, "depth": 2}, start, recipe)
        case _:
            recipe = Recipe(epochs=_epochs(SAMPLES, samples), batch_size=_batch_size(samples))
            found = Defaults("lenet5", start, start, recipe)
    smooth = dataset.task.chooses.is_share and len(dataset.validation) < FEW_SAMPLES
    return replace(found, recipe=replace(found.recipe, learning_rate=LEARNING_RATE), smooth=smooth)


def _epochs(wanted: int, each: int) -> int:
    """So many that about so much is seen, if an epoch sees `each`."""
    return max(1, round(wanted / each))


def _batch_size(samples: int) -> int:
    return 32 if samples < SMALL else 64


def _tokens(dataset: Dataset) -> int:
    return len(dataset.train) * dataset.input_shape[0]
