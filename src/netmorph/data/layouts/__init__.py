"""Folders of published data, one module a layout: whether a folder is laid out so, and how to read it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from netmorph.data.dataset import DataError
from netmorph.data.images import EXTENSIONS, ImageSize
from netmorph.data.layouts import cifar, idx, image_folder, parquet
from netmorph.data.source import RawData


class Layout(NamedTuple):
    """A way to lay data out: its files (for messages), the test for it, and its reader (folder, size)."""

    files: str
    matches: Callable[[Path], bool]
    read: Callable[[Path, ImageSize | None], RawData]


LAYOUTS = (
    Layout("train-*.parquet, test-*.parquet", parquet.matches, parquet.read),
    Layout("train-images-idx3-ubyte[.gz] and its labels", idx.matches, idx.read),
    Layout("data_batch_*.bin or cifar-10-binary.tar.gz", cifar.matches, cifar.read),
    Layout("<class>/*.png or train/<class>/*.png", image_folder.matches, image_folder.read),
)


def find_layout(folder: Path) -> Callable[[Path, ImageSize | None], RawData]:
    """The reader for a folder, chosen by what the folder holds.

    Raises:
        DataError: the folder is empty, or holds none of the layouts.
    """
    for layout in LAYOUTS:
        if layout.matches(folder):
            return layout.read
    if packed := image_folder.explain(folder):
        raise DataError(packed)
    if not any(folder.iterdir()):
        raise DataError(f"the folder {folder} is empty; {_expected()}")
    if any(path.suffix.lower() in EXTENSIONS for path in folder.iterdir()):
        raise DataError(f"the images in {folder} have no labels: put each into a folder named after its class")
    raise DataError(f"{folder} holds no data that netmorph knows; {_expected()}")


def _expected() -> str:
    known = "; ".join(layout.files for layout in LAYOUTS)
    return f"expected one of: {known}; or any text, with task='text' (--task text)"
