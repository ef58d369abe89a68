"""Commands that train networks and search for them: evolve, train, show, report."""

from __future__ import annotations

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from netmorph.cli.app import Options, app, console, errors, options, tell
from netmorph.errors import NetmorphError


class OptimizerName(StrEnum):
    """The optimizers that a recipe names."""

    sgd = "sgd"
    adam = "adam"
    adamw = "adamw"


Data = Annotated[
    str,
    typer.Option(
        help="digits (embedded), mnist, kmnist, fashion_mnist, cifar10, or a folder: Hugging Face parquet, "
        "the original files, or images in one folder a class."
    ),
]
Model = Annotated[str, typer.Option(help="mlp, lenet5, minivgg, resnet, resnet9, or your own as module:function.")]
Width = Annotated[
    float | None, typer.Option(help="Width multiplier of a netmorph model; evolve starts at 0.25, train at 1.")
]
TrainSize = Annotated[int | None, typer.Option(help="Use only so many training images, evenly over the classes.")]
Resize = Annotated[str | None, typer.Option(help="Resize every image, as HEIGHTxWIDTH.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same machine: same numbers.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images a training step.")]
Rate = Annotated[float, typer.Option("--learning-rate", "--lr", help="Highest learning rate.")]
Optimizer = Annotated[OptimizerName, typer.Option(help="What moves the weights.")]
Decay = Annotated[float, typer.Option(help="Weight decay.")]
Pad = Annotated[int, typer.Option(help="Crop training images at random after padding by so many pixels.")]
Flip = Annotated[bool, typer.Option("--flip", help="Mirror half of the training images.")]
Bf16 = Annotated[bool, typer.Option("--bf16", help="Compute in bfloat16.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
RunOption = Annotated[Path | None, typer.Option("--run", help="Folder for the new run; runs/NAME-N by default.")]
Resume = Annotated[Path | None, typer.Option(help="Go on with this run, with the options it began with.")]
RunArgument = Annotated[Path, typer.Argument(help="The run's folder.")]


@app.command()
def evolve(
    context: typer.Context,
    data: Data = "digits",
    model: Model = "lenet5",
    option: Options = None,
    width: Width = None,
    budget: Annotated[
        str,
        typer.Option(
            help="When to end: a time for the whole run with its baselines (90s, 10m, 1h30m), rounds (8rounds), or "
            "training FLOPs of the evolution (3e14flops). The founders and one round are always made."
        ),
    ] = "2m",
    population: Annotated[
        int, typer.Option(min=1, help="Networks that live on after each round; the final ensemble.")
    ] = 4,
    founders: Annotated[
        int,
        typer.Option(min=1, help="Start networks, alike but for their weights; no line takes over the population."),
    ] = 4,
    children: Annotated[int, typer.Option(min=1, help="Networks made in each round.")] = 6,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of each child; by the data's size if not given.")
    ] = None,
    start_epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of the founders; three times a child's if not given.")
    ] = None,
    edits: Annotated[int, typer.Option(min=1, help="At most so many edits a child.")] = 4,
    locality: Annotated[float, typer.Option(help="At most this share of a child's parameters is new.")] = 0.75,
    max_flops: Annotated[float | None, typer.Option(help="Forward FLOPs that no child may exceed.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images a training step; 32 or 64 by the data's size if not given.")
    ] = None,
    learning_rate: Rate = 5e-3,
    optimizer: Optimizer = OptimizerName.adamw,
    weight_decay: Decay = 0.01,
    pad: Pad = 0,
    flip: Flip = False,
    bf16: Bf16 = False,
    train_size: TrainSize = None,
    resize: Resize = None,
    seed: Seed = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; as many as the cores allow if not given.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of each worker; more for large networks.")] = 1,
    device: Device = "cpu",
    run: RunOption = None,
    resume: Resume = None,
) -> None:
    """Grow a population from a small network, by exact edits with inherited weights.

    Each round the best networks, by validation accuracy against FLOPs, get children: copies that are widened or
    deepened without changing what they compute, and trained on for a few epochs. Beside them, with as many training
    FLOPs, the start network is trained on alone, and random networks are trained from scratch.

    Ctrl-C, or even kill -9, loses at most the networks in training: go on with --resume.

    Examples:

      netmorph evolve                                     the embedded digits, 2 minutes

      netmorph evolve --data ~/mnist --budget 10m         a folder of yours

      netmorph evolve --model mypackage.nets:build        called as build(input_shape=..., classes=...)

      netmorph evolve --resume runs/digits-1              after an interruption

      netmorph evolve --resume runs/digits-1 --budget 1h  and for longer
    """
    from netmorph import runs
    from netmorph.engine.budget import Budget
    from netmorph.engine.config import DataConfig, EvolveConfig
    from netmorph.engine.recipe import Recipe
    from netmorph.policy import Mutation
    from netmorph.watch import EvolutionWatch

    if resume is None:
        config = EvolveConfig(
            data=DataConfig(data, seed, train_size=train_size, size=_size(resize)),
            model=model,
            options=_arguments(option, width),
            recipe=Recipe(
                optimizer=optimizer.value,
                learning_rate=learning_rate,
                weight_decay=weight_decay,
                pad=pad,
                flip=flip,
                bf16=bf16,
            ),
            founders=founders,
            population=population,
            children=children,
            mutation=Mutation(edits=edits, locality=locality),
            max_flops=max_flops,
            budget=Budget.parse(budget),
            seed=seed,
            device=device,
            threads=threads,
        )
        config = runs.settle(config, epochs=epochs, start_epochs=start_epochs, batch_size=batch_size)
        folder = runs.create(run or runs.free_folder(data), config, _command())
    else:
        folder = resume
        _refuse_others(context, {"resume", "budget", "workers"})
        runs.begun_with(folder, EvolveConfig)  # that it is such a run, before anything is told
        if _given(context, "budget"):
            runs.extend(folder, Budget.parse(budget))
    tell(f"Run folder: {folder} (netmorph show {_quoted(folder)} tells how far it is)")
    try:
        with EvolutionWatch(console) as watch:
            page = runs.evolve(folder, workers, watch)
    except KeyboardInterrupt:
        tell(f"\nInterrupted. Go on with: netmorph evolve --resume {_quoted(folder)}", errors)
        raise typer.Exit(130) from None
    _finish(folder, page)


