"""Commands that tell what a run has found: show, report."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from netmorph.cli.app import app, console, quoted, tell


class FigureKind(StrEnum):
    """What a figure can be written as."""

    png = "png"
    svg = "svg"
    pdf = "pdf"


RunArgument = Annotated[Path, typer.Argument(help="The run's folder.")]


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="The run's folder; RUN:ID tells of one of its networks.")],
    every: Annotated[bool, typer.Option("--all", help="A line for each network of the run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """What a run has found, also while it is running; or how one of its networks came about.

    Examples:

      netmorph show runs/digits-1

      netmorph show runs/digits-1:7
    """
    from netmorph import session
    from netmorph.report.listing import network_summary, network_table, network_view
    from netmorph.report.summary import summary, view
    from netmorph.run.opening import network_of, run_and_id

    folder, id = run_and_id(run)
    if id is not None and folder is not None:
        network_of(folder, id)  # that it is there
    with session.reading(folder or Path(run)) as records:
        if as_json:
            told = summary(records) if id is None else network_summary(records, id)
            sys.stdout.write(json.dumps(told, indent=2) + "\n")
            return
        console.print(view(records) if id is None else network_view(records, id))
        if every:
            Console(width=1000).print(network_table(records))  # one line a network, so that it can be searched


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
    from netmorph import session, zoo

    show(str(folder))
    tell(f"Best network: {session.best_network(folder)}")
    with session.reading(folder) as records:
        model = records.meta("config")["model"]
    own = model not in zoo.MODELS  # whose name in a file is not imported
    tell(f"  in Python: netmorph.load({str(folder)!r}{', base=' + model.rpartition(':')[2] if own else ''})")
    tell(f"  as code: netmorph export {quoted(folder)}{' --base ' + model if own else ''} --code network.py")
    tell(f"Report: {page}")
