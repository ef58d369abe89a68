"""What training reads: images and labels as tensors in memory, in three splits."""

from dataclasses import dataclass

import torch
from torch import Tensor

from netmorph.errors import NetmorphError


class DataError(NetmorphError):
    """The data cannot be found, read or split as asked."""


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images.

    Attributes:
        images: uint8 [N, C, H, W].
        labels: int64 [N], indices into the data set's classes.

    Raises:
        DataError: another dtype or shape.
    """

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise DataError(f"images must be uint8 [N, C, H, W], got {_describe(self.images)}")
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(f"labels must be int64 [{len(self.images)}], one an image, got {_describe(self.labels)}")

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Tensor) -> "Split":
        """The images and labels at `indices` (int64 [M]), in that order."""
        return Split(self.images.index_select(0, indices), self.labels.index_select(0, indices))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, split and ready to train on.

    Attributes:
        name: the name it was loaded by, or its folder's name.
        train, validation, test: disjoint splits.
        classes: names, by label.
        mean, std: per channel over the train split, pixels in 0..1; a constant channel has std 1.
        fingerprint: SHA-256 of the images and labels before they were split. It does not depend on the seed:
            a resumed run compares it to find out that the data changed.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
