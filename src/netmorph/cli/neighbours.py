"""The command that asks whether a network is a peak: neighbours."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netmorph.cli import meaning, options
from netmorph.cli.app import Options, app, errors, quoted, tell
from netmorph.cli.ending import WrongUse, ends_tidily, reading_options
from netmorph.cli.grouped import Augmenting, Course, Machine, OfData, Run, Stepping, Streaming, Working, also
from netmorph.cli.networks import BaseOption
from netmorph.cli.show import finish

if TYPE_CHECKING:  # PyTorch is imported when a command needs it
    from torch import nn

    from netmorph.data import Dataset
    from netmorph.graph.journal import Journal
    from netmorph.neighbours import Neighbour, NeighboursConfig, Row
    from netmorph.tasks import Criterion

AROUND = "Neighbours"


class Weights(StrEnum):
    """What neighbours start from."""

    both = "both"
    inherited = "inherited"
    fresh = "fresh"


@app.command()
@also(OfData, Streaming, Augmenting, Stepping, Course, Working, Machine, Run)
def neighbours(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            help="A network of netmorph (lenet5), which is trained first, a run's folder (its best network), RUN:ID, a "
            "file that netmorph.save wrote (*.safetensors), timm:NAME, torchvision:NAME, or your own as "
            "module:function.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many neighbours.", rich_help_panel=AROUND)] = 10,
    tolerance: Annotated[
        float, typer.Option(help="How far from the network's FLOPs they may be, as a share.", rich_help_panel=AROUND)
    ] = 0.05,
    step: Annotated[
        float,
        typer.Option(
            help="The largest factor by which the first width of an edit changes, at most 2.", rich_help_panel=AROUND
        ),
    ] = 1.5,
    moves: Annotated[
        int,
        typer.Option(
            min=1,
            help="So many edits of one kind make a neighbour; of a network of many layers one is hardly felt.",
            rich_help_panel=AROUND,
        ),
    ] = 1,
    seeds: Annotated[
        int,
        typer.Option(min=2, help="Trainings of each network, from each kind of weights.", rich_help_panel=AROUND),
    ] = 5,
    weights: Annotated[
        Weights, typer.Option(help="What neighbours start from.", rich_help_panel=AROUND)
    ] = Weights.both,
    as_given: Annotated[
        bool | None,
        typer.Option(
            "--as-given/--train-first",
            help="Neighbours inherit the weights that MODEL came with, the same ones at each seed; or those that it "
            "learns from fresh ones, at each seed anew. If not given: a network of netmorph by its name is trained.",
            rich_help_panel=AROUND,
        ),
    ] = None,
    calibration: Annotated[
        int,
        typer.Option(
            min=2,
            help="Training samples that tell which channels stay of a group that gets narrower.",
            rich_help_panel=AROUND,
        ),
    ] = 1000,
    data: options.DataOfTheRun = None,
    base: BaseOption = None,
    option: Options = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Passes over the training data in each training. If not given: what netmorph train takes.",
            rich_help_panel=options.OPTIMIZATION,
        ),
    ] = None,
) -> None:
    """Ask whether a network is a peak of the space around it.

    Small edits around it in both directions cost about as many FLOPs: one group of channels wider and another one
    narrower, a layer more or less that all widths make up for; some single groups wider or narrower, too. The network
    and each of its neighbours are trained equally, at several seeds. Told are paired differences on the test part with
    95% intervals, corrected for their number, and a verdict: what is a peak as far as these trainings can tell, and how
    small a difference they would have shown. A training that is finished is kept, and --resume goes on after kill -9.

    Examples:

      netmorph neighbours lenet5 --data mnist --train-size 10000 --epochs 3

      netmorph neighbours runs/mnist-1 --weights inherited --epochs 2

      netmorph neighbours --resume runs/lenet5-neighbours-1
    """
    from netmorph import neighbours as around
    from netmorph import session
    from netmorph.cli import shrink_config as asked
    from netmorph.neighbours import page, trainings
    from netmorph.run.folders import Kind
    from netmorph.watch import Countdown
    from netmorph.workers.executor import Processes

    told = context.params
    if told["resume"] is None:
        config, dataset = _config(context)
        folder = told["output"] or session.free_folder(f"{Path(config.model.replace(':', '-')).stem}-neighbours")
        trainings.create(folder, config, partial(given, config), dataset, meaning.command_line())
    else:
        folder = meaning.resumed(context, Kind.NEIGHBOURS, "model", "workers")
        config = around.NeighboursConfig.read(folder)
        asked.check_named(config, model)
        dataset = config.data.load()
    found = trainings.around(folder)
    tell(f"Folder: {folder} (netmorph show {quoted(folder)} tells how far it is)")
    _tell_neighbours(config, found)
    again = f"netmorph neighbours{asked.named_again(config)} --resume {quoted(folder)}"
    left = Countdown(trainings.left(folder, config))

    def tell_row(row: Row) -> None:
        _tell_row(row, found, dataset.task.chooses, left())

    with (
        ends_tidily(lambda: tell(f"\nInterrupted. Go on with: {again}", errors)),
        Processes(
            partial(around.handler, folder, config, partial(given, config)), told["workers"], config.threads
        ) as executor,
    ):
        page.write(folder, config, around.train_all(folder, config, executor, tell_row))
    finish(context, folder)


def given(config: NeighboursConfig, dataset: Dataset) -> tuple[nn.Module, Journal]:
    """The network in the middle; worker processes find this function by its name."""
    from netmorph.cli.shrink_config import network

    model, journal, _ = network(config, dataset)
    return model, journal


def _config(context: typer.Context) -> tuple[NeighboursConfig, Dataset]:
    """What the options ask for, and the data."""
    from dataclasses import replace

    from netmorph.cli import shrink_config as asked
    from netmorph.cli.given import check_known
    from netmorph.neighbours import NeighboursConfig
    from netmorph.neighbours.steps import STARTS
    from netmorph.run.defaults import for_training
    from netmorph.zoo import MODELS

    told = context.params
    model, weights, as_given = told["model"], told["weights"], told["as_given"]
    if model is None:
        raise WrongUse("which network? Give MODEL, or --resume FOLDER")
    check_known(model)
    its = asked.of_the_run(model)
    if told["data"] is None and its is None:
        raise WrongUse("give --data: what the network and its neighbours are trained and tested on")
    source = (meaning.data_config(context) if told["data"] is not None or its is None else its[0]).absolute()
    dataset = source.load()
    usual = for_training(dataset).recipe if its is None else its[1]
    same = ("base", "count", "tolerance", "step", "moves", "seeds", "calibration", "seed", "device", "threads")
    recipe = replace(asked.recipe(context, usual), epochs=told["epochs"] or usual.epochs)
    with reading_options():
        config = NeighboursConfig(
            model=model,
            data=source,
            recipe=recipe,
            options=meaning.arguments(told["option"], None),
            starts=tuple(STARTS) if weights is Weights.both else (weights.value,),
            untaught=model in MODELS if as_given is None else not as_given,
            **{name: told[name] for name in same},
        )
    return config, dataset


def _tell_neighbours(config: NeighboursConfig, found: tuple[Neighbour, ...]) -> None:
    for each in found[1:]:
        share = each.flops / found[0].flops
        tell(f"{each.number:>4}  {each.name}  ({share:.3f} times the FLOPs, {each.parameters:,} parameters)")
    if len(found) - 1 < config.count:
        tell(f"{len(found) - 1} of {config.count} neighbours were found; a larger --tolerance or --step gives more")


def _tell_row(row: Row, found: tuple[Neighbour, ...], criterion: Criterion, left: str) -> None:
    where = f"{row.job.start} weights, seed {row.job.seed}: {row.job.neighbour} {found[row.job.neighbour].name}"
    if row.failure is not None:
        tell(f"{where}: failed, {row.failure} ({left})")
    else:
        value = criterion.text(row.test[criterion.name])
        tell(f"{where}: test {criterion.name} {value}, {row.seconds:.1f} s ({left})")
