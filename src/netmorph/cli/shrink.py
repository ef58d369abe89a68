"""The command that makes a trained network smaller: shrink."""

from __future__ import annotations

from dataclasses import fields, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table

from netmorph.cli import options
from netmorph.cli.app import Options, app, console, errors, quoted, tell
from netmorph.cli.interrupt import ends_tidily
from netmorph.errors import NetmorphError

if TYPE_CHECKING:  # PyTorch is imported when a command needs it
    from torch import nn

    from netmorph.data import Dataset
    from netmorph.edit.journal import Base
    from netmorph.graph.journal import Journal
    from netmorph.shrink import Round
    from netmorph.shrinking import Finished, ShrinkConfig
    from netmorph.tasks import Criterion
    from netmorph.train.recipe import Recipe

SHRINKING = "Shrinking"
RANK = "rank"


class By(StrEnum):
    """What widths follow from."""

    rank = RANK


class Of(StrEnum):
    """What ranks are of."""

    activations = "activations"
    weights = "weights"


@app.command()
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
    task: options.TaskOption = None,
    target: options.Target = None,
    ignore: options.Ignore = None,
    missing: options.Missing = None,
    window: options.Window = None,
    unit: options.Unit = None,
    stream: options.Stream = False,
    train_size: options.TrainSize = None,
    resize: options.Resize = None,
    base: Annotated[
        str | None, typer.Option("--base", help="For a file: the network before its first edit, as MODEL.")
    ] = None,
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
    batch_size: options.BatchSize = None,
    optimizer: options.Optimizer = options.OptimizerName.adamw,
    learning_rate: options.Rate = None,
    schedule: Annotated[
        str,
        typer.Option(
            help="Learning rate over each training: constant, linear, cosine, step.",
            rich_help_panel=options.OPTIMIZATION,
        ),
    ] = "cosine",
    warmup: Annotated[
        float,
        typer.Option(
            help="Share of a training in which the learning rate rises from 0.", rich_help_panel=options.OPTIMIZATION
        ),
    ] = 0.0,
    weight_decay: options.Decay = None,
    label_smoothing: options.Smoothing = 0.0,
    pad: options.Pad = 0,
    reflect: options.Reflect = False,
    flip: options.Flip = False,
    bf16: options.Bf16 = False,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    seed: options.Seed = 0,
    code: Annotated[
        Path | None, typer.Option(help="Write plain Python here, too (*.py), and the weights beside it.")
    ] = None,
    onnx: Annotated[Path | None, typer.Option(help="Write ONNX here, too.")] = None,
    run: options.RunOption = None,
    resume: options.Resume = None,
) -> None:
    """Make a trained network smaller: to a share of what it costs, or to the ranks that it uses.

    Channels stay that add most to what their readers compute (--to), or to the other channels (--by rank); what reads
    them, then layer after layer, is fitted to what it computed before; then it trains. What is told at the end is
    measured on the test part, before and after.

    --by rank goes on in rounds until widths and ranks agree, or the accuracy falls more than the tolerance: then it
    goes back, and tries half as far. A round that is finished is kept, and --resume goes on from there, also after
    kill -9.

    Examples:

      netmorph shrink runs/digits-1 --to 50%flops

      netmorph shrink mlp --option hidden=[784,784] --data mnist --by rank

      netmorph shrink lenet5 --option width=0.1 --data mnist --by rank --grow 2 --fill 0.8      from below

      netmorph shrink timm:resnet18 --option pretrained=true --data ~/photos --resize 224x224 --to 50%flops

      netmorph shrink mypackage.nets:trained --data cifar10 --to 40%latency --epochs 3 --code small.py
    """
    from netmorph import export, shrinking
    from netmorph.cores import own_cores
    from netmorph.workers.threads import set_threads

    if resume is None:
        config = _config(context, threads or own_cores())
    else:
        options.refuse_others(context, {"resume", "model", "code", "onnx"})
        config = shrinking.ShrinkConfig.read(resume)
        _check_named(config, model)
    set_threads(config.threads)
    dataset = config.data.load()
    network, journal, origin = _network(config, dataset)
    network.to(config.device)
    folder = resume or run or _free_folder(config)
    if resume is None:
        shrinking.create(folder, config, network, dataset)
    tell(f"Folder: {folder}")
    again = f"netmorph shrink{_named_again(config)} --resume {quoted(folder)}"
    with ends_tidily(lambda: tell(f"\nInterrupted. Go on with: {again}", errors)):
        found = shrinking.run(
            folder, config, network, journal, dataset, origin, lambda told: _tell_round(told, dataset.task.chooses)
        )
    _tell_end(found, dataset.task.chooses)
    graph = found.shrunk.graph
    if code is not None:
        tell(f"Code: {code} (import load from it), weights: {export.write_code(graph, code)}")
    if onnx is not None:
        export.onnx(graph, onnx)
        tell(f"ONNX: {onnx}")


