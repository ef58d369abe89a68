"""What changes from step to step: learning rates, and the size of images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a recipe looks its names up here
    from netmorph.train.recipe import Recipe


def steps_per_epoch(samples: int, batch_size: int, processes: int = 1) -> int:
    """Training steps of one pass over so many samples.

    A last batch of a single sample for each process is left out: batch normalization cannot train on one.
    """
    full, rest = divmod(samples, batch_size)
    return max(1, full + int(rest >= 2 * processes))


def steps_until(share: float, steps: int) -> int:
    """How many of all steps are done when this share of them is: the fewest that are not less of them."""
    done = math.ceil(share * steps)
    while (done - 1) / steps >= share:
        done -= 1
    while done / steps < share:
        done += 1
    return done


def learning_rate_at(recipe: Recipe, progress: float) -> float:
    """The learning rate when `progress`, from 0 to 1, of all steps are done.

    A function of the progress alone: nothing to store, and nothing to repair when parameter groups change.
    """
    if progress < recipe.warmup:
        return recipe.learning_rate * progress / recipe.warmup
    after = (progress - recipe.warmup) / (1 - recipe.warmup)
    return recipe.learning_rate * SCHEDULES[recipe.schedule](after, recipe)


def learning_rate_of(recipe: Recipe, epoch: int, step: int, steps: int) -> float:
    """The learning rate of a step, from 0, of an epoch, from 1, that has so many."""
    return learning_rate_at(recipe, (epoch - 1 + step / steps) / recipe.epochs)


def image_scale_at(recipe: Recipe, epoch: int) -> float:
    """The side of the training images in an epoch, from 1, as a share of their own side.

    The same for all steps of an epoch, because kernels are prepared anew for every shape. It is 1 in the last one.
    """
    full = min(math.ceil(recipe.epochs * 2 / 3), recipe.epochs - 1)
    return 1.0 if epoch > full else recipe.first_size + (1 - recipe.first_size) * (epoch - 1) / full


def scaled_side(side: int, scale: float) -> int:
    """A side of an image, in pixels, at a scale that `image_scale_at` gives."""
    return max(1, round(side * scale))


def _constant(progress: float, recipe: Recipe) -> float:
    return 1.0


def _linear(progress: float, recipe: Recipe) -> float:
    return 1 - progress


def _cosine(progress: float, recipe: Recipe) -> float:
    return (1 + math.cos(math.pi * progress)) / 2


def _stable(progress: float, recipe: Recipe) -> float:
    # Warm-up, stable, decay: S. Hu et al., MiniCPM, arXiv 2404.06395, section 4; linear to zero as in arXiv 2405.18392.
    return min(1.0, (1 - progress) * (1 - recipe.warmup) / recipe.decay_share)


def _step(progress: float, recipe: Recipe) -> float:
    # A tenth after one half, a hundredth after three quarters.
    return 0.1 ** (int(progress >= 0.5) + int(progress >= 0.75))


# From the progress after the warm-up, 0 to 1, to a factor of the learning rate.
SCHEDULES: dict[str, Callable[[float, Recipe], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "step": _step,
    "stable": _stable,
}
