"""The command that looks for a learning rate: lr-find."""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from netmorph.cli import meaning, options
from netmorph.cli.answers import answer
from netmorph.cli.app import Options, app, console, tell
from netmorph.cli.ending import reading_options
from netmorph.cli.grouped import Augmenting, Finer, Machine, OfData, Stepping, Streaming, also

if TYPE_CHECKING:  # PyTorch is imported when a command needs it
    from netmorph.train.lr_finder import RangeTest

LINES = 12
HEIGHT = 420


@app.command("lr-find")
@also(OfData, Streaming, Augmenting, Stepping, Finer, Machine)
def find(
    context: typer.Context,
    data: options.Data = "digits",
    model: options.Model = None,
    option: Options = None,
    width: options.Width = None,
    low: Annotated[float, typer.Option(help="The first learning rate.")] = 1e-6,
    high: Annotated[float, typer.Option(help="The last one, unless the loss diverges before.")] = 10.0,
    steps: Annotated[int, typer.Option(help="Training steps from one to the other.")] = 100,
    label_smoothing: options.Smoothing = 0.0,
    threads: options.Threads = None,
    output: Annotated[
        Path | None, typer.Option(help="Draw the loss by the learning rate here: a png, svg or pdf.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Suggest a learning rate, by a range test of some seconds.

    A network is trained for some steps while the learning rate rises from low to high, until the loss diverges. The
    suggestion is a third of the rate at which the loss, smoothed, is lowest. Give the options that the training will
    have: the right rate depends on the network, the optimizer, the batch size and the augmentation.

    Examples:

      netmorph lr-find --optimizer sgd

      netmorph lr-find --data ~/cifar10 --model resnet --pad 4 --flip --output rates.png
    """
    from netmorph.cli.given import start
    from netmorph.cores import own_cores
    from netmorph.report.figures import image_format, save
    from netmorph.report.training import range_test
    from netmorph.run.config import base
    from netmorph.run.defaults import for_training
    from netmorph.train.lr_finder import find_learning_rate
    from netmorph.train.seeding import seeded
    from netmorph.workers.threads import set_threads

    if output is not None:
        with reading_options():
            image_format(output.suffix)  # before the work, not after
    set_threads(threads or own_cores())
    dataset = meaning.data_config(context).load()
    defaults = for_training(dataset)
    told = meaning.recipe(context, defaults.recipe)
    seed, device = context.params["seed"], context.params["device"]
    with seeded(seed):
        network = base(**defaults.network(*start(model, meaning.arguments(option, width))), dataset=dataset).build()
    found = find_learning_rate(network, dataset, told, low=low, high=high, steps=steps, seed=seed, device=device)
    if output is not None:
        save(partial(range_test, found=found), output, HEIGHT)
        tell(f"Figure: {output}")
    if as_json:
        answer("lr-find", asdict(found))
        return
    console.print(_table(found))
    if found.at_the_end:
        tell(f"The loss still falls at the end of the range: a --high above {high:g} may show a better rate.")
    tell(f"Suggested learning rate: {found.suggestion:.2g}")


def _table(found: RangeTest) -> Table:
    """Some of the steps, among them those that matter."""
    lowest = found.smoothed.index(min(found.smoothed))
    nearest = min(range(len(found.rates)), key=lambda step: abs(math.log(found.rates[step] / found.suggestion)))
    told = {lowest: "lowest", nearest: "suggestion"}
    view = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    view.add_column("learning rate", justify="right")
    view.add_column("training loss, smoothed", justify="right")
    view.add_column("")
    every = math.ceil(len(found.rates) / LINES)
    for step in sorted({*range(0, len(found.rates), every), *told}):
        view.add_row(f"{found.rates[step]:.1e}", f"{found.smoothed[step]:.4f}", told.get(step, ""))
    return view
