"""Mixup and CutMix: training images made of two, with targets to match. Functions of whole batches, on any device."""

import math

import numpy as np
from torch import Tensor


def mixup(images: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Blend every image, and its target, with its neighbour in the batch.

    Source: H. Zhang et al., mixup: beyond empirical risk minimization, 2018.

    Args:
        images: floating [B, C, H, W], in random order.
        targets: floating [B, classes], probabilities.
        share: of the image itself, 0 to 1; the neighbour has the rest.

    Returns:
        Images and targets of the same shapes.
    """
    return images.roll(1, 0).lerp(images, share), targets.roll(1, 0).lerp(targets, share)


def cutmix(images: Tensor, targets: Tensor, box: tuple[slice, slice]) -> tuple[Tensor, Tensor]:
    """Paste a box of its neighbour in the batch into every image; targets are mixed by the areas.

    Source: S. Yun et al., CutMix: regularization strategy to train strong classifiers, 2019.

    Args:
        images: [B, C, H, W], in random order.
        targets: floating [B, classes], probabilities.
        box: rows and columns that are pasted.

    Returns:
        Images and targets of the same shapes.
    """
    rows, columns = box
    mixed = images.clone()
    mixed[:, :, rows, columns] = images.roll(1, 0)[:, :, rows, columns]
    pasted = (rows.stop - rows.start) * (columns.stop - columns.start)
    kept = 1 - pasted / (images.shape[2] * images.shape[3])
    return mixed, targets.roll(1, 0).lerp(targets, kept)


def random_box(height: int, width: int, share: float, generator: np.random.Generator) -> tuple[slice, slice]:
    """A box of the image's proportions whose area is `1 - share` of it, with its centre anywhere; cut at the border."""
    scale = math.sqrt(1 - share)
    return _stretch(height, scale, generator), _stretch(width, scale, generator)


def _stretch(length: int, scale: float, generator: np.random.Generator) -> slice:
    centre, half = int(generator.integers(length)), round(length * scale) // 2
    return slice(max(0, centre - half), min(length, centre + half))
