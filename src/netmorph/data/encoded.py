"""Encoded images where they lie: listed with their labels when a data set is opened, read one by one later."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from netmorph.data.dataset import DataError
from netmorph.data.layouts import find_layout, image_folder


class Encoded(Protocol):
    """Images by row, each as the content of its file. Worker processes get a pickled copy."""

    def place(self, row: int) -> str:
        """Where the image stands, for messages."""

    def read(self, row: int) -> bytes:
        """The content of its file.

        Raises:
            DataError: it cannot be read.
        """


@dataclass(frozen=True, eq=False)
class Listing:
    """All images of a data set.

    Attributes:
        images: by row, over all parts.
        rows: of each part, int64 [N]: "train", and "validation" and "test" where they were published apart.
        labels: by row, int64.
        classes: names, by label.
        state: changes when the data does.
    """

    images: Encoded
    rows: Mapping[str, Tensor]
    labels: Tensor
    classes: tuple[str, ...]
    state: str


class Files:
    """Image files below one folder.

    Args:
        root: the folder.
        names: paths below it.
    """

    def __init__(self, root: Path, names: list[str]) -> None:
        self._root = root
        # One tensor, because workers share its memory: a list of a million names would be copied into each.
        padded = np.array([os.fsencode(name) for name in names])
        self._names = torch.from_numpy(padded.view(np.uint8).reshape(len(names), -1))

    def place(self, row: int) -> str:
        """See `Encoded`."""
        return os.path.join(self._root, os.fsdecode(self._names[row].numpy().tobytes().rstrip(b"\0")))

    def read(self, row: int) -> bytes:
        """See `Encoded`."""
        return image_folder.content(Path(self.place(row)))


def list_files(folder: Path) -> Listing:
    """The images in the folders of their classes, with or without train/, val/ and test/ above them.

    Raises:
        DataError: the folder holds no such images.
    """
    if find_layout(folder) is not image_folder.read:
        raise DataError(
            f"the data in {folder} is no folder of images, and is not streamed; `load` reads it into memory"
        )
    listed, classes = image_folder.list_images(folder)
    names: list[str] = []
    rows = {}
    state = hashlib.sha256()
    for part, (paths, _) in listed.items():
        rows[part] = torch.arange(len(names), len(names) + len(paths))
        for path in paths:
            names.append(str(path)[len(str(folder)) + 1 :])
            state.update(f"{names[-1]} {_change(path)}\n".encode(errors="surrogateescape"))
    labels = torch.cat([labels for _, labels in listed.values()])
    return Listing(Files(folder, names), rows, labels, classes, state.hexdigest())


def _change(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError:  # a link to nothing: told when the image is to be read
        return "-"
    return f"{stat.st_size} {stat.st_mtime_ns}"
