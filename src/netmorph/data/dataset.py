"""What training reads: samples in three parts, as tensors in memory or read as they are needed."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from netmorph.data.preparation import Pixels, Preparation
from netmorph.errors import NetmorphError
from netmorph.tasks import Task, classification


class DataError(NetmorphError):
    """The data cannot be found, read or split as asked."""


class Part(Protocol):
    """Samples that can be read in batches: a `Split` in memory, a folder that is streamed, windows of a text.

    Inputs are as they are stored; `Dataset.preparation` makes of them what a network takes.
    """

    @property
    def targets(self) -> Tensor:
        """What is to be answered, one for each sample: see `Dataset.task`."""

    def __len__(self) -> int:
        """N, the number of samples."""

    def head(self, count: int) -> Tensor:
        """The first inputs, [count, ...], the same in every call."""

    def cut(
        self, batch_size: int, order: Tensor | None = None, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs [B, ...] and targets [B, ...], batch by batch; the last may be smaller.

        Args:
            order: indices int64 [M] of the samples to read, in that order; None reads all as they lie.
            seed: of what is random in reading a sample (where an image is cropped); None: nothing is. A sample depends
                on the seed alone, not on those read before it: training goes on in the middle of an order.
        """

    def digest(self) -> str:
        """SHA-256 that tells which samples of the data set these are, and in which order."""


@dataclass(frozen=True, eq=False)
class Split:
    """Samples in memory, on any device.

    Attributes:
        inputs: [N, ...]: images uint8 [N, C, H, W], floating features, or tokens int64.
        targets: [N, ...]: labels int64 [N], indices into the data set's classes, or values [N, K].

    Raises:
        DataError: another dtype or shape.
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        inputs = self.inputs
        if inputs.dtype == torch.uint8 and inputs.ndim != 4:
            raise DataError(f"images must be uint8 [N, C, H, W], got {describe(inputs)}")
        if not (inputs.is_floating_point() or inputs.dtype in (torch.uint8, torch.int64)) or inputs.ndim < 2:
            raise DataError(
                "inputs must be images uint8 [N, C, H, W], floating features [N, ...] or tokens int64 [N, ...], got "
                f"{describe(inputs)}"
            )
        if self.targets.shape[:1] != inputs.shape[:1]:
            raise DataError(
                f"there must be a target for each of the {len(inputs)} inputs, got {describe(self.targets)}"
            )

    def __len__(self) -> int:
        return len(self.targets)

    def head(self, count: int) -> Tensor:
        """The first inputs, [count, ...]."""
        return self.inputs[:count]

    def cut(
        self, batch_size: int, order: Tensor | None = None, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches by slicing, on the split's device: no workers, no copies of single samples. See `Part`."""
        if order is None:
            yield from zip(self.inputs.split(batch_size), self.targets.split(batch_size), strict=True)
            return
        for indices in order.to(self.inputs.device).split(batch_size):
            yield self.inputs.index_select(0, indices), self.targets.index_select(0, indices)

    def digest(self) -> str:
        """SHA-256 of all inputs and targets."""
        found = hashlib.sha256()
        for tensor in (self.inputs, self.targets):
            found.update(tensor.cpu().contiguous().numpy().data)
        return found.hexdigest()

    def to(self, device: torch.device) -> "Split":
        """The same samples on another device."""
        return Split(self.inputs.to(device), self.targets.to(device))

    def select(self, indices: Tensor) -> "Split":
        """The samples at `indices` (int64 [M]), in that order."""
        return Split(self.inputs.index_select(0, indices), self.targets.index_select(0, indices))


class Encoder(Protocol):
    """What was learnt from the train part to make inputs: new data are encoded as it was."""

    def encode(self, raw: Any) -> Tensor:
        """Inputs as the parts hold them, of new data: the rows of a table, or a text."""
        ...

    def describe(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        ...


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, split and ready to train on.

    Attributes:
        name: the name it was loaded by, or its folder's name.
        train, validation, test: disjoint parts.
        task: what networks are trained for on it.
        preparation: how inputs become those of a network, measured on the train split.
        outputs: how many numbers a network answers with for each sample (or position of a text): one a class, column
            of the target, or token.
        classes: their names, by label; none where targets are values or tokens.
        fingerprint: SHA-256 of the samples before they were split. It does not depend on the seed: a resumed run
            compares it to find out that the data changed.
        encoder: makes inputs of the rows of another table, or of another text; None for images and arrays, which are
            inputs as they are.
    """

    name: str
    train: Part
    validation: Part
    test: Part
    task: Task
    preparation: Preparation
    outputs: int
    fingerprint: str
    classes: tuple[str, ...] = ()
    encoder: Encoder | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one input: channels, height and width of an image, features of a row, tokens of a window."""
        return tuple(self.train.head(1).shape[1:])

    @property
    def has_images(self) -> bool:
        """Whether inputs are images, which can be cropped, mirrored, blended and resized."""
        return isinstance(self.preparation, Pixels)


def images_in_classes(
    name: str, parts: tuple[Part, Part, Part], classes: tuple[str, ...], pixels: Pixels, fingerprint: str
) -> Dataset:
    """Images, each of one class, split into train, validation and test."""
    return Dataset(name, *parts, classification(), pixels, len(classes), fingerprint, classes)


def describe(tensor: Tensor) -> str:
    """Dtype and shape, for messages."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
