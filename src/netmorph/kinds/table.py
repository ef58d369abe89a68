"""What can be told and shown of each kind of folder. A new kind of run is an entry here, and a `Kind`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from netmorph.kinds import pages, records
from netmorph.run.folders import FIGURES, REPORT, FolderError, Kind, kind_of


@dataclass(frozen=True)
class View:
    """What can be made of a folder, finished or not.

    Attributes:
        told: plain values for JSON.
        shown: for a terminal.
        write: its page into a file.
        figures: each of the page's figures into a file of a folder, as png, svg or pdf.
    """

    told: Callable[[Path], dict[str, Any]]
    shown: Callable[[Path], RenderableType]
    write: Callable[[Path, Path], Path]
    figures: Callable[[Path, str, Path], list[Path]]


def _paged(kind: Kind, read: pages.Reader) -> View:
    """Of a folder that becomes a page of paragraphs, tables and pictures."""
    return View(
        told=lambda folder: pages.told(folder, kind, read(folder)),
        shown=lambda folder: pages.shown(folder, kind, read(folder)),
        write=lambda folder, file: pages.page(folder, kind, read(folder)).write(file),
        figures=lambda folder, suffix, into: pages.page(folder, kind, read(folder)).save_pictures(into, suffix),
    )


_RECORDED = View(records.told, records.shown, records.write, records.figures)
VIEWS: Mapping[Kind, View] = {
    Kind.TRAIN: _RECORDED,
    Kind.EVOLVE: _RECORDED,
    **{kind: _paged(kind, read) for kind, read in pages.READERS.items()},
}


def told(folder: Path) -> dict[str, Any]:
    """All that a folder tells, as plain values: "kind", "folder", "status", "command", "config", "machine", "versions",
    "report" (its page, if there is one), and what docs/json.md lists of each kind.

    Raises:
        FolderError: it is no run's.
        NetmorphError: a file in it is damaged.
    """
    kind, page = _kind(folder), folder / REPORT
    own = VIEWS[kind].told(folder)
    return {"kind": kind, "folder": str(folder), "report": str(page) if page.is_file() else None, **own}


def shown(folder: Path) -> RenderableType:
    """What the terminal shows of a folder. Raises as `told`."""
    return VIEWS[_kind(folder)].shown(folder)


def write(folder: Path, output: Path | None = None) -> Path:
    """Write the page of a folder, report.html in it if no other file is given. Raises as `told`, and:

    Raises:
        NetmorphError: there is nothing to tell yet.
        MissingExtra: the packages that draw reports are not installed.
        SaveError: the file could not be written.
    """
    return VIEWS[_kind(folder)].write(folder, output or folder / REPORT)


def figures(folder: Path, suffix: str) -> list[Path]:
    """Write each figure of the page into the folder's figures/, as png, svg or pdf. Raises as `write`."""
    return VIEWS[_kind(folder)].figures(folder, suffix, folder / FIGURES)


def _kind(folder: Path) -> Kind:
    kind = kind_of(folder)
    if kind is None:
        what = "is no folder of a run" if folder.exists() else "is not there"
        raise FolderError(
            f"no run in {folder}: it {what}; expected one that {', '.join(kind.command for kind in Kind)} has made"
        )
    return kind
