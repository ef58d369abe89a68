"""The program itself: its commands hang on `app`, and what they print goes through here."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer
import typer.core
from rich.console import Console

from netmorph import __version__
from netmorph.cli.ending import WrongUse, ends_tidily

# The commands in the order of a day's work.
ORDER = (
    "demo",
    "groups",
    "draw",
    "look",
    "lr-find",
    "train",
    "evolve",
    "shrink",
    "neighbours",
    "watch",
    "show",
    "report",
    "plot",
    "export",
    "bank",
    "chain",
    "ranks",
    "reproduce",
)


class _InOrder(typer.core.TyperGroup):
    """Lists the commands in the order in which they are used, and ends all of them alike on Ctrl-C."""

    def invoke(self, ctx: Any) -> Any:
        with ends_tidily(lambda: tell("\nInterrupted.", errors)):
            return super().invoke(ctx)

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self.commands, key=ORDER.index)


BEGAN = perf_counter()  # before PyTorch is imported, which takes seconds that a budget of time counts

app = typer.Typer(
    cls=_InOrder,
    name="netmorph",
    help="Networks whose structure changes while they learn. Gradients move the weights; edits move the network.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console()
errors = Console(stderr=True)

Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        help="An argument of the model's constructor, as name=value. May be repeated.",
        rich_help_panel="Network",
    ),
]


def _version(asked: bool) -> None:
    if asked:
        tell(f"netmorph {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and end.")
    ] = False,
) -> None:
    """What stands before a command."""


def tell(text: str, to: Console = console) -> None:
    """Print as it is: on one line however narrow the terminal, so that paths and commands can be copied."""
    to.print(text, markup=False, highlight=False, soft_wrap=True)


def quoted(folder: Path) -> str:
    """A folder as a shell takes it."""
    return shlex.quote(str(folder))


def options(given: list[str] | None) -> dict[str, Any]:
    """The arguments that `--option name=value` stands for; a value is JSON where it reads as such."""
    return dict(map(_option, given or []))


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise WrongUse(f"--option takes name=value, such as width=0.5; got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
