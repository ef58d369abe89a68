"""Commands that tell what a run has found: show, report."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from netmorph.cli.app import app, console, tell


class FigureKind(StrEnum):
    """What a figure can be written as."""

    png = "png"
    svg = "svg"
    pdf = "pdf"


RunArgument = Annotated[Path, typer.Argument(help="The run's folder.")]


@app.command()
def show(
    run: RunArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """What a run has found, also while it is running."""
    from netmorph import session
    from netmorph.report.summary import summary, view

    with session.reading(run) as records:
        if as_json:
            sys.stdout.write(json.dumps(summary(records), indent=2) + "\n")
        else:
            console.print(view(records))


@app.command()
def report(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option(help="The page; RUN/report.html by default.")] = None,
    figures: Annotated[FigureKind | None, typer.Option(help="Write the figures as files, too, to RUN/figures.")] = None,
) -> None:
    """Write the report of a run: one HTML page that needs nothing else."""
    from netmorph.report import write, write_figures

    tell(f"Report: {write(run, out)}")
    if figures is not None:
        for path in write_figures(run, figures.value):
            tell(f"Figure: {path}")


def finish(folder: Path, page: Path) -> None:
    """What a command that has finished a run tells at its end."""
    from netmorph import session

    show(folder)
    tell(f"Best network: {session.best_network(folder)} (netmorph.load reads it)")
    tell(f"Report: {page}")
