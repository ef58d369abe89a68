"""Random splits that keep every class in every part: pure functions of targets and a generator."""

from collections.abc import Mapping, Sequence
from typing import Protocol, Self, TypeVar

import torch
from torch import Generator, Tensor

from netmorph.data.dataset import DataError
from netmorph.seeds import generator_of

TEST_FRACTION = 0.2


class Selectable(Protocol):
    """Samples of which some can be picked."""

    @property
    def targets(self) -> Tensor:
        """Labels int64 [N], or values [N, ...]."""

    def select(self, indices: Tensor) -> Self:
        """The samples at `indices` (int64 [M]), in that order."""


Samples = TypeVar("Samples", bound=Selectable)


def split_parts(
    published: Mapping[str, Samples],
    classes: Sequence[str],
    seed: int,
    validation: float,
    train_size: int | None,
) -> tuple[Samples, Samples, Samples]:
    """Train, validation and test; what was not published apart is held out of the train samples, class by class.

    Args:
        published: "train", and "validation" and "test" where they exist.
        classes: names by label; none where targets are values, which are held out at random.
        seed: decides what is held out.
        validation: the fraction held out for validation; for test it is `TEST_FRACTION`.
        train_size: keep so many train samples, evenly over the classes; None keeps all.

    Raises:
        DataError: a class with too few samples, too few samples at all, or a `train_size` out of range.
    """

    def groups(samples: Samples) -> Tensor:
        return samples.targets if classes else torch.zeros(len(samples.targets), dtype=torch.long)

    generator = generator_of(seed)
    parts = dict(published)
    # The test split comes first: neither `validation` nor `train_size` changes it.
    for part, fraction in (("test", TEST_FRACTION), ("validation", validation)):
        if part not in parts:
            kept, held = hold_out(groups(parts["train"]), fraction, classes, generator)
            parts[part], parts["train"] = parts["train"].select(held), parts["train"].select(kept)
    train = parts["train"]
    if train_size is not None:
        least = f"{len(classes)}, one sample a class," if classes else "1"
        if not max(1, len(classes)) <= train_size <= len(train.targets):
            raise DataError(
                f"train_size must be between {least} and {len(train.targets)}, all train samples that validation and "
                f"test leave; got {train_size}"
            )
        train = train.select(balanced_subset(groups(train), train_size, generator))
    return train, parts["validation"], parts["test"]


def check_fraction(validation: float) -> None:
    """Refuse what is no fraction.

    Raises:
        DataError: it is below 0, or not below 1.
    """
    if not isinstance(validation, int | float) or not 0 <= validation < 1:
        raise DataError(f"validation must be a fraction of at least 0 and below 1, got {validation!r}")


def hold_out(labels: Tensor, fraction: float, classes: Sequence[str], generator: Generator) -> tuple[Tensor, Tensor]:
    """Hold a fraction of every class out, at random: at least one sample a class, and never all of them.

    Args:
        labels: int64 [N].
        fraction: of each class, 0 (nothing is held out) to 1, both ends as limits.
        classes: names by label, for the message; none where all are of one group without a name.
        generator: on the CPU.

    Returns:
        The indices kept and those held out, each ascending.

    Raises:
        DataError: a class with a single sample, which cannot lie on both sides.
    """
    counts = torch.bincount(labels)
    quota = torch.zeros_like(counts)
    if fraction > 0:
        lonely = (counts == 1).nonzero().flatten().tolist()
        if lonely:
            what = f"the samples of class {classes[lonely[0]]!r}" if classes else "the samples"
            raise DataError(
                f"cannot split {what}: only one is left; there must be one each for training and validation"
                f"{', in every class' if classes else ''}, and for test where that is not published apart"
            )
        quota = (counts * fraction).round().long().clamp(min=1).minimum(counts - 1)
    held = _rank_in_class(labels, generator) < quota[labels]
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def balanced_subset(labels: Tensor, count: int, generator: Generator) -> Tensor:
    """The ascending indices of `count` random samples, as evenly over the classes as they allow.

    160 samples of ten classes are 16 a class. From the same generator state a smaller subset lies in a larger.
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    rank = _rank_in_class(labels, generator)
    return shuffled[rank[shuffled].argsort(stable=True)][:count].sort().values


def _rank_in_class(labels: Tensor, generator: Generator) -> Tensor:
    """Deal the samples of each class out in random order: the place of every sample in its class [N]."""
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels[shuffled].argsort(stable=True)]
    counts = torch.bincount(labels)
    first = counts.cumsum(0) - counts
    rank = torch.empty_like(by_class)
    rank[by_class] = torch.arange(len(labels)) - first[labels[by_class]]
    return rank
