"""CIFAR-10's binary version: records of a label byte and 3 x 32 x 32 pixels (https://www.cs.toronto.edu/~kriz)."""

import tarfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np
import torch

from netmorph.data.dataset import DataError, Split
from netmorph.data.images import ImageSize, resize_images
from netmorph.data.source import RawData, numbered_classes

_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_ARCHIVE = "cifar-10-binary.tar.gz"


def matches(folder: Path) -> bool:
    """Whether a folder holds the files, the folder they unpack to, or their archive."""
    return (folder / _ARCHIVE).exists() or _unpacked(folder) is not None


def read(folder: Path, size: ImageSize | None) -> RawData:
    """Read the batches in order; class names from `batches.meta.txt` where it is there."""
    files = _files(folder)
    names = {
        "train": sorted(name for name in files if name.startswith("data_batch")),
        "test": sorted(name for name in files if name.startswith("test_batch")),
    }
    if not names["train"]:
        raise DataError(f"{folder} has no data_batch_*.bin; put CIFAR-10's binary version there")
    parts = {
        part: _read_part({f"{folder} {name}": files[name] for name in batches}, size)
        for part, batches in names.items()
        if batches
    }
    classes = tuple(files.get("batches.meta.txt", b"").decode(errors="replace").split())
    return RawData(parts, classes or numbered_classes(parts))


def _read_part(batches: dict[str, bytes], size: ImageSize | None) -> Split:
    for where, content in batches.items():
        if not content or len(content) % _RECORD:
            raise DataError(f"{where} is cut short: {len(content)} bytes are no multiple of {_RECORD}; get it again")
    records = np.frombuffer(b"".join(batches.values()), np.uint8).reshape(-1, _RECORD)
    images = torch.from_numpy(records[:, 1:].reshape(-1, *_SHAPE).copy())
    return Split(resize_images(images, size), torch.from_numpy(records[:, 0].astype(np.int64)))


def _files(folder: Path) -> dict[str, bytes]:
    unpacked = _unpacked(folder)
    if unpacked is not None:
        return {path.name: path.read_bytes() for path in unpacked.iterdir() if path.is_file()}
    path = folder / _ARCHIVE
    files = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if (file := archive.extractfile(member)) is not None:
                    files[PurePosixPath(member.name).name] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}; delete it and get it again") from error
    return files


def _unpacked(folder: Path) -> Path | None:
    places = (folder, folder / "cifar-10-batches-bin")
    return next((place for place in places if any(place.glob("data_batch_*.bin"))), None)
