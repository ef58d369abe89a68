"""Chapters told on a terminal: what to read, the Python that does it, and what comes out."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from rich.console import Console
from rich.padding import Padding
from rich.syntax import Syntax
from rich.text import Text

from netmorph.demo.script import Chapter, read
from netmorph.errors import NetmorphError, require_all, suggest
from netmorph.files import check_free, write_text
from netmorph.report import findings
from netmorph.report.findings import Finding
from netmorph.report.numbers import duration
from netmorph.report.templates import PAGE
from netmorph.run.machine import machine, versions

# In the order in which they are told: each uses words of those before.
CHAPTERS = ("surgery", "growth", "rank", "chains", "evolution")
DIGITS = {"sklearn": "data"}
# Optional dependencies of each chapter, with the extra of netmorph that installs them.
NEEDS: Mapping[str, Mapping[str, str]] = {
    "surgery": DIGITS,
    "growth": PAGE,
    "rank": DIGITS | PAGE,
    "chains": DIGITS,
    "evolution": DIGITS | PAGE | {"moocore": "evolve"},
}
FOLDER = Path(__file__).parent / "chapters"


def chapter(name: str) -> Chapter:
    """A chapter by its name.

    Raises:
        NetmorphError: there is none of this name.
    """
    if name not in CHAPTERS:
        raise NetmorphError(f"no chapter {name!r}{suggest(name, CHAPTERS)}; there is {', '.join(CHAPTERS)}")
    return read(FOLDER / f"{name}.py")


def check_extras(names: Iterable[str]) -> None:
    """Refuse before the first of these chapters begins, not before the last.

    Raises:
        MissingExtra: one of them needs a package that is not installed.
    """
    for name in names:
        require_all(NEEDS[name])


def tell(told: Chapter, folder: Path, console: Console) -> tuple[Finding, ...]:
    """Run a chapter step by step, with its text and its code before each.

    Args:
        folder: where it runs, and so what its files are in; it is made. The script is put there, too: it can be run
            again, and changed.

    Returns:
        What it comes to: each `Finding` that the script has a name for.

    Raises:
        NetmorphError: what a step of it raises; the folder has files that would be in its way.
        SaveError: the script cannot be written.
    """
    check_free(folder, NetmorphError)
    script = folder / told.file.name
    write_text(script, told.file.read_text(encoding="utf-8"))
    began = perf_counter()
    console.rule(Text(told.title, "bold"))
    console.print(Text(told.text.partition("\n")[2].strip()))
    names: dict[str, object] = {"__name__": "__main__", "__file__": str(script)}
    with contextlib.chdir(folder):
        for step in told.steps:
            console.print("\n", Text(step.text), "\n", sep="")
            code = Syntax(step.code, "python", theme="ansi_dark", background_color="default", word_wrap=True)
            console.print(Padding(code, (0, 0, 1, 4)))
            exec(step.compiled(told.file), names)  # a script of netmorph's own
            sys.stdout.flush()
    files = sorted(path.name for path in folder.iterdir())
    console.print()
    console.print(
        f"{told.name}: {perf_counter() - began:.0f} s. In {folder}: {', '.join(files)}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return tuple(value for value in names.values() if isinstance(value, Finding))


def write_page(folder: Path, told: Mapping[str, Sequence[Finding]], command: str, seconds: float) -> Path:
    """Write what chapters come to as one page, `page.html`.

    Args:
        folder: in which each chapter has a folder of its name.
        told: the findings by chapter.
        command: as it was typed.
        seconds: that all of it took.

    Returns:
        Where the page is.

    Raises:
        SaveError: it cannot be written.
    """
    shown = [
        replace(finding, places=[f"{name}/{place}" for place in finding.places])
        for name, found in told.items()
        for finding in found
    ]
    processor, version = machine()["processor"], versions()
    made = (
        f"Made by {command} in {duration(seconds)} on {processor}, with netmorph {version['netmorph']} and PyTorch "
        f"{version['torch']}, on data that comes along. Every sentence follows from what was measured here, and would "
        "say so if a thing had not paid."
    )
    return findings.write(folder / "page.html", "What changing structure was worth here", [made], shown)
