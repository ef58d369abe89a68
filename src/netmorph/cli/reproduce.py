"""The command that runs published tables again: reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netmorph.cli.app import app, tell
from netmorph.cli.options import Threads
from netmorph.errors import NetmorphError, suggest


@app.command()
def reproduce(
    study: Annotated[str, typer.Argument(help="Which table: cnn-tutorial.")],
    row: Annotated[list[str] | None, typer.Option(help="Run this row only. May be repeated.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Runs of each row; 3 if not given, or 1 where a run is long.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Keeps what is done, so that nothing is done twice; runs/STUDY by default.")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(help="A Markdown page for the tables, between its marks <!-- STUDY --> and <!-- /STUDY -->."),
    ] = None,
    threads: Threads = None,
    list_rows: Annotated[bool, typer.Option("--list", help="Only name the rows.")] = False,
) -> None:
    """Run a published table again, our figures beside the published ones.

    Stopped, it goes on where it was. The data is looked for in NETMORPH_DATA, else downloaded.

    Examples:

      netmorph reproduce cnn-tutorial --list

      netmorph reproduce cnn-tutorial --row mnist-lenet5 --row mnist-lenet5-5-epochs

      netmorph reproduce cnn-tutorial --into docs/results.md
    """
    from netmorph.cores import own_cores
    from netmorph.reproduce import STUDIES, around, insert, outcomes, page, run
    from netmorph.run.lock import RunLock
    from netmorph.workers.threads import set_threads

    if study not in STUDIES:
        raise NetmorphError(f"no table {study!r}{suggest(study, STUDIES)}; there is {', '.join(STUDIES)}")
    table = STUDIES[study]
    rows = table.pick(row or [])
    if list_rows:
        for one in rows:
            was = one.published
            tell(f"{one.name:<28} {one.recipe.epochs:>3} epochs; published: {was.accuracy:.2%} after {was.epochs}")
        return
    set_threads(threads or own_cores())
    if into is not None:
        around(study, into)  # before hours of training, not after
    home = folder or Path("runs") / study
    with RunLock(home):
        list(outcomes(table.rows, home))  # a file that is damaged, or of another recipe, is told now
        for one in rows:
            for seed in range(seeds or one.seeds):
                outcome = run(one, seed, home)
                tell(
                    f"{one.name}, seed {seed}: {outcome.accuracy:.2%} in {outcome.seconds:.0f} s "
                    f"(published: {one.published.accuracy:.2%} in {one.published.time})"
                )
    text = page(table, list(outcomes(table.rows, home)))
    if into is not None:
        insert(text, study, into)
    tell(text)
