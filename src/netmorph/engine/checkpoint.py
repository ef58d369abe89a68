"""Checkpoints: tensors and plain values in one safetensors file, checked when they are read."""

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from netmorph.errors import NetmorphError
from netmorph.files import atomic_write


class CheckpointError(NetmorphError):
    """A checkpoint is missing or damaged, or belongs to another run."""


def previous(path: Path) -> Path:
    """Where the checkpoint before the newest one is kept."""
    return path.with_name(path.name + ".previous")


def exists(path: Path) -> bool:
    """Whether there is a checkpoint to resume from."""
    return path.exists() or previous(path).exists()


def save(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write a checkpoint in one step; the one that was there is kept as `previous(path)`.

    Args:
        meta: JSON-able values.

    Raises:
        SaveError: the file cannot be written; the newest checkpoint is as it was.
    """
    # safetensors refuses tensors that share memory or are not contiguous.
    whole = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    text = json.dumps(meta, allow_nan=False)

    def write(temporary: Path) -> None:
        save_file(whole, temporary, metadata={"netmorph": text, "checksum": _checksum(whole, text)})
        if path.exists():
            os.replace(path, previous(path))

    atomic_write(path, write)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the newest checkpoint that is whole: tensors on the CPU, and the plain values.

    If the newest one is damaged, a warning says so and the previous one is read. No code in the file is run.

    Raises:
        CheckpointError: neither is there, or neither is whole.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        if not previous(path).exists():
            raise CheckpointError(f"there is no checkpoint {path}; start without resuming") from None
        return _read(previous(path))
    except CheckpointError as error:
        if not previous(path).exists():
            raise
        warnings.warn(f"{error}. Going on from the one before, {previous(path)}", stacklevel=2)
        return _read(previous(path))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            stored = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except SafetensorError as error:
        raise CheckpointError(f"{path} is damaged ({error}); delete it and start again") from error
    if "checksum" not in stored or "netmorph" not in stored:
        raise CheckpointError(f"{path} is not a checkpoint of netmorph; choose another file")
    if stored["checksum"] != _checksum(tensors, stored["netmorph"]):
        raise CheckpointError(f"{path} is damaged (its checksum differs); delete it and start again")
    return tensors, json.loads(stored["netmorph"])


def _checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
