"""Images that were decoded once: a sparse file with a slot for each, which any number of processes fill and read.

A slot holds a header (height, width, checksum) and the pixels. It is written by whoever needs the image first; the
header comes last, so that a process that is killed leaves a slot that counts as empty. Two processes that write the
same slot write the same bytes. Nothing is locked, and no index has to be kept.
"""

import errno
import os
import struct
import weakref
import zlib
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

_HEADER = struct.Struct("<III")
_BLOCK = 4096  # of a disk: no two slots share one
# Room in a slot, as the largest ratio of long to short side; what is longer is decoded each time. Holes cost no disk.
_RATIO = 2


class ImageCache:
    """Decoded images by row, in one file; reads and writes may fail and never raise.

    Args:
        path: of the file; it is made when the first image is written.
        state: of the data. Entries written under another one count as missing.
        short_side: the longest short side of an image, in pixels.
        limit: bytes that the file may take on the disk.

    Attributes:
        trouble: why no more images are written from this process; None while they are.
    """

    def __init__(self, path: Path, state: str, short_side: int, limit: int) -> None:
        self.path = path
        self.trouble: str | None = None
        self._given = (path, state, short_side, limit)
        self._salt = zlib.crc32(state.encode())
        self._slot = -(-(_HEADER.size + 3 * _RATIO * short_side**2) // _BLOCK) * _BLOCK
        self._limit = limit

    def __reduce__(self) -> tuple[type["ImageCache"], tuple[Path, str, int, int]]:
        return ImageCache, self._given  # each process opens the file itself

    def read(self, row: int) -> Tensor | None:
        """The image, uint8 [H, W, 3]; None where it is missing or damaged."""
        if self._file is None:
            return None
        try:
            header = os.pread(self._file, _HEADER.size, row * self._slot)
            if len(header) < _HEADER.size:
                return None
            height, width, checksum = _HEADER.unpack(header)
            count = height * width * 3
            if not 0 < count <= self._slot - _HEADER.size:
                return None
            pixels = bytearray(os.pread(self._file, count, row * self._slot + _HEADER.size))
        except OSError:
            return None
        if len(pixels) < count or self._checksum(pixels, height, width) != checksum:
            return None
        return torch.frombuffer(pixels, dtype=torch.uint8).view(height, width, 3)

    def write(self, row: int, image: Tensor) -> None:
        """Keep an image, uint8 [H, W, 3], unless it is too long, or the disk or the limit has no room for it."""
        pixels = image.contiguous().numpy().tobytes()
        if len(pixels) > self._slot - _HEADER.size or self._file is None or self.trouble is not None:
            return
        height, width = image.shape[:2]
        header = _HEADER.pack(height, width, self._checksum(pixels, height, width))
        try:
            # What is stale has its room already, and would otherwise fill the limit for ever.
            stale = any(os.pread(self._file, _HEADER.size, row * self._slot))
            if not stale and _on_disk(self._file) + len(pixels) > self._limit:
                self.trouble = f"{self.path} has reached its limit of {self._limit} bytes"
                return
            _write(self._file, pixels, row * self._slot + _HEADER.size)
            _write(self._file, header, row * self._slot)
        except OSError as error:
            self.trouble = f"{self.path} cannot be written: {error}"

    @cached_property
    def _file(self) -> int | None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            self.trouble = f"{self.path} cannot be opened: {error}"
            return None
        weakref.finalize(self, os.close, file)
        return file

    def _checksum(self, pixels: bytes | bytearray, height: int, width: int) -> int:
        return zlib.crc32(pixels, self._salt ^ height << 16 ^ width)


def room_for(path: Path) -> int:
    """Bytes that a cache may take unless told otherwise: those it has, and half of what its disk has left.

    Raises:
        OSError: its folder cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    taken = path.stat().st_blocks * 512 if path.exists() else 0
    disk = os.statvfs(path.parent)
    return taken + disk.f_bavail * disk.f_frsize // 2


def _on_disk(file: int) -> int:
    return os.fstat(file).st_blocks * 512


def _write(file: int, content: bytes, offset: int) -> None:
    if os.pwrite(file, content, offset) < len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
