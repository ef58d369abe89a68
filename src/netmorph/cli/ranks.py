"""The commands about ranks: ranks study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from netmorph.cli import meaning, options
from netmorph.cli.app import app, errors, quoted, tell
from netmorph.cli.ending import ends_tidily, reading_options
from netmorph.cli.grouped import Run, also
from netmorph.cli.show import finish

ranks = typer.Typer(name="ranks", help="Ranks of layers: the study of where they converge.", no_args_is_help=True)
app.add_typer(ranks)


@ranks.command()
@also(Run)
def study(
    context: typer.Context,
    networks: Annotated[int, typer.Option(help="Random networks, at least 5.", rich_help_panel=options.NETWORK)] = 64,
    narrowest: Annotated[
        int, typer.Option(min=1, help="Units of the narrowest hidden layer.", rich_help_panel=options.NETWORK)
    ] = 48,
    widest: Annotated[
        int, typer.Option(min=1, help="Units of the widest hidden layer.", rich_help_panel=options.NETWORK)
    ] = 256,
    deepest: Annotated[
        int, typer.Option(min=2, help="The most hidden layers; the fewest are 2.", rich_help_panel=options.NETWORK)
    ] = 4,
    data: options.Data = "mnist",
    train_size: Annotated[
        int, typer.Option(help="Training samples, evenly over the classes.", rich_help_panel=options.DATA)
    ] = 2000,
    resize: options.Resize = None,
    epochs: Annotated[
        int, typer.Option(help="At most; a network ends when its training loss is flat.", rich_help_panel=options.RUN)
    ] = 120,
    every: Annotated[
        int, typer.Option(help="Look at the ranks after so many epochs.", rich_help_panel=options.RUN)
    ] = 5,
    stacked: Annotated[
        bool | None,
        typer.Option(
            "--stacked/--one-by-one",
            help="Train networks of one kind as one batch, or one after another. If not given: what is faster, by a "
            "trial; results then differ from run to run by rounding.",
            rich_help_panel=options.SPEED,
        ),
    ] = None,
    threads: options.Threads = None,
    seed: options.Seed = 0,
) -> None:
    """Study where the ranks of random networks converge.

    Networks of random depth, widths, skip connections, batch size, learning rate, weight decay and optimizer are
    trained until their training loss is flat, on true and on shuffled labels, on all samples and on few. The folder
    gets the ranks of all of them over time (rows/), report.html with the answers, and its figures as files. What is
    stopped goes on by --resume.

    Examples:

      netmorph ranks study --networks 64 --data mnist --one-by-one

      netmorph ranks study --data digits --networks 12 --epochs 60

      netmorph ranks study --resume runs/ranks-mnist-1
    """
    from netmorph.cores import own_cores
    from netmorph.errors import require_all
    from netmorph.ranks import StudyConfig, config_of, read, study, trainings_of, write
    from netmorph.report.templates import PAGE
    from netmorph.run.config import DataConfig
    from netmorph.run.folders import Kind
    from netmorph.session import free_folder
    from netmorph.watch import Countdown
    from netmorph.workers.threads import set_threads

    if context.params["resume"] is not None:
        folder = meaning.resumed(context, Kind.RANKS, "threads")
        config = config_of(folder)
    else:
        with reading_options():
            config = StudyConfig(
                DataConfig(data, seed, train_size=train_size, size=meaning.size(resize)).absolute(),
                networks=networks,
                repeated=min(StudyConfig.repeated, networks),
                widths=(narrowest, widest),
                depths=(2, deepest),
                epochs=epochs,
                every=every,
                stacked=stacked,
                seed=seed,
            )
        folder = context.params["output"] or free_folder(f"ranks-{Path(data).name}")
    require_all(PAGE | {"sklearn.cluster": "data"})
    set_threads(threads or own_cores())
    again = f"netmorph ranks study --resume {quoted(folder)}"
    tell(f"Folder: {folder} (netmorph show {quoted(folder)} tells how far it is)")
    left = Countdown(trainings_of(config) - len(read(folder)))
    with ends_tidily(lambda: tell(f"\nInterrupted. Go on with: {again}", errors)):
        study(folder, config, command=meaning.command_line(), tell=lambda line: tell(f"{line} ({left()})"))
        write(folder)
    finish(context, folder)
