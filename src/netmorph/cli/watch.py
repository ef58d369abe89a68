"""The command that shows a run in a browser while it goes on: watch."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from netmorph.cli.app import app, errors, quoted, tell
from netmorph.cli.ending import ends_tidily
from netmorph.cli.show import RunArgument

LOOPBACK = "127.0.0.1"


@app.command()
def watch(
    run: RunArgument,
    host: Annotated[
        str, typer.Option(help="The address of this machine that answers; 0.0.0.0 lets other machines look.")
    ] = LOOPBACK,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where it answers; 0 takes a free port.")] = 0,
) -> None:
    """Show a run in the browser, live: lineage, Pareto front, curves, queue, failures.

    It only reads the run, which may go on, be interrupted or finished. Ctrl-C ends it.

    Examples:

      netmorph watch runs/digits-1

      netmorph watch runs/digits-1 --port 8000            an address that stays, for a bookmark or a tunnel
    """
    from netmorph.kinds import check_followed

    check_followed(run)
    with ends_tidily(lambda: tell("\nEnded.", errors)), shown(run, host, port):
        tell("Ctrl-C ends it; the run is not touched.")
        while True:
            signal.pause()


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
