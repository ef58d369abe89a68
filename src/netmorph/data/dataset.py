"""What training reads: labelled images in three parts, as tensors in memory or read as they are needed."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from netmorph.errors import NetmorphError


class DataError(NetmorphError):
    """The data cannot be found, read or split as asked."""


class Part(Protocol):
    """Labelled images that can be read in batches: a `Split` in memory, or a folder that is streamed."""

    @property
    def labels(self) -> Tensor:
        """int64 [N], indices into the data set's classes."""

    def __len__(self) -> int:
        """N."""

    def head(self, count: int) -> Tensor:
        """The first images, uint8 [count, C, H, W], the same in every call."""

    def cut(
        self, batch_size: int, order: Tensor | None = None, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Images uint8 [B, C, H, W] and labels int64 [B], batch by batch; the last may be smaller.

        Args:
            order: indices int64 [M] of the images to read, in that order; None reads all as they lie.
            seed: of what is random in reading an image (where it is cropped); None: nothing is.
        """

    def digest(self) -> str:
        """SHA-256 that tells which images of the data set these are, and in which order."""


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images in memory, on any device.

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

    def head(self, count: int) -> Tensor:
        """The first images, uint8 [count, C, H, W]."""
        return self.images[:count]

    def cut(
        self, batch_size: int, order: Tensor | None = None, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches by slicing, on the split's device: no workers, no copies of single images. See `Part`."""
        if order is None:
            yield from zip(self.images.split(batch_size), self.labels.split(batch_size), strict=True)
            return
        for indices in order.to(self.images.device).split(batch_size):
            yield self.images.index_select(0, indices), self.labels.index_select(0, indices)

    def digest(self) -> str:
        """SHA-256 of all images and labels."""
        found = hashlib.sha256()
        for tensor in (self.images, self.labels):
            found.update(tensor.cpu().contiguous().numpy().data)
        return found.hexdigest()

    def to(self, device: torch.device) -> "Split":
        """The same images on another device."""
        return Split(self.images.to(device), self.labels.to(device))

    def select(self, indices: Tensor) -> "Split":
        """The images and labels at `indices` (int64 [M]), in that order."""
        return Split(self.images.index_select(0, indices), self.labels.index_select(0, indices))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, split and ready to train on.

    Attributes:
        name: the name it was loaded by, or its folder's name.
        train, validation, test: disjoint parts.
        classes: names, by label.
        mean, std: per channel over the train split, pixels in 0..1; a constant channel has std 1.
        fingerprint: SHA-256 of the images and labels before they were split. It does not depend on the seed:
            a resumed run compares it to find out that the data changed.
    """

    name: str
    train: Part
    validation: Part
    test: Part
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.train.head(1).shape[1:]
        return channels, height, width


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
