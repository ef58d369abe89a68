"""Random splits that keep every class in every part: pure functions of labels and a generator."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from netmorph.data.dataset import DataError


def hold_out(labels: Tensor, fraction: float, classes: Sequence[str], generator: Generator) -> tuple[Tensor, Tensor]:
    """Hold a fraction of every class out, at random: at least one image a class, and never all of them.

    Args:
        labels: int64 [N].
        fraction: of each class, 0 (nothing is held out) to 1, both ends as limits.
        classes: names by label, for the message.
        generator: on the CPU.

    Returns:
        The indices kept and those held out, each ascending.

    Raises:
        DataError: a class with a single image, which cannot lie on both sides.
    """
    counts = torch.bincount(labels)
    quota = torch.zeros_like(counts)
    if fraction > 0:
        lonely = (counts == 1).nonzero().flatten().tolist()
        if lonely:
            raise DataError(
                f"cannot split images of class {classes[lonely[0]]!r}: only one is left; every class needs "
                "an image each for training and validation, and for test where that is not published apart"
            )
        quota = (counts * fraction).round().long().clamp(min=1).minimum(counts - 1)
    held = _rank_in_class(labels, generator) < quota[labels]
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def balanced_subset(labels: Tensor, count: int, generator: Generator) -> Tensor:
    """The ascending indices of `count` random images, as evenly over the classes as they allow.

    160 images of ten classes are 16 a class. From the same generator state a smaller subset lies in a larger.
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    rank = _rank_in_class(labels, generator)
    return shuffled[rank[shuffled].argsort(stable=True)][:count].sort().values


def _rank_in_class(labels: Tensor, generator: Generator) -> Tensor:
    """Deal the images of each class out in random order: the place of every image in its class [N]."""
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    counts = torch.bincount(labels)
    first = counts.cumsum(0) - counts
    rank = torch.empty_like(by_class)
    rank[by_class] = torch.arange(len(labels)) - first[labels[by_class]]
    return rank
