"""Folders of trainings and evolutions, by their records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import RenderableType

from netmorph import report
from netmorph.report.summary import summary, view
from netmorph.run.records import Records


def told(folder: Path) -> dict[str, Any]:
    """Plain values."""
    with Records.open(folder) as records:
        began = {name: records.meta(name) for name in ("command", "config", "machine", "versions")}
        return began | summary(records)


def shown(folder: Path) -> RenderableType:
    """For a terminal."""
    with Records.open(folder) as records:
        return view(records)


def write(folder: Path, file: Path) -> Path:
    """The page."""
    return report.write(folder, file)


def figures(folder: Path, suffix: str, into: Path) -> list[Path]:
    """The page's figures."""
    return report.write_figures(folder, suffix, into)
