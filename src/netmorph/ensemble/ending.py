"""The end of a network's training, on a schedule of its own."""

from __future__ import annotations

from dataclasses import replace

from netmorph.train.recipe import Recipe

# Of the recipe's rate. Survivors of a search come from rates that have fallen already: starting again at the top would
# unlearn first.
RATE = 0.5


def tuning(recipe: Recipe, epochs: int, rate: float = RATE) -> Recipe:
    """The recipe with which a trained network is trained on for the last time: its rate falls to zero, and the best of
    all these epochs is kept.

    Args:
        epochs: how many.
        rate: where the learning rate begins, as a share of the recipe's.
    """
    return replace(
        recipe,
        epochs=epochs,
        learning_rate=rate * recipe.learning_rate,
        schedule="cosine",
        warmup=0.0,
        patience=None,
    )
