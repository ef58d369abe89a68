"""Image files in one folder a class, all together or below train/, validation/ and test/."""

from pathlib import Path

import torch
from torch import Tensor

from netmorph.data.dataset import DataError, Split
from netmorph.data.images import EXTENSIONS, ImageSize, decode_images
from netmorph.data.source import RawData

_FOLDERS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


def matches(folder: Path) -> bool:
    """Whether there are images in folders below this one."""
    return any(_is_image(path) for below in _folders(folder) for path in below.rglob("*"))


def read(folder: Path, size: ImageSize | None) -> RawData:
    """Read the images, classes in the order of their folders' names."""
    listed, classes = list_images(folder)
    every = [path for paths, _ in listed.values() for path in paths]
    # Together: what is read to one size and mode has these in all parts.
    images = decode_images(((str(path), path.read_bytes()) for path in every), len(every), size)
    pieces = images.split([len(paths) for paths, _ in listed.values()])
    parts = zip(listed.items(), pieces, strict=True)
    return RawData({part: Split(own, labels) for (part, (_, labels)), own in parts}, classes)


def list_images(folder: Path) -> tuple[dict[str, tuple[list[Path], Tensor]], tuple[str, ...]]:
    """The files and labels (int64) of each part, and the names of the classes; no file is opened.

    Raises:
        DataError: images without a class folder, a class folder without images, or without train images.
    """
    below = {path.name: path for path in _folders(folder)}
    if "train" in below and _folders(below["train"]):
        roots = {_FOLDERS[name]: path for name, path in below.items() if name in _FOLDERS}
    elif below.keys() <= _FOLDERS.keys():
        raise DataError(
            f"the images in {folder} have no labels: expected {folder / 'train'}/<class>/<image>, "
            "a folder for each class"
        )
    else:
        roots = {"train": folder}
    classes = tuple(path.name for path in _folders(roots["train"]))
    return {part: _list_part(root, classes) for part, root in roots.items()}, classes


def _list_part(root: Path, classes: tuple[str, ...]) -> tuple[list[Path], Tensor]:
    paths: list[Path] = []
    labels: list[int] = []
    for folder in _folders(root):
        if folder.name not in classes:
            raise DataError(f"{folder} is a class without train images; known classes: {', '.join(classes)}")
        found = _images(folder)
        if not found:
            raise DataError(f"the class folder {folder} holds no images; add some or remove it")
        paths += found
        labels += [classes.index(folder.name)] * len(found)
    if not paths:
        raise DataError(f"the images in {root} have no labels: put each into a folder named after its class")
    return paths, torch.tensor(labels)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return sorted(filter(_is_image, folder.rglob("*")))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()
