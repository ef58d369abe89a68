"""The command that shows a run while it goes on: watch."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from netmorph.cli.app import app, console, errors, quoted, tell
from netmorph.cli.ending import ends_tidily
from netmorph.cli.meaning import refuse_others
from netmorph.cli.show import RunArgument

LOOPBACK = "127.0.0.1"
EVERY = 2.0  # seconds between two looks at a folder


@app.command()
def watch(
    context: typer.Context,
    run: RunArgument,
    host: Annotated[
        str, typer.Option(help="The address of this machine that answers; 0.0.0.0 lets other machines look.")
    ] = LOOPBACK,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where it answers; 0 takes a free port.")] = 0,
) -> None:
    """Show a run live: a training or an evolution in the browser, all others in the terminal.

    It only reads the run, which may go on, be interrupted or finished. The page tells lineage, Pareto front, curves,
    queue and failures until Ctrl-C; the terminal what netmorph show tells, as long as the run goes on.

    Examples:

      netmorph watch runs/digits-1

      netmorph watch runs/digits-1 --port 8000            an address that stays, for a bookmark or a tunnel

      netmorph watch runs/ranks-mnist-1
    """
    from netmorph.run.folders import Kind, kind_of

    with ends_tidily(lambda: tell("\nEnded.", errors)):
        if kind_of(run) not in (Kind.TRAIN, Kind.EVOLVE, None):
            refuse_others(context, {"run"}, f"{quoted(run)}: it is shown in the terminal, without a page. Leave it out")
            _follow(run)
            return
        with shown(run, host, port):
            tell("Ctrl-C ends it; the run is not touched.")
            while True:
                signal.pause()


def _follow(run: Path) -> None:
    """What netmorph show tells, again and again, as long as a process works in the folder."""
    from rich.live import Live

    from netmorph import kinds
    from netmorph.run.lock import in_use

    with Live(kinds.shown(run), console=console, auto_refresh=False) as view:
        while in_use(run):
            time.sleep(EVERY)
            view.update(kinds.shown(run), refresh=True)


@contextlib.contextmanager
def shown(run: Path, host: str = LOOPBACK, port: int = 0) -> Iterator[None]:
    """The page of a run is there, and the user knows where, while what is inside goes on."""
    from netmorph.live import serving

    with serving(run, host, port) as server:
        tell(f"Watch {quoted(run)} in the browser: {server.url}")
        if server.is_open:
            tell(
                "It is open to the network: whoever reaches this machine can look, and nothing asks who that is.",
                errors,
            )
        yield
