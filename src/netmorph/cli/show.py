"""Commands that tell what a run has found: show, report."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from netmorph.cli.answers import answer
from netmorph.cli.app import app, console, quoted, tell
from netmorph.cli.ending import WrongUse
from netmorph.cli.options import AsJson


class FigureKind(StrEnum):
    """What a figure can be written as."""

    png = "png"
    svg = "svg"
    pdf = "pdf"


RunArgument = Annotated[Path, typer.Argument(help="The run's folder, whatever command made it.")]


@app.command()
def show(
    run: Annotated[
        str,
        typer.Argument(
            help="The run's folder, whatever command made it; RUN:ID tells of a network of a training or an evolution."
        ),
    ],
    every: Annotated[bool, typer.Option("--all", help="A line for each network of an evolution.")] = False,
    as_json: AsJson = False,
) -> None:
    """What a run has found, also while it is running; or how one of its networks came about.

    Examples:

      netmorph show runs/digits-1

      netmorph show runs/digits-1:7

      netmorph show runs/mlp-shrunk-1 --json
    """
    from netmorph import kinds, session
    from netmorph.report.listing import network_summary, network_table, network_view
    from netmorph.run.folders import Kind, kind_of
    from netmorph.run.opening import network_of, run_and_id

    holder, id = (None, None) if Path(run).is_dir() else run_and_id(run)
    folder = holder or Path(run)
    if id is not None:
        network_of(folder, id)  # that it is there
        with session.reading(folder) as records:
            if as_json:
                answer("network", network_summary(records, id))
            else:
                console.print(network_view(records, id))
        return
    kind = kind_of(folder)
    if every and kind not in (Kind.TRAIN, Kind.EVOLVE, None):
        raise WrongUse(f"--all lists the networks of an evolution, and {run} is of {kind.command}; leave it out")
    if as_json:
        tell_json(folder)
        return
    console.print(kinds.shown(folder))
    if every:
        with session.reading(folder) as records:
            Console(width=1000).print(network_table(records))  # one line a network, so that it can be searched


@app.command()
def report(
    run: RunArgument,
    output: Annotated[Path | None, typer.Option(help="The page; RUN/report.html if not given.")] = None,
    figures: Annotated[FigureKind | None, typer.Option(help="Write the figures as files, too, to RUN/figures.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the report of a run: one HTML page that needs nothing else.

    Examples:

      netmorph report runs/digits-1 --figures pdf

      netmorph report runs/lenet5-neighbours-1 --output page.html
    """
    from netmorph import kinds

    page = kinds.write(run, output)
    files = [] if figures is None else kinds.figures(run, figures.value)
    tell(f"Report: {page}")
    for path in files:
        tell(f"Figure: {path}")
    if as_json:
        answer("report", {"report": str(page), "figures": list(map(str, files))})


def tell_json(folder: Path) -> None:
    """What is known of a run's folder, as JSON."""
    from netmorph import kinds

    told = kinds.told(folder)
    answer(told.pop("kind"), told)


def finish(context: typer.Context, folder: Path) -> None:
    """What a command that has finished a run tells at its end: the same as netmorph show, and what to do next."""
    from netmorph import kinds
    from netmorph.run.folders import REPORT, Kind, kind_of, result_of

    if context.params["as_json"]:
        tell_json(folder)
        return
    console.print(kinds.shown(folder))
    if kind_of(folder) in (Kind.TRAIN, Kind.EVOLVE):
        _tell_best(folder)
    elif network := (result_of(folder) or {}).get("network"):
        tell(f"Network: {folder / network}{' (import load from it)' if network.endswith('.py') else ''}")
    tell(f"Report: {folder / REPORT}")


def _tell_best(folder: Path) -> None:
    from netmorph import session, zoo

    tell(f"Best network: {session.best_network(folder)}")
    with session.reading(folder) as records:
        model = records.meta("config")["model"]
    own = model not in zoo.MODELS  # whose name in a file is not imported
    tell(f"  in Python: netmorph.load({str(folder)!r}{', base=' + model.rpartition(':')[2] if own else ''})")
    tell(f"  as code: netmorph export {quoted(folder)}{' --base ' + model if own else ''} --code network.py")
