"""The idx files of MNIST and its successors, compressed or not (http://yann.lecun.com/exdb/mnist)."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from netmorph.data.dataset import DataError, Split
from netmorph.data.images import ImageSize, resize_images
from netmorph.data.source import RawData, numbered_classes

_PREFIXES = {"train": "train", "test": "t10k"}


def matches(folder: Path) -> bool:
    """Whether a folder holds idx files."""
    return any(folder.glob("*idx?-ubyte*"))


def read(folder: Path, size: ImageSize | None) -> RawData:
    """Read train and, where it is there, t10k as the test part. Classes are named by their numbers."""
    parts = {
        part: _read_part(folder, prefix, size)
        for part, prefix in _PREFIXES.items()
        if part == "train" or any(folder.glob(f"{prefix}-*"))
    }
    return RawData(parts, numbered_classes(parts))


def _read_part(folder: Path, prefix: str, size: ImageSize | None) -> Split:
    images = _read_array(folder, f"{prefix}-images?idx3-ubyte", dimensions=3)
    labels = _read_array(folder, f"{prefix}-labels?idx1-ubyte", dimensions=1)
    if len(images) != len(labels):
        raise DataError(f"{folder} has {len(images)} {prefix} images but {len(labels)} labels; get both files again")
    return Split(resize_images(images[:, None], size), labels.long())


def _read_array(folder: Path, pattern: str, dimensions: int) -> Tensor:
    """Read one file: 0, 0, type (8: uint8), number of dimensions; dimensions as big-endian int32; values."""
    paths = sorted(folder.glob(pattern)) + sorted(folder.glob(f"{pattern}.gz"))
    if not paths:
        raise DataError(f"{folder} lacks {pattern.replace('?', '-')} (or the same .gz); put it there")
    path = paths[0]
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}; delete it and get it again") from error
    header = 4 + 4 * dimensions
    shape = np.frombuffer(content[4:header].ljust(header - 4, b"\0"), ">i4")
    if content[:4] != bytes((0, 0, 8, dimensions)) or len(content) != header + int(np.prod(shape)):
        raise DataError(f"{path} is no idx file of {dimensions} dimensions, or cut short; delete it and get it again")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy())
