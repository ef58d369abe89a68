"""Image files in one folder a class, all together or below train/, validation/ and test/; ImageNet's layout is one.

Of validation and test, the images may also lie in one folder, beside a list of their labels (`label_list`).
"""

import os
import warnings
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from netmorph.data.dataset import DataError, Split
from netmorph.data.images import EXTENSIONS, ImageSize, decode_images
from netmorph.data.layouts.label_list import find_list, labels_of
from netmorph.data.source import RawData
from netmorph.wording import listed

_FOLDERS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
_ARCHIVES = (".tar", ".tgz", ".gz", ".zip", ".bz2", ".xz", ".rar", ".7z")
# How far below a folder ImageNet's layout is looked for, to say where it is, and in how many folders a level.
_LEVELS, _MANY = 4, 20
SHOWN = 3  # names in a message


def matches(folder: Path) -> bool:
    """Whether there are images in folders below this one."""
    return any(True for below in _folders(folder) for _ in _image_paths(below))


def read(folder: Path, size: ImageSize | None) -> RawData:
    """Read the images, classes in the order of their folders' names."""
    found, classes = list_images(folder)
    every = [path for paths, _ in found.values() for path in paths]
    # Together: what is read to one size and mode has these in all parts.
    images = decode_images(((str(path), content(path)) for path in every), len(every), size)
    pieces = images.split([len(paths) for paths, _ in found.values()])
    parts = zip(found.items(), pieces, strict=True)
    return RawData({part: Split(own, labels) for (part, (_, labels)), own in parts}, classes)


def content(path: Path) -> bytes:
    """The content of an image's file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}; put the image back, or load the data again") from error


def list_images(folder: Path) -> tuple[dict[str, tuple[list[Path], Tensor]], tuple[str, ...]]:
    """The files and labels (int64) of each part, and the names of the classes; no image is opened.

    A test part without class folders and without a list is left out with a warning: ImageNet and Tiny ImageNet are
    published with one.

    Raises:
        DataError: images without a class folder, a class folder without images, no train images, a list of labels
            that does not fit, or the layout begins in another folder.
    """
    below = {path.name: path for path in _folders(folder)}
    if "train" not in below and below.keys() <= _FOLDERS.keys():
        raise DataError(f"{folder} has {listed(sorted(below))}, but no train: {_expected(folder / 'train')}")
    if "train" in below and (_folders(below["train"]) or below.keys() <= _FOLDERS.keys()):
        roots = {_FOLDERS[name]: path for name, path in below.items() if name in _FOLDERS}
    else:
        roots = {"train": folder}
        _check_begins_here(folder)
    classes = tuple(path.name for path in _folders(roots["train"]))
    if not classes:
        raise DataError(
            explain(folder) or f"the images in {roots['train']} have no labels: {_expected(roots['train'])}"
        )
    found = {part: _list_part(part, root, classes) for part, root in roots.items()}
    return {part: images for part, images in found.items() if images is not None}, classes


def explain(folder: Path) -> str | None:
    """Why there are no images in class folders, where that is plain: they are not unpacked."""
    for place in (folder / "train", folder):
        packed = _names(place, _ARCHIVES) if place.is_dir() else []
        if packed:
            return (
                f"{place} holds archives ({listed(packed, limit=SHOWN)}) and no class folders: unpack each into a "
                f"folder of its own; {_expected(folder / 'train')}"
            )
    return None


def _list_part(part: str, root: Path, classes: Sequence[str]) -> tuple[list[Path], Tensor] | None:
    """The images of a part and their labels; None if it is a test part whose labels nobody has."""
    below = _folders(root)
    if any(path.name in classes for path in below):
        return _list_classes(root, below, classes)
    inner = root / "images"  # as in Tiny ImageNet
    if below not in ([], [inner]):
        raise _unknown(root, [path.name for path in below], classes)
    place = inner if below else root
    names = _names(place, EXTENSIONS)
    if not names:
        raise DataError(f"{root} holds no images; add some, or remove it")
    labels = find_list(root)
    if labels is not None:
        return [place / name for name in names], torch.tensor(labels_of(labels, names, classes))
    if part == "test":
        warnings.warn(f"the {len(names)} images in {place} have no labels, and are left out", stacklevel=2)
        return None
    raise DataError(
        f"the {len(names)} images in {place} have no labels: put each into a folder named after its class, or beside "
        f"them a list, {root.parent / root.name}.txt, with a line '{names[0]} CLASS' for each"
    )


def _list_classes(root: Path, below: Sequence[Path], classes: Sequence[str]) -> tuple[list[Path], Tensor]:
    known = {name: label for label, name in enumerate(classes)}
    if unknown := [path.name for path in below if path.name not in known]:
        raise _unknown(root, unknown, classes)
    found = {path: _images(path) for path in below}
    if empty := [path for path, images in found.items() if not images]:
        more = f", nor do {len(empty) - 1} others" if len(empty) > 1 else ""
        raise DataError(f"the class folder {empty[0]} holds no images{more}; add some or remove it")
    if stray := _names(root, EXTENSIONS):
        told = f"{len(stray)} images lie in {root} outside of the class folders, and are left out"
        warnings.warn(f"{told}: {listed(stray, limit=SHOWN)}", stacklevel=2)
    labels = [known[path.name] for path, images in found.items() for _ in images]
    return [image for images in found.values() for image in images], torch.tensor(labels)


def _check_begins_here(folder: Path) -> None:
    """That folders of classes are not those above ImageNet's layout (ILSVRC/Data/CLS-LOC).

    Raises:
        DataError: a folder below holds train/ with folders in it.
    """
    level = [folder]
    for _ in range(_LEVELS):
        level = [path for above in level for path in _folders(above)][:_MANY]
        for path in level:
            if (path / "train").is_dir() and _folders(path / "train"):
                raise DataError(f"the data begins in {path}, which holds train/; give that folder in place of {folder}")


def _unknown(root: Path, names: Sequence[str], classes: Sequence[str]) -> DataError:
    told = f"; so are {len(names) - 1} other folders" if len(names) > 1 else ""
    known = f"{len(classes)} known classes: {listed(classes)}"
    return DataError(f"{root / names[0]} is a class without train images{told}; {known}")


def _expected(train: Path) -> str:
    return f"expected {train}/<class>/<image>, a folder for each class"


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return sorted(_image_paths(folder), key=lambda path: path.parts)  # the order of paths, in half of the time


def _image_paths(folder: Path) -> Iterator[Path]:
    # Files are not looked at one by one, which takes long for a million; what cannot be opened is told when it is read.
    for where, _, names in os.walk(folder):
        yield from (Path(where, name) for name in names if _has(name, EXTENSIONS))


def _names(folder: Path, suffixes: Container[str]) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if _has(entry.name, suffixes) and entry.is_file())


def _has(name: str, suffixes: Container[str]) -> bool:
    return os.path.splitext(name)[1].lower() in suffixes and not name.startswith(".")
