"""What commands that train have in common: their options, and what these stand for."""

from __future__ import annotations

import shlex
import sys
from dataclasses import fields, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from netmorph.cli.app import options
from netmorph.errors import NetmorphError

if TYPE_CHECKING:  # PyTorch is imported when a command needs it
    from netmorph.policy import Weighted
    from netmorph.run.config import DataConfig
    from netmorph.train.recipe import Recipe

# Panels of --help.
DATA, NETWORK, OPTIMIZATION = "Data", "Network", "Optimization"
REGULARIZATION, SPEED, RUN = "Regularization", "Speed", "Run"


class OptimizerName(StrEnum):
    """The optimizers that a recipe names."""

    sgd = "sgd"
    adam = "adam"
    adamw = "adamw"
    muon = "muon"


_SOURCES = (
    "digits, diabetes (a table), stdlib (a text; these three are on every machine), mnist, kmnist, fashion_mnist, "
    "cifar10; a folder of images: Hugging Face parquet, the original files, or a folder a class; a table (.csv, .tsv, "
    ".parquet), arrays (.npz), or a text (.txt)."
)
Data = Annotated[str, typer.Option(help=_SOURCES, rich_help_panel=DATA)]
DataOfTheRun = Annotated[
    str | None,
    typer.Option("--data", help=f"{_SOURCES} If not given: those of the run.", rich_help_panel=DATA),
]
Stream = Annotated[
    bool,
    typer.Option(
        "--stream",
        help="Leave the images on disk and read them as they are needed, cropped at random; for folders larger "
        "than memory. Needs --resize.",
        rich_help_panel=DATA,
    ),
]
TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="classification, regression or text, where the data is not to decide: text reads any file, or all files "
        "of a folder. (A task of your own is for Python, see docs/data.md.)",
        rich_help_panel=DATA,
    ),
]
Target = Annotated[str | None, typer.Option(help="The column of a table to learn.", rich_help_panel=DATA)]
Ignore = Annotated[
    list[str] | None, typer.Option(help="A column of a table to leave out. May be repeated.", rich_help_panel=DATA)
]
Missing = Annotated[
    str | None,
    typer.Option(
        help="mean: it stands for missing numbers of a table, which are refused otherwise.", rich_help_panel=DATA
    ),
]
Window = Annotated[
    int | None, typer.Option(help="Tokens in a window of a text; 128 if not given.", rich_help_panel=DATA)
]
Unit = Annotated[
    str | None,
    typer.Option(
        help="What a token of a text is: a character or a byte; a character if not given.", rich_help_panel=DATA
    ),
]
TrainSize = Annotated[
    int | None,
    typer.Option(
        help="Use only so many training samples, evenly over the classes; of a text, windows.", rich_help_panel=DATA
    ),
]
Resize = Annotated[str | None, typer.Option(help="Resize every image, as HEIGHTxWIDTH.", rich_help_panel=DATA)]
Pad = Annotated[
    int,
    typer.Option(
        help="Crop training images at random after padding by so many pixels; 4 is usual for 32x32.",
        rich_help_panel=DATA,
    ),
]
Reflect = Annotated[
    bool,
    typer.Option("--reflect", help="Pad by a mirror image of the border in place of zeros.", rich_help_panel=DATA),
]
Flip = Annotated[
    bool,
    typer.Option("--flip", help="Mirror half of the training images; not for digits or text.", rich_help_panel=DATA),
]

Model = Annotated[
    str | None,
    typer.Option(
        help="mlp, lenet5, minivgg, resnet, resnet9, inception_resnet_small, inception_resnet_v2, gpt (of texts), the "
        "folder of a chain, or your own as module:function. If not given: lenet5 for images, mlp for tables, gpt for "
        "texts. A chain or your own is to be given again with --resume.",
        rich_help_panel=NETWORK,
    ),
]
Width = Annotated[
    float | None,
    typer.Option(
        help="Width multiplier of a netmorph model. If not given: evolve starts at 0.25, train at 1; gpt in train at "
        "0.5 (64 channels), and in both with two blocks (--option depth=2).",
        rich_help_panel=NETWORK,
    ),
]

BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Samples a training step. If not given: 16 for texts, 32 for small data, 64 otherwise; "
        "train: 64 for images.",
        rich_help_panel=OPTIMIZATION,
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--learning-rate",
        "--lr",
        help="Highest learning rate; netmorph lr-find suggests one. If not given: 0.005 for evolve, 0.001 for train "
        "(texts: 0.003).",
        rich_help_panel=OPTIMIZATION,
    ),
]
Schedule = Annotated[
    str,
    typer.Option(
        help="Learning rate over time: constant, linear, cosine, step (a tenth after a half, again after three "
        "quarters), stable (constant, then linear to 0 over --decay-share of the steps).",
        rich_help_panel=OPTIMIZATION,
    ),
]
Warmup = Annotated[
    float,
    typer.Option(
        help="Share of the run in which the learning rate rises from 0; 0.05 lets higher rates work, 0.3 with cosine "
        "is one-cycle.",
        rich_help_panel=OPTIMIZATION,
    ),
]
DecayShare = Annotated[
    float,
    typer.Option(
        help="Share of the run at its end in which the rate falls to 0, with --schedule stable.",
        rich_help_panel=OPTIMIZATION,
    ),
]
Optimizer = Annotated[OptimizerName, typer.Option(help="What moves the weights.", rich_help_panel=OPTIMIZATION)]
Momentum = Annotated[float, typer.Option(help="Momentum of sgd and muon.", rich_help_panel=OPTIMIZATION)]
Decay = Annotated[
    float | None,
    typer.Option(
        help="Weight decay; otherwise 0.01 for adamw and muon, 0.0005 for sgd, 0 for adam.",
        rich_help_panel=REGULARIZATION,
    ),
]
Nesterov = Annotated[bool, typer.Option(help="Nesterov's momentum for sgd.", rich_help_panel=OPTIMIZATION)]
ClipNorm = Annotated[
    float | None,
    typer.Option(
        help="Largest norm of the gradients; 1.0 where a loss becomes NaN or jumps.", rich_help_panel=OPTIMIZATION
    ),
]
Mixup = Annotated[
    float,
    typer.Option(
        help="Blend images in pairs, by a share of Beta(this, this); 0.2 is usual, for long trainings.",
        rich_help_panel=REGULARIZATION,
    ),
]
Cutmix = Annotated[
    float,
    typer.Option(
        help="Paste a box of one image into another; 1.0 is usual, for long trainings. With --mixup each batch "
        "draws one of both.",
        rich_help_panel=REGULARIZATION,
    ),
]
Smoothing = Annotated[
    float,
    typer.Option(
        help="Share of the target spread over all classes; 0.1 helps most classifiers.", rich_help_panel=REGULARIZATION
    ),
]

Accumulate = Annotated[
    int,
    typer.Option(help="Compute each batch in so many parts: the same steps in less memory.", rich_help_panel=SPEED),
]
Bf16 = Annotated[
    bool,
    typer.Option(
        "--bf16",
        help="Compute in bfloat16: faster on GPUs and on CPUs with AVX512-BF16 or AMX, slower elsewhere.",
        rich_help_panel=SPEED,
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...", rich_help_panel=SPEED)]
Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Threads of this process; all cores if not given.", rich_help_panel=SPEED),
]

Seed = Annotated[int, typer.Option(min=0, help="Same seed, same machine: same numbers.", rich_help_panel=RUN)]
RunOption = Annotated[
    Path | None,
    typer.Option("--run", "--run-folder", help="Folder for the new run; runs/NAME-N by default.", rich_help_panel=RUN),
]
Resume = Annotated[
    Path | None,
    typer.Option(help="Go on with this run, with the options it began with.", rich_help_panel=RUN),
]


def data_config(context: typer.Context) -> DataConfig:
    """The data that the command's options tell of."""
    from netmorph.run.config import DataConfig

    told = context.params
    if ":" in (told["task"] or ""):
        raise NetmorphError(
            f"--task takes classification, regression or text; {told['task']} may be a task of your own, which is for "
            "Python: netmorph.data.load(..., task=Task(...)) and netmorph.train.train, see docs/data.md"
        )
    return DataConfig(
        told["data"],
        told["seed"],
        train_size=told["train_size"],
        size=size(told["resize"]),
        streamed=told.get("stream", False),
        task=told["task"],
        target=told["target"],
        ignore=tuple(told["ignore"] or ()),
        missing=told["missing"],
        window=told["window"],
        unit=told["unit"],
    )


def recipe(context: typer.Context, default: Recipe, **read: Any) -> Recipe:
    """The recipe that the command's options tell: those with the names of its fields.

    Args:
        default: what is not given.
        read: fields whose options have to be read in another way.
    """
    names = {field.name for field in fields(default)}
    told = {name: value for name, value in context.params.items() if name in names and value is not None}
    return replace(default, **{**told, **read})


def arguments(given: list[str] | None, width: float | None) -> dict[str, Any]:
    """Of the network's constructor."""
    return options(given) | ({} if width is None else {"width": width})


def weighted(given: list[str] | None) -> list[Weighted]:
    """The proposals that `--proposal` names, imported because the user names them."""
    from netmorph.policy.proposals import Weighted, found

    told = [text.partition("=") for text in given or ()]
    try:
        weights = [float(weight or 1) for _, _, weight in told]
    except ValueError:
        raise NetmorphError(f"--proposal takes MODULE:FUNCTION or MODULE:FUNCTION=WEIGHT; got {given}") from None
    return [Weighted(found(name), weight) for (name, _, _), weight in zip(told, weights, strict=True)]


def size(text: str | None) -> tuple[int, int] | None:
    """`--resize` as numbers."""
    if text is None:
        return None
    try:
        height, width = map(int, text.lower().split("x"))
    except ValueError:
        raise NetmorphError(f"--resize takes HEIGHTxWIDTH, such as 16x16; got {text!r}") from None
    return height, width


def given(context: typer.Context, name: str) -> bool:
    """Whether the user wrote this option."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


RESUMED = "--resume: a run goes on as it began. Leave it out, or start a new run"


def refuse_others(context: typer.Context, allowed: set[str], why: str = RESUMED) -> None:
    """An option that would be ignored is an error.

    Args:
        why: with what it cannot be given, the reason, and what to do.
    """
    others = [f"--{name.replace('_', '-')}" for name in context.params if name not in allowed and given(context, name)]
    if others:
        raise NetmorphError(f"{', '.join(others)} cannot be given with {why}")


def command_line() -> str:
    """What the user typed, for the records."""
    return shlex.join(["netmorph", *sys.argv[1:]])


def named_again(model: str) -> str:
    """What goes with `--resume`: a function of the user's own is imported only where they name it."""
    return f" --model {shlex.quote(model)}" if ":" in model else ""
