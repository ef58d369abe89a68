"""The command that draws curves: plot."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netmorph.cli.answers import answer
from netmorph.cli.app import app, errors, tell
from netmorph.cli.ending import WrongUse
from netmorph.cli.meaning import refuse_others
from netmorph.cli.options import AsJson

if TYPE_CHECKING:  # what takes long is imported when the command runs
    from netmorph.plot import Grouping, Run


# What goes with a list, and with a table where nothing is drawn.
LISTING, TABLE = {"runs", "group", "listing", "as_json"}, {"runs", "group", "table"}


class SizeName(StrEnum):
    """A name of `netmorph.plot.SIZES`."""

    column = "column"
    page = "page"


class BandName(StrEnum):
    """A name of `netmorph.plot.BANDS`, or none of them."""

    interval = "interval"
    range = "range"
    none = "none"


@app.command()
def plot(
    context: typer.Context,
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Folders of runs or of TensorBoard, or of any number of these. With a name in front, R2R=runs/r2r-*, "
            "that is what these runs are called."
        ),
    ],
    tag: Annotated[
        list[str] | None,
        typer.Option(
            help="What is drawn, such as loss/validation; 'loss/train,loss/validation' or 'loss/*' draws several into "
            "one panel. Repeated: a panel each.",
            show_default="what tells how good the networks are",
        ),
    ] = None,
    x: Annotated[
        str | None, typer.Option("--x", help="epoch, step, flops, seconds, ...; --list tells what is known.")
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option(help="*.svg, *.pdf or *.png; its data stands beside it as *.csv. May be repeated."),
    ] = None,
    size: Annotated[
        SizeName, typer.Option(help="Of a paper's column (3.25 inches) or page (6.75 inches).")
    ] = SizeName.column,
    font: Annotated[str | None, typer.Option(help="A family, such as STIXGeneral beside Times.")] = None,
    group: Annotated[
        str | None,
        typer.Option(
            help="Settings, with commas: runs with the same values are one line. 'run' draws each by itself.",
            show_default="runs that differ only in their seed",
        ),
    ] = None,
    band: Annotated[
        BandName, typer.Option(help="Around a mean: its 95% interval, the lowest to the highest run, or nothing.")
    ] = BandName.interval,
    smooth: Annotated[
        float, typer.Option(help="Weight of a moving average, as in TensorBoard; what was recorded stays, pale.")
    ] = 0.0,
    log_x: Annotated[bool, typer.Option("--log-x", help="A logarithmic axis.")] = False,
    log_y: Annotated[bool, typer.Option("--log-y", help="A logarithmic axis.")] = False,
    span: Annotated[
        tuple[float, float] | None, typer.Option(help="The lowest and the highest number shown: --span 0.9 1.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="All numbers of all runs: *.csv, a row for each point; *.tex, the last, lowest and highest."),
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="Tell which runs and tags are there; draw nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Curves of runs, as a picture for a paper, or as a table.

    Runs that differ only in their seed are drawn as their mean with a band. What is printed below is the caption.

    Examples:

      netmorph plot runs/digits-1

      netmorph plot R2R=runs/r2r-* Net2Net=runs/net2net-* --tag accuracy/validation --x flops --output fig.pdf

      netmorph plot path/to/tensorboard --list

      netmorph plot path/to/tensorboard --table all.csv
    """
    from netmorph.plot import BANDS, SIZES, by_seed, by_settings, chart, read, save_table

    if listing or as_json:
        refuse_others(context, LISTING, "--list or --json: nothing is drawn or written. Leave it out")
    elif table is not None:
        if output is None:
            refuse_others(context, TABLE, "--table alone: nothing is drawn. Leave it out, or add --output")
        elif table in [path.with_suffix(".csv") for path in output]:
            raise WrongUse(f"{table} is where the data of the picture stand; choose another name for the table")
    found = read(*runs)
    grouping = by_seed if group is None else by_settings(*(name.strip() for name in group.split(",")))
    if listing or as_json:
        _list(found, grouping, as_json)
        return
    if table is not None:
        tell(f"Table: {save_table(found, table, grouping)}")
        if output is None:
            return
    made = chart(
        found,
        tag or (),
        axis=x,
        grouping=grouping,
        band=None if band is BandName.none else BANDS[band.value],
        smooth=smooth,
        log_x=log_x,
        log_y=log_y,
        span=span,
    )
    chosen = SIZES[size.value]
    for path in output or [Path("curves.svg")]:
        picture, data = made.save(path, chosen if font is None else replace(chosen, font=font))
        tell(f"Picture: {picture}")
        tell(f"  its data: {data}")
    tell(made.caption())
    for note in made.notes:
        tell(f"Note: {note}", errors)


def _list(runs: list[Run], grouping: Grouping, as_json: bool) -> None:
    from netmorph.plot import described
    from netmorph.wording import listed, ranges

    told = described(runs, grouping)
    if as_json:
        answer("curves", {"lines": told})
        return
    for line in told:
        word = "seed" if len(line["seeds"]) == 1 else "seeds"
        seeds = f", {word} {ranges(line['seeds'])}" if line["seeds"] else ""
        tell(f"{line['line']}: {listed(line['runs'])}{seeds}")
        for tag, known in line["tags"].items():
            points = sorted(set(known["points"]))
            count = f"{points[0]}" if len(points) == 1 else f"{points[0]} to {points[-1]}"
            tell(f"  {tag}  ({count} points; by {', '.join(known['axes'])})")
