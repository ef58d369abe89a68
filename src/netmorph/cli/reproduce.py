"""The command that runs published tables again: reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netmorph.cli import meaning
from netmorph.cli.app import app, errors, quoted, tell
from netmorph.cli.ending import WrongUse, ends_tidily, reading_options
from netmorph.cli.grouped import Run, also
from netmorph.cli.options import Threads
from netmorph.cli.show import finish


@app.command()
@also(Run)
def reproduce(
    context: typer.Context,
    study: Annotated[str | None, typer.Argument(help="Which table: cnn-tutorial.", show_default=False)] = None,
    row: Annotated[list[str] | None, typer.Option(help="Run this row only. May be repeated.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Runs of each row; 3 if not given, or 1 where a run is long.")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(help="A Markdown page for the tables, between its marks <!-- STUDY --> and <!-- /STUDY -->."),
    ] = None,
    threads: Threads = None,
    list_rows: Annotated[bool, typer.Option("--list", help="Only name the rows.")] = False,
) -> None:
    """Run a published table again, our figures beside the published ones.

    The data is looked for in NETMORPH_DATA, else downloaded. What is stopped goes on by --resume.

    Examples:

      netmorph reproduce cnn-tutorial --list

      netmorph reproduce cnn-tutorial --row mnist-lenet5 --row mnist-lenet5-5-epochs

      netmorph reproduce --resume runs/cnn-tutorial-1 --into docs/results.md
    """
    from netmorph import reproduce as tables
    from netmorph.cores import own_cores
    from netmorph.run.folders import Kind
    from netmorph.run.lock import RunLock
    from netmorph.session import free_folder
    from netmorph.watch import Countdown
    from netmorph.workers.threads import set_threads

    if (folder := context.params["resume"]) is not None:
        folder = meaning.resumed(context, Kind.REPRODUCE, "into", "threads")
        asked = tables.Asked.read(folder)
    elif study is None:
        raise WrongUse(f"which table? Give one of {', '.join(tables.STUDIES)}, or --resume FOLDER")
    else:
        asked = tables.Asked(study, tuple(row or ()), seeds)
    with reading_options():
        table, rows = asked.table, asked.picked
    if list_rows:
        for one in rows:
            was = one.published
            tell(f"{one.name:<28} {one.recipe.epochs:>3} epochs; published: {was.accuracy:.2%} after {was.epochs}")
        return
    if into is not None:
        tables.around(table.name, into)  # before hours of training, not after
    if folder is None:
        folder = context.params["output"] or free_folder(table.name)
        tables.begin(folder, asked, meaning.command_line())
    set_threads(threads or own_cores())
    tell(f"Folder: {folder} (netmorph show {quoted(folder)} tells how far it is)")
    again = f"netmorph reproduce --resume {quoted(folder)}"
    with ends_tidily(lambda: tell(f"\nInterrupted. Go on with: {again}", errors)), RunLock(folder):
        todo = asked.left(folder)
        left = Countdown(len(todo))
        for one, seed in todo:
            outcome = tables.run(one, seed, folder)
            tell(
                f"{one.name}, seed {seed}: {outcome.accuracy:.2%} in {outcome.seconds:.0f} s "
                f"(published: {one.published.accuracy:.2%} in {one.published.time}; {left()})"
            )
        found = list(tables.outcomes(table.rows, folder))
        tables.write(folder, table, found)
    if into is not None:
        tables.insert(tables.page(table, found), table.name, into)
        tell(f"Tables: {into}")
    finish(context, folder)
