"""Checkpoints: tensors and plain values in one safetensors file, checked when they are read.

One process writes a checkpoint. It may be killed at any moment: at `path`, or else at `previous(path)`, there is always
a whole one.
"""

import contextlib
import glob
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from netmorph.errors import NetmorphError
from netmorph.files import atomic_write, remove_unfinished
from netmorph.tensor_files import DamagedFile, FileError, ForeignFile, read_sealed, write_sealed


class CheckpointError(NetmorphError):
    """A checkpoint is missing or damaged, cannot be read, or belongs to another run."""


class DamagedCheckpoint(CheckpointError):
    """A checkpoint does not hold what was written."""


def previous(path: Path) -> Path:
    """Where the checkpoint before the newest one is kept."""
    return path.with_name(path.name + ".previous")


def existing(path: Path) -> list[Path]:
    """The files that a run could be resumed from, the newest first."""
    return [file for file in (path, previous(path)) if file.exists()]


def save(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write a checkpoint in one step; the one that was there is kept as `previous(path)`.

    Args:
        meta: JSON-able values.

    Raises:
        SaveError: the file cannot be written; the newest checkpoint is as it was.
    """
    remove_unfinished(path.parent, glob.escape(path.name))
    atomic_write(path, lambda temporary: write_sealed(tensors, temporary, dict(meta)), keep=previous(path))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the newest checkpoint that is whole: tensors on the CPU, and the plain values.

    If the newest one is damaged or gone, a warning says so, and the previous one is read and takes its place. No code
    in the file is run.

    Raises:
        CheckpointError: neither is there, neither is whole, or the newest cannot be read; then both stay as they are.
    """
    before = previous(path)
    try:
        return _read(path)
    except FileNotFoundError as error:
        if not before.exists():
            raise CheckpointError(f"there is no checkpoint {path}; start without resuming") from error
        warnings.warn(f"there is no {path}. Going on from the one before instead, {before}", stacklevel=2)
    except DamagedCheckpoint as error:
        if not before.exists():
            raise
        warnings.warn(f"{error}. Going on from the one before instead, {before}", stacklevel=2)
    found = _read(before)
    # Otherwise the next `save` would put the damaged one in the place of the only whole one. Where nothing can be
    # renamed, nothing can be saved either.
    with contextlib.suppress(OSError):
        os.replace(before, path)
    return found


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        tensors, meta = read_sealed(path)
    except ForeignFile as error:
        raise CheckpointError(f"{path} is not a checkpoint of netmorph; choose another file") from error
    except DamagedFile as error:
        raise DamagedCheckpoint(f"{path} is damaged ({error}); delete it to start again") from error
    except FileError as error:
        raise CheckpointError(str(error)) from error
    if not isinstance(meta, dict):
        raise CheckpointError(f"{path} is not a checkpoint of netmorph; choose another file")
    return tensors, meta
