"""The command that makes a trained network smaller: shrink."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from netmorph.cli import meaning, options
from netmorph.cli.app import Options, app, console, errors, quoted, tell
from netmorph.cli.ending import ends_tidily
from netmorph.cli.grouped import Augmenting, Course, Machine, OfData, Run, Stepping, Streaming, also
from netmorph.cli.networks import BaseOption
from netmorph.cli.show import finish

if TYPE_CHECKING:  # PyTorch is imported when a command needs it
    from netmorph.shrink import Round
    from netmorph.tasks import Criterion

SHRINKING = "Shrinking"


class By(StrEnum):
    """What widths follow from."""

    rank = "rank"


class Of(StrEnum):
    """What ranks are of."""

    activations = "activations"
    weights = "weights"


@app.command()
@also(OfData, Streaming, Augmenting, Stepping, Course, Machine, Run)
def shrink(
    context: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            help="A run's folder (its best network), RUN:ID, a file that netmorph.save wrote (*.safetensors), "
            "timm:NAME, torchvision:NAME, your own as module:function, or a network of netmorph (mlp, lenet5, resnet, "
            "gpt), which is trained first.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        By | None,
        typer.Option(help="rank: narrow every layer to its rank, train, and again.", rich_help_panel=SHRINKING),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(help="In one step to a share of flops, params or latency: 50%flops.", rich_help_panel=SHRINKING),
    ] = None,
    data: options.DataOfTheRun = None,
    base: BaseOption = None,
    option: Options = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Passes over the training data in each round; 0 trains nothing. If not given: half of what netmorph "
            "train takes.",
            rich_help_panel=options.OPTIMIZATION,
        ),
    ] = None,
    first_epochs: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Passes before the first round. If not given: for a network of netmorph by its name what netmorph "
            "train takes, for all others 0.",
            rich_help_panel=options.OPTIMIZATION,
        ),
    ] = None,
    rank: Annotated[
        str,
        typer.Option(
            help="effective_rank, stable_rank, participation_ratio, gavish_donoho_rank or numerical_rank.",
            rich_help_panel=SHRINKING,
        ),
    ] = "effective_rank",
    of: Annotated[
        Of, typer.Option(help="Of what readers of a layer see, or of its weights.", rich_help_panel=SHRINKING)
    ] = Of.activations,
    explained: Annotated[
        float | None,
        typer.Option(
            help="In place of --rank: by how many directions this share of the variance is explained, such as 0.98.",
            rich_help_panel=SHRINKING,
        ),
    ] = None,
    own: Annotated[
        list[str] | None,
        typer.Option(
            help="Such a share for one group, as NAME=0.95 (netmorph groups lists them). May be repeated.",
            rich_help_panel=SHRINKING,
        ),
    ] = None,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Draw new weights in each round; else they are kept.", rich_help_panel=SHRINKING),
    ] = False,
    grow: Annotated[
        float,
        typer.Option(
            help="Widen a layer that its rank fills so many times, so that a network finds its size from below as well "
            "as from above; 2 is usual, with --fill 0.8.",
            rich_help_panel=SHRINKING,
        ),
    ] = 1.0,
    fill: Annotated[
        float, typer.Option(help="The share of its width that a rank should fill.", rich_help_panel=SHRINKING)
    ] = 1.0,
    decay_factor: Annotated[
        float, typer.Option(help="Multiply weight decay by this from round to round.", rich_help_panel=SHRINKING)
    ] = 1.0,
    multiple_of: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Widths are multiples of this. If not given: 8 with --to, 1 with --by rank.",
            rich_help_panel=SHRINKING,
        ),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, help="No more rounds than this; --to takes one.", rich_help_panel=SHRINKING)
    ] = 10,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0,
            help="How far the validation number may fall: of an accuracy in points of one (0.005 is half a point), of "
            "others as a share.",
            rich_help_panel=SHRINKING,
        ),
    ] = 0.005,
    calibration: Annotated[
        int,
        typer.Option(min=2, help="Training samples that tell ranks and rebuild layers.", rich_help_panel=SHRINKING),
    ] = 1000,
    threads: options.Threads = None,
    code: Annotated[
        Path | None, typer.Option(help="Write plain Python here, too (*.py), and the weights beside it.")
    ] = None,
    onnx: Annotated[Path | None, typer.Option(help="Write ONNX here, too.")] = None,
) -> None:
    """Make a trained network smaller: to a share of what it costs, or to the ranks that it uses.

    Channels stay that add most to what their readers compute (--to), or to the other channels (--by rank); what reads
    them, then layer after layer, is fitted to what it computed before; then it trains. What is told at the end is
    measured on the test part, before and after.

    --by rank goes on in rounds until widths and ranks agree, or the accuracy falls more than the tolerance: then it
    goes back, and tries half as far. A round that is finished is kept, and --resume goes on from there, also after
    kill -9. What is not given of data and recipe is that of the run, if the network is of one.

    Examples:

      netmorph shrink runs/digits-1 --to 50%flops

      netmorph shrink mlp --option hidden=[784,784] --data mnist --by rank

      netmorph shrink lenet5 --option width=0.1 --data mnist --by rank --grow 2 --fill 0.8      from below

      netmorph shrink timm:resnet18 --option pretrained=true --data ~/photos --resize 224x224 --to 50%flops

      netmorph shrink mypackage.nets:trained --data cifar10 --to 40%latency --epochs 3 --code small.py
    """
    from netmorph import export, session, shrinking
    from netmorph.cli import shrink_config as asked
    from netmorph.cores import own_cores
    from netmorph.graph import trace
    from netmorph.run.folders import Kind
    from netmorph.train.checks import usable_device
    from netmorph.train.inputs import examples
    from netmorph.workers.threads import set_threads

    given = context.params
    if given["resume"] is None:
        source = asked.data(context)
        dataset = source.load()
        config = asked.config(context, source, dataset, threads or own_cores())
    else:
        folder = meaning.resumed(context, Kind.SHRINK, "model", "code", "onnx")
        config = shrinking.ShrinkConfig.read(folder)
        asked.check_named(config, model)
        dataset = config.data.load()
    set_threads(config.threads)
    network, journal, origin = asked.network(config, dataset)
    network.to(usable_device(config.device))
    graph = trace(network, examples(dataset, network), journal)
    if given["resume"] is None:
        folder = given["output"] or session.free_folder(f"{Path(config.model.replace(':', '-')).stem}-shrunk")
        shrinking.create(folder, config, graph, dataset, meaning.command_line())
    tell(f"Folder: {folder} (netmorph show {quoted(folder)} tells how far it is)")
    again = f"netmorph shrink{asked.named_again(config)} --resume {quoted(folder)}"
    chooses = dataset.task.chooses
    with (
        ends_tidily(lambda: tell(f"\nInterrupted. Go on with: {again}", errors)),
        console.status("measuring") as status,  # nothing where there is no terminal
    ):
        found = shrinking.run(
            folder,
            config,
            graph,
            dataset,
            origin,
            lambda told: _tell_round(told, chooses),
            lambda epoch: status.update(f"epoch {epoch.epoch}: validation {_numbers(epoch.validation, chooses)}"),
        )
    if code is not None:
        weights = export.write_code(found.shrunk.graph, code)
        tell(f"Code: {code} (import load from it), weights: {weights}")
    if onnx is not None:
        export.onnx(found.shrunk.graph, onnx)
        tell(f"ONNX: {onnx}")
    finish(context, folder)


def _tell_round(told: Round, criterion: Criterion) -> None:
    """A line for each round."""
    before = f"{criterion.text(told.untrained[criterion.name])} -> " if told.epochs else ""
    name = "as given" if told.number == 0 else f"round {told.number}"
    dropped = "" if told.kept else "  dropped: it lost more than the tolerance"
    console.print(
        f"{name:>9}  {told.parameters:>12,} parameters  {told.flops:>15,} FLOPs  validation {criterion.name} "
        f"{before}{criterion.text(told.numbers[criterion.name])}{dropped}",
        highlight=False,
        soft_wrap=True,
    )


def _numbers(told: Mapping[str, float], criterion: Criterion) -> str:
    return f"{criterion.name} {criterion.text(told[criterion.name])}"