@app.command()
def train(
    context: typer.Context,
    data: Data = "digits",
    model: Model = "lenet5",
    option: Options = None,
    width: Width = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training data.")] = 10,
    batch_size: BatchSize = 64,
    learning_rate: Rate = 1e-3,
    optimizer: Optimizer = OptimizerName.adamw,
    momentum: Annotated[float, typer.Option(help="Momentum of sgd.")] = 0.9,
    weight_decay: Decay = 0.01,
    schedule: Annotated[str, typer.Option(help="Learning rate over time: constant, linear, cosine, step.")] = "cosine",
    patience: Annotated[int | None, typer.Option(help="Stop after so many epochs without a better one.")] = None,
    pad: Pad = 0,
    flip: Flip = False,
    bf16: Bf16 = False,
    train_size: TrainSize = None,
    resize: Resize = None,
    seed: Seed = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of this process; all cores if not given.")] = None,
    device: Device = "cpu",
    run: RunOption = None,
    resume: Resume = None,
) -> None:
    """Train one network, keep its best epoch, and test it.

    A checkpoint is written after every epoch: --resume goes on exactly as if nothing had happened.

    Examples:

      netmorph train --epochs 20

      netmorph train --data ~/cifar10 --model resnet --pad 4 --flip

      netmorph train --resume runs/digits-1
    """
    from netmorph import runs
    from netmorph.engine.config import DataConfig, TrainConfig
    from netmorph.engine.recipe import Recipe
    from netmorph.watch import EpochProgress

    if resume is None:
        config = TrainConfig(
            data=DataConfig(data, seed, train_size=train_size, size=_size(resize)),
            model=model,
            options=_arguments(option, width),
            recipe=Recipe(
                epochs=epochs,
                batch_size=batch_size,
                optimizer=optimizer.value,
                learning_rate=learning_rate,
                momentum=momentum,
                weight_decay=weight_decay,
                schedule=schedule,
                patience=patience,
                pad=pad,
                flip=flip,
                bf16=bf16,
            ),
            seed=seed,
            device=device,
        )
        folder = runs.create(run or runs.free_folder(data), config, _command())
    else:
        _refuse_others(context, {"resume", "threads"})
        folder, config = resume, runs.begun_with(resume, TrainConfig)
    tell(f"Run folder: {folder}")
    try:
        with EpochProgress(config.recipe.epochs, console) as progress:
            page = runs.train(folder, threads, progress)
    except KeyboardInterrupt:
        tell(f"\nInterrupted. Go on with: netmorph train --resume {_quoted(folder)}", errors)
        raise typer.Exit(130) from None
    _finish(folder, page)


@app.command()
def show(
    run: RunArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """What a run has found, also while it is running."""
    from netmorph import runs
    from netmorph.report.summary import summary, table

    with runs.reading(run) as records:
        if as_json:
            sys.stdout.write(json.dumps(summary(records), indent=2) + "\n")
        else:
            console.print(table(records))


@app.command()
def report(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option(help="The page; RUN/report.html by default.")] = None,
) -> None:
    """Write the report of a run: one HTML page that needs nothing else."""
    from netmorph.report import write

    tell(f"Report: {write(run, out)}")


def _given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _refuse_others(context: typer.Context, allowed: set[str]) -> None:
    """A run goes on as it began; an option that would be ignored is an error."""
    others = [f"--{name.replace('_', '-')}" for name in context.params if name not in allowed and _given(context, name)]
    if others:
        raise NetmorphError(
            f"{', '.join(others)} cannot be given with --resume: a run goes on as it began. "
            "Leave it out, or start a new run"
        )


def _arguments(given: list[str] | None, width: float | None) -> dict[str, Any]:
    return options(given) | ({} if width is None else {"width": width})


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        height, width = map(int, text.lower().split("x"))
    except ValueError:
        raise NetmorphError(f"--resize takes HEIGHTxWIDTH, such as 16x16; got {text!r}") from None
    return height, width


def _finish(folder: Path, page: Path) -> None:
    from netmorph import runs

    show(folder)
    tell(f"Best network: {runs.best_network(folder)} (netmorph.load reads it)")
    tell(f"Report: {page}")


def _command() -> str:
    return shlex.join(["netmorph", *sys.argv[1:]])


def _quoted(folder: Path) -> str:
    return shlex.quote(str(folder))