def _config(context: typer.Context, threads: int) -> ShrinkConfig:
    """What the options ask for."""
    from netmorph.run.config import DataConfig
    from netmorph.run.defaults import for_training
    from netmorph.shrinking import ShrinkConfig, target_of
    from netmorph.zoo import MODELS

    told = context.params
    if told["model"] is None:
        raise NetmorphError("which network? Give MODEL, or --resume FOLDER")
    if (told["by"] is None) == (told["to"] is None):
        raise NetmorphError("give --by rank, or --to a share of flops, params or latency, such as --to 50%flops")
    target, share = (RANK, 0.5) if told["to"] is None else target_of(told["to"])
    of_the_run = _of_the_run(told["model"])
    data: DataConfig
    if told["data"] is not None:
        data = options.data_config(context)
    elif of_the_run is not None:
        data = of_the_run[0]
    else:
        raise NetmorphError("give --data: what the network is calibrated, trained and tested on")
    usual = for_training(data.load()).recipe
    default = of_the_run[1] if of_the_run is not None else usual
    epochs, first = told["epochs"], told["first_epochs"]
    return ShrinkConfig(
        model=told["model"],
        data=data,
        recipe=_recipe(context, default),
        base=told["base"],
        options=options.arguments(told["option"], None),
        epochs=(usual.epochs + 1) // 2 if epochs is None else epochs,
        first_epochs=(usual.epochs if told["model"] in MODELS else 0) if first is None else first,
        target=target,
        share=share,
        rank=told["rank"],
        explained=told["explained"],
        own=_shares(told["own"]),
        spectrum=told["of"].value,
        fresh=told["fresh"],
        decay_factor=told["decay_factor"],
        fill=told["fill"],
        growth=told["grow"],
        multiple_of=(1 if target == RANK else 8) if told["multiple_of"] is None else told["multiple_of"],
        rounds=told["rounds"] if target == RANK else 1,
        tolerance=told["tolerance"],
        calibration=told["calibration"],
        seed=told["seed"],
        device=told["device"],
        threads=threads,
    )


def _recipe(context: typer.Context, default: Recipe) -> Recipe:
    """The default with what the user wrote."""
    names = [field.name for field in fields(default) if field.name != "epochs"]
    written = {name: context.params[name] for name in names if name in context.params and options.given(context, name)}
    return replace(default, **written)


def _of_the_run(model: str) -> tuple[Any, Recipe] | None:
    """Data and recipe of the run that a network is of, if it is of one."""
    from netmorph import session
    from netmorph.run.config import parts_of
    from netmorph.run.opening import run_and_id

    folder, _ = run_and_id(model)
    if folder is None:
        return None
    with session.reading(folder) as records:
        told = records.meta("config")
    if told is None:
        raise NetmorphError(f"the run in {folder} was stopped before it began; it has no network")
    return parts_of(told)


def _network(config: ShrinkConfig, dataset: Dataset) -> tuple[nn.Module, Journal, Base | None]:
    """The network, its edits, and what builds it before them, if a file can tell that."""
    from netmorph.cli.given import SUFFIX, Wanted, network
    from netmorph.edit.journal import told_base
    from netmorph.run.config import base
    from netmorph.run.opening import file_of
    from netmorph.train.seeding import seeded
    from netmorph.zoo import MODELS

    shape = tuple(dataset.input_shape)
    with seeded(config.seed):
        if config.model in MODELS:
            origin = base(config.model, config.options, dataset)
            return origin.build(), (), origin
        file = file_of(config.model)
        wanted = Wanted(config.model, config.base, shape, dataset.outputs, config.options)
        model, _, journal = network(wanted)
        return model, journal, told_base(file) if file.suffix == SUFFIX else None


def _shares(given: list[str] | None) -> dict[str, float]:
    told = [text.rpartition("=") for text in given or ()]
    try:
        return {name: float(share) for name, _, share in told}
    except ValueError:
        raise NetmorphError(f"--own takes NAME=SHARE, such as fc1=0.95; got {given}") from None


def _free_folder(config: ShrinkConfig) -> Path:
    from netmorph import session

    name = Path(config.model.replace(":", "-")).stem
    return session.free_folder(f"{name}-shrunk")


def _named_again(config: ShrinkConfig) -> str:
    """A function of the user's own is imported only where they name it."""
    return f" {config.model}" if _is_own(config.model) else ""


def _is_own(model: str) -> bool:
    from netmorph.cli.given import LIBRARIES

    library, colon, _ = model.partition(":")
    return bool(colon) and library not in LIBRARIES and not Path(library).exists()


def _check_named(config: ShrinkConfig, model: str | None) -> None:
    if model is not None and model != config.model:
        raise NetmorphError(f"the shrinking began with {config.model}, and goes on with it; {model} was given")
    if model is None and (_is_own(config.model) or _is_own(config.base or "")):
        raise NetmorphError(
            f"the network is {config.model}, and what builds it is a function of yours. It is imported where you name "
            f"it, not because a file in a folder does: give {config.model} again, before --resume"
        )


def _tell_round(told: Round, criterion: Criterion) -> None:
    """A line for each round."""
    before = f"{criterion.text(told.untrained[criterion.name])} -> " if told.epochs else ""
    now = criterion.text(told.numbers[criterion.name])
    name = "as given" if told.number == 0 else f"round {told.number}"
    dropped = "" if told.kept else "  dropped: it lost more than the tolerance"
    console.print(
        f"{name:>9}  {told.parameters:>12,} parameters  {told.flops:>15,} FLOPs  validation {criterion.name} "
        f"{before}{now}{dropped}",
        highlight=False,
        soft_wrap=True,
    )


def _tell_end(found: Finished, criterion: Criterion) -> None:
    from netmorph.report.shrinking import rows_of

    tell(f"Done: {found.shrunk.stopped}.")
    view = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    view.add_column("")
    for name in ("before", "after", ""):
        view.add_column(name, justify="right")
    for row in rows_of(found.before, found.after, criterion):
        view.add_row(*row)
    console.print(view)
    tell(f"Network: {found.network}")
    tell(f"Report: {found.page}")
