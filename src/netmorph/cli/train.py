"""The command that trains one network: train."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated

import typer

from netmorph.cli import meaning, options
from netmorph.cli.app import Options, app, console, errors, quoted, tell
from netmorph.cli.ending import WrongUse, ends_tidily, reading_options
from netmorph.cli.grouped import Augmenting, Course, Finer, Machine, OfData, Run, Stepping, Streaming, also
from netmorph.cli.show import finish
from netmorph.errors import require

if TYPE_CHECKING:  # PyTorch is imported when a command needs it
    from netmorph.data import Dataset

BALANCED = "balanced"


@app.command()
@also(OfData, Streaming, Augmenting, Stepping, Course, Finer, Machine, Run)
def train(
    context: typer.Context,
    data_given: options.DataGiven = None,
    data: options.Data = "digits",
    model: options.Model = None,
    width: options.Width = None,
    option: Options = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Passes over the training data. If not given: 10 for images; as many as 60,000 rows of a table (10 to "
            "200), or 6 million tokens of a text, take.",
            rich_help_panel=options.OPTIMIZATION,
        ),
    ] = None,
    grow: Annotated[
        list[str] | None,
        typer.Option(
            help="Grow while it trains: 'at 80%: depth 12' (blocks; 'depth 12 copied', zero, r2r, stacked or random), "
            "'at 50%: width x2' (all groups of channels; 'width x2 net2net', ...), 'plateau of 5 epochs: width x2'. "
            "May be repeated. See docs/growth.md.",
            rich_help_panel=options.NETWORK,
        ),
    ] = None,
    after_growth: Annotated[
        str,
        typer.Option(
            help="The learning rate after a growth: unchanged, divide (by 5), parameter_ratio, warm_up (of what is "
            "new), rise (all of it warms up again), freeze (what is old, for 100 steps).",
            rich_help_panel=options.NETWORK,
        ),
    ] = "unchanged",
    patience: Annotated[
        int | None,
        typer.Option(help="Stop after so many epochs without a better one.", rich_help_panel=options.OPTIMIZATION),
    ] = None,
    ema: Annotated[
        float | None,
        typer.Option(
            help="Validate and keep a moving average of the weights with this decay a step; 0.99 for short "
            "trainings, 0.999 or more for long ones.",
            rich_help_panel=options.REGULARIZATION,
        ),
    ] = None,
    views: Annotated[
        int,
        typer.Option(
            help="Test by the mean answer to so many views of an image (test-time augmentation), at so many times the "
            "FLOPs: 2 asks the mirror image, too, where --flip helps; 6 also shifts both by a pixel.",
            rich_help_panel=options.REGULARIZATION,
        ),
    ] = 1,
    class_weights: Annotated[
        str | None,
        typer.Option(
            help="What each class counts in the loss, as 1,2,0.5 in the order of the classes; balanced weighs rare "
            "classes up.",
            rich_help_panel=options.REGULARIZATION,
        ),
    ] = None,
    threads: options.Threads = None,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            help="--bf16, and the channels of a pixel side by side: up to twice as fast for convolutional networks "
            "where the processor multiplies bfloat16, with its rounding.",
            rich_help_panel=options.SPEED,
        ),
    ] = False,
    compile: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Use torch.compile: up to minutes at the start, then faster. Needs a C++ compiler.",
            rich_help_panel=options.SPEED,
        ),
    ] = False,
    first_size: Annotated[
        float,
        typer.Option(
            help="Side of the images in the first epoch, as a share; it grows to 1 over two thirds of the run. 0.75 "
            "saves time; for networks that take images of any size (resnet).",
            rich_help_panel=options.SPEED,
        ),
    ] = 1.0,
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Log for TensorBoard, to RUN/tensorboard.", rich_help_panel=options.RUN),
    ] = False,
) -> None:
    """Train one network, keep its best epoch, and test it.

    A checkpoint is written after every epoch, and by one process every ten minutes within one: --resume goes on exactly
    as if nothing had happened, also after Ctrl-C or kill -9. The run's folder gets metrics.csv, metrics.jsonl and
    report.html.

    torchrun trains with several processes, each with its share of every batch.

    Examples:

      netmorph train --epochs 20

      netmorph train --data houses.csv --target price --ignore address

      netmorph train --data src/ --task text              a small gpt, over all files of a folder

      netmorph train --data cifar10 --model resnet --epochs 10 --optimizer sgd --lr 0.1 --weight-decay 5e-4
        --batch-size 128 --warmup 0.2 --pad 4 --flip --label-smoothing 0.1 --fast

      netmorph train --data stdlib --option depth=1 --schedule stable --grow "at 50%: depth 4"

      netmorph train --stream ~/imagenet --model inception_resnet_small --flip --fast

      torchrun --nproc-per-node 2 -m netmorph train --data cifar10 --model resnet --device cuda

      netmorph train --resume runs/digits-1
    """
    from netmorph import session
    from netmorph.cli.given import check_same_chain, start
    from netmorph.cores import own_cores
    from netmorph.run.config import TrainConfig
    from netmorph.run.defaults import for_training
    from netmorph.run.folders import Kind
    from netmorph.run.single import train_along
    from netmorph.train.parallel import joined
    from netmorph.watch import EpochProgress

    if tensorboard:
        require("tensorboard", "tensorboard")
    with joined() as world:
        if world.rank > 0:  # of the processes that torchrun started; the first one tells them, and the user, all
            with ends_tidily(lambda: None), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                train_along(world)
            return
        told, dataset = context.params, None
        if told["resume"] is None:
            source = meaning.data_config(context)
            if source.streamed and source.skip_unreadable is not None:
                tell(f"Reading all images in {source.source}, to find those that cannot be read ...")
            dataset = source.load()
            defaults = for_training(dataset)
            faster = {"bf16": told["bf16"] or fast, "channels_last": fast and dataset.has_images}
            weights = _class_weights(class_weights, dataset)
            network = defaults.network(*start(model, meaning.arguments(option, width)))
            recipe = meaning.recipe(context, defaults.recipe, **faster, class_weights=weights)
            with reading_options():
                config = TrainConfig(
                    data=source,
                    **network,
                    recipe=recipe,
                    grow=tuple(grow or ()),
                    after_growth=after_growth,
                    seed=told["seed"],
                    device=told["device"],
                    # Part of what decides the numbers, because sums depend on it.
                    threads=threads or own_cores(),
                )
            folder = session.create(
                told["output"] or session.free_folder(source.source), config, meaning.command_line(), world, dataset
            )
        else:
            folder = meaning.resumed(context, Kind.TRAIN, "tensorboard", "model")
            config = session.begun_with(folder, TrainConfig, model=start(model, {})[0])
            check_same_chain(model, config.options)
        tell(f"Folder: {folder} (netmorph show {quoted(folder)} tells how far it is)")
        program = "netmorph" if world.size == 1 else f"torchrun --nproc-per-node {world.local_size} -m netmorph"
        again = f"{program} train --resume {quoted(folder)}{meaning.named_again(config.model)}"
        go_on = f"\nInterrupted. Go on with: {again}"
        with (
            ends_tidily(lambda: tell(go_on, errors)),
            EpochProgress(config.recipe.epochs, session.criterion(folder), console) as progress,
        ):
            session.train(folder, progress, tensorboard, world, dataset, config.model)
        finish(context, folder)


def _class_weights(text: str | None, dataset: Dataset) -> tuple[float, ...] | None:
    """The numbers that `--class-weights` stands for."""
    from netmorph.data.balance import balanced_weights

    if text is None:
        return None
    if not dataset.classes:
        raise WrongUse(f"--class-weights is for classes, and {dataset.name!r} has none; leave it out")
    if text == BALANCED:
        return balanced_weights(dataset.train.targets, len(dataset.classes))
    try:
        return tuple(map(float, text.split(",")))
    except ValueError:
        raise WrongUse(
            f"--class-weights takes {BALANCED}, or a number for each class, such as 1,2,0.5; got {text!r}"
        ) from None
