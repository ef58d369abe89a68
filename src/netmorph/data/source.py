"""Data as it was published, before it is split by a seed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from netmorph.data.dataset import DataError, Split


@dataclass(frozen=True, eq=False)
class RawData:
    """What a reader returns.

    Attributes:
        parts: "train", and "validation" and "test" where they were published apart.
        classes: names, by label.
    """

    parts: Mapping[str, Split]
    classes: tuple[str, ...]


def numbered_classes(parts: Mapping[str, Split]) -> tuple[str, ...]:
    """Class names for labels that come without: "0", "1", ... up to the largest label."""
    return numbered(torch.cat([part.targets for part in parts.values()]))


def numbered(labels: Tensor) -> tuple[str, ...]:
    """Names of classes for labels: "0", "1", ... up to the largest."""
    return tuple(str(label) for label in range(int(labels.max()) + 1 if len(labels) else 0))


def check_source(source: RawData, where: object) -> None:
    """Refuse data that no classifier can be trained on.

    Raises:
        DataError: an empty part, images of different shapes, a label without a class, or a single class.
    """
    shape = tuple(source.parts["train"].inputs.shape[1:])
    for name, part in source.parts.items():
        if len(part) and tuple(part.inputs.shape[1:]) != shape:
            raise DataError(
                f"{where}: train images are {list(shape)} (channels, height, width) but {name} images are "
                f"{list(part.inputs.shape[1:])}; give them one size (size=(H, W) resizes) and mode"
            )
    check_labels({name: part.targets for name, part in source.parts.items()}, source.classes, where)


def check_labels(labels: Mapping[str, Tensor], classes: tuple[str, ...], where: object) -> None:
    """Refuse labels, by part, that no classifier can be trained on.

    Raises:
        DataError: an empty part, a label without a class, or a single class.
    """
    for name, given in labels.items():
        if len(given) == 0:
            raise DataError(f"{where}: the {name} images are empty; add images or remove that part")
        low, high = int(given.min()), int(given.max())
        if low < 0 or high >= len(classes):
            raise DataError(
                f"{where}: {name} labels run from {low} to {high}, but there are {len(classes)} "
                f"classes; labels must be 0 to {len(classes) - 1}"
            )
    present = torch.unique(labels["train"]).tolist()
    if len(present) < 2:
        raise DataError(
            f"{where}: every train image is of class {classes[present[0]]!r}; "
            "a classifier needs images of at least two classes"
        )


def fingerprint(source: RawData) -> str:
    """SHA-256 over the labels and images of every part, in hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(source.parts):
        part = source.parts[name]
        digest.update(f"{name} {list(part.inputs.shape)}".encode())
        digest.update(part.targets.contiguous().numpy().data)
        digest.update(part.inputs.contiguous().numpy().data)
    return digest.hexdigest()
