"""Checkpoints: tensors and plain values in one safetensors file, checked when they are read.

One process writes a checkpoint. It may be killed at any moment: at `path`, or else at `previous(path)`, there is always
a whole one.
"""

import contextlib
import glob
import json
import os
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from netmorph.errors import NetmorphError
from netmorph.files import atomic_write, remove_unfinished
from netmorph.tensor_files import restored, stored, write_tensors


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
    text = json.dumps(meta, allow_nan=False)
    whole = _apart(tensors)
    metadata = {"netmorph": text, "checksum": _checksum(stored(whole)[0], text)}
    remove_unfinished(path.parent, glob.escape(path.name))
    atomic_write(path, lambda temporary: write_tensors(whole, temporary, metadata), keep=previous(path))


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
        with path.open("rb"):  # says why it fails; safetensors calls every file that it cannot open absent
            pass
        with safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except FileNotFoundError:
        raise
    except OSError as error:  # no permission, a folder, a disk that fails: what is there may be whole
        raise CheckpointError(f"{path} cannot be read: {error}. Make it readable, or choose another file") from error
    except SafetensorError as error:
        raise _damaged(path, error) from error
    if "checksum" not in told or "netmorph" not in told:
        raise CheckpointError(f"{path} is not a checkpoint of netmorph; choose another file")
    if told["checksum"] != _checksum(tensors, told["netmorph"]):
        raise _damaged(path, "its checksum differs")
    try:
        return restored(tensors, told), json.loads(told["netmorph"])
    except ValueError as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, reason: object) -> DamagedCheckpoint:
    return DamagedCheckpoint(f"{path} is damaged ({reason}); delete it to start again")


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, as safetensors takes them: contiguous, and no two in the same memory."""
    apart: dict[str, Tensor] = {}
    taken = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        # Only what shares memory is copied: a checkpoint is as large as the model and its optimizer together.
        if tensor.untyped_storage().data_ptr() in taken:
            tensor = tensor.clone()
        taken.add(tensor.untyped_storage().data_ptr())
        apart[name] = tensor
    return apart


def _checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    """CRC-32, which finds damage; SHA-256 would take more than twice the time to resist forgery, too."""
    checksum = zlib.crc32(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        checksum = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), checksum)
        checksum = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, checksum)
    return f"{checksum:08x}"
