"""Fetch published files, checked against their checksums."""

import hashlib
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from netmorph.data.dataset import DataError
from netmorph.files import atomic_write

_CHUNK = 1 << 20
_TIMEOUT = 30  # seconds without an answer


@dataclass(frozen=True)
class Archive:
    """Published files: where they lie, and the MD5 checksum of each."""

    url: str
    files: Mapping[str, str]


def fetch_missing(archive: Archive, folder: Path) -> None:
    """Download the files of an archive that a folder lacks: each appears there whole and checked, or not.

    Raises:
        DataError: no network, or a file whose checksum differs.
        SaveError: the folder cannot be written.
    """
    for name, md5 in archive.files.items():
        if not (folder / name).exists():
            _fetch(archive.url + name, folder / name, md5)


def _fetch(url: str, path: Path, md5: str) -> None:
    def write(temporary: Path) -> None:
        digest = hashlib.md5(usedforsecurity=False)
        with open(temporary, "wb") as file:
            for chunk in _chunks(url):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != md5:
            raise DataError(
                f"{url} has the MD5 checksum {digest.hexdigest()}, expected {md5}: the download is damaged "
                f"or the file was changed. Nothing was kept; try again, or put a good copy at {path}"
            )

    atomic_write(path, write)


def _chunks(url: str) -> Iterator[bytes]:
    # Failures to read are told apart here: to atomic_write every OSError is a failure to write.
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "netmorph"})
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            while chunk := response.read(_CHUNK):
                yield chunk
    except (OSError, HTTPException) as error:
        raise DataError(f"could not download {url}: {error}") from error
