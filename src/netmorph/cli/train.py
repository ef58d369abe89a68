"""The command that trains one network: train."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated

import typer

from netmorph.cli import options
from netmorph.cli.app import Options, app, console, errors, quoted, tell
from netmorph.cli.interrupt import ends_tidily
from netmorph.cli.show import finish
from netmorph.errors import NetmorphError, require

if TYPE_CHECKING:  # PyTorch is imported when a command needs it
    from netmorph.data import Dataset

BALANCED = "balanced"


@app.command()
def train(
    context: typer.Context,
    data_given: options.DataGiven = None,
    data: options.Data = "digits",
    task: options.TaskOption = None,
    target: options.Target = None,
    ignore: options.Ignore = None,
    missing: options.Missing = None,
    window: options.Window = None,
    unit: options.Unit = None,
    stream: options.Stream = False,
    skip_unreadable: options.SkipUnreadable = None,
    train_size: options.TrainSize = None,
    resize: options.Resize = None,
    pad: options.Pad = 0,
    reflect: options.Reflect = False,
    flip: options.Flip = False,
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
    batch_size: options.BatchSize = None,
    optimizer: options.Optimizer = options.OptimizerName.adamw,
    learning_rate: options.Rate = None,
    schedule: options.Schedule = "cosine",
    warmup: options.Warmup = 0.0,
    decay_share: options.DecayShare = 0.2,
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
    momentum: options.Momentum = 0.9,
    nesterov: options.Nesterov = True,
    clip_norm: options.ClipNorm = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop after so many epochs without a better one.", rich_help_panel=options.OPTIMIZATION),
    ] = None,
    weight_decay: options.Decay = None,
    label_smoothing: options.Smoothing = 0.0,
    mixup: options.Mixup = 0.0,
    cutmix: options.Cutmix = 0.0,
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
    device: options.Device = "cpu",
    threads: options.Threads = None,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            help="--bf16, and --channels-last for images: up to twice as fast for convolutional networks where the "
            "processor multiplies bfloat16, with its rounding.",
            rich_help_panel=options.SPEED,
        ),
    ] = False,
    bf16: options.Bf16 = False,
    channels_last: Annotated[
        bool,
        typer.Option(
            "--channels-last",
            help="Lay the channels of a pixel side by side: faster for most convolutions.",
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
    accumulate: options.Accumulate = 1,
    seed: options.Seed = 0,
    run: options.RunOption = None,
    resume: options.Resume = None,
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Log for TensorBoard, to RUN/tensorboard.", rich_help_panel=options.RUN),
    ] = False,
) -> None:
    """Train one network, keep its best epoch, and test it.

    A checkpoint is written after every epoch, and by one process every ten minutes within one: --resume goes on exactly
    as if nothing had happened, also after Ctrl-C or kill -9. The run's folder gets metrics.csv, metrics.jsonl and
    report.html.

    torchrun trains with several processes, each with its share of every batch. (It takes --run for an option of its
    own: write --run-folder there.)

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
        dataset = None
        if resume is None:
            source = options.data_config(context)
            if stream and skip_unreadable is not None:
                tell(f"Reading all images in {source.source}, to find those that cannot be read ...")
            dataset = source.load()
            defaults = for_training(dataset)
            faster = {"bf16": bf16 or fast, "channels_last": channels_last or (fast and dataset.has_images)}
            weights = _class_weights(class_weights, dataset)
            config = TrainConfig(
                data=source,
                **defaults.network(*start(model, options.arguments(option, width))),
                recipe=options.recipe(context, defaults.recipe, **faster, class_weights=weights),
                grow=tuple(grow or ()),
                after_growth=after_growth,
                seed=seed,
                device=device,
                # Part of what decides the numbers, because sums depend on it.
                threads=threads or own_cores(),
            )
            folder = session.create(
                run or session.free_folder(source.source), config, options.command_line(), world, dataset
            )
        else:
            options.refuse_others(context, {"resume", "tensorboard", "model"})
            folder, config = resume, session.begun_with(resume, TrainConfig, model=start(model, {})[0])
            check_same_chain(model, config.options)
        tell(f"Run folder: {folder}")
        program = "netmorph" if world.size == 1 else f"torchrun --nproc-per-node {world.local_size} -m netmorph"
        again = f"{program} train --resume {quoted(folder)}{options.named_again(config.model)}"
        go_on = f"\nInterrupted. Go on with: {again}"
        with (
            ends_tidily(lambda: tell(go_on, errors)),
            EpochProgress(config.recipe.epochs, session.criterion(folder), console) as progress,
        ):
            page = session.train(folder, progress, tensorboard, world, dataset, config.model)
        finish(folder, page)


def _class_weights(text: str | None, dataset: Dataset) -> tuple[float, ...] | None:
    """The numbers that `--class-weights` stands for."""
    from netmorph.data.balance import balanced_weights

    if text is None:
        return None
    if not dataset.classes:
        raise NetmorphError(f"--class-weights is for classes, and {dataset.name!r} has none; leave it out")
    if text == BALANCED:
        return balanced_weights(dataset.train.targets, len(dataset.classes))
    try:
        return tuple(map(float, text.split(",")))
    except ValueError:
        raise NetmorphError(
            f"--class-weights takes {BALANCED}, or a number for each class, such as 1,2,0.5; got {text!r}"
        ) from None
