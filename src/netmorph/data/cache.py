"""Decoded data on disk, opened as a memory map: a second load decodes nothing and shares its pages."""

import hashlib
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from netmorph.data.dataset import Split
from netmorph.data.source import RawData, fingerprint
from netmorph.files import SaveError, atomic_write

_VERSION = 1  # raise it when the same files come to decode to other tensors


def user_cache() -> Path:
    """The folder for everything netmorph can make or fetch again: `$XDG_CACHE_HOME/netmorph`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "netmorph"


def folder_state(folder: Path) -> str:
    """Names, sizes and modification times of the files in a folder: it changes when the data does."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stats = [(path.relative_to(folder).as_posix(), path.stat()) for path in files]
    return "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)


def cached(cache: Path, name: str, identity: str, state: str, read: Callable[[], RawData]) -> tuple[RawData, str]:
    """The source that `read` returns and its fingerprint, from the cache where that is up to date.

    Args:
        cache: folder of the cache.
        name: starts the file's name, for people who look at the folder.
        identity: what the data is (its path, how it is decoded): one file an identity.
        state: when it differs from the state of the cached file, that file is replaced.
        read: reads the source.

    A damaged file is replaced; where the cache cannot be written, a warning is all that happens.
    """
    path = cache / f"{name}-{_hash(identity)[:16]}.safetensors"
    state = _hash(f"{_VERSION} {state}")
    found = _open(path, state)
    if found is not None:
        return found
    source = read()
    digest = fingerprint(source)
    try:
        atomic_write(path, lambda temporary: _save(temporary, source, digest, state))
    except SaveError as error:
        warnings.warn(f"the decoded data is not cached: {error}", stacklevel=2)
    return source, digest


def _save(path: Path, source: RawData, digest: str, state: str) -> None:
    tensors = {f"{name}.images": part.inputs for name, part in source.parts.items()}
    tensors |= {f"{name}.labels": part.targets for name, part in source.parts.items()}
    parts, classes = json.dumps(list(source.parts)), json.dumps(source.classes)
    save_file(tensors, path, {"state": state, "fingerprint": digest, "parts": parts, "classes": classes})


def _open(path: Path, state: str) -> tuple[RawData, str] | None:
    """What the file holds, as tensors mapped from it; None where it is missing, outdated or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("state") != state:
                return None
            parts = {
                name: Split(file.get_tensor(f"{name}.images"), file.get_tensor(f"{name}.labels"))
                for name in json.loads(metadata["parts"])
            }
        return RawData(parts, tuple(json.loads(metadata["classes"]))), metadata["fingerprint"]
    except (OSError, SafetensorError):
        return None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
