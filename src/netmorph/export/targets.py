"""Which files an export may replace: an older export, never a network that netmorph saved."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from netmorph.export.errors import ExportError


def metadata(path: Path) -> dict[str, str] | None:
    """What a safetensors file says of itself; None for any other file, or none."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return None


def check_target(path: Path) -> None:
    """Refuse to write an export over weights: perhaps over those that it was made of.

    Raises:
        ExportError: the file is there, and holds tensors.
    """
    if metadata(path) is not None:
        raise ExportError(
            f"{path} exists and holds the weights of a network, which this export would replace. Give it another name, "
            "or move that file"
        )
