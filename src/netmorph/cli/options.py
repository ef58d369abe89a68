"""The options that several commands have, each declared once; `grouped` has those that go together."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from netmorph.cli.app import console
from netmorph.cli.ending import WrongUse

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
DataGiven = Annotated[str | None, typer.Argument(metavar="DATA", help="The same as --data DATA.", rich_help_panel=DATA)]
DataOfTheRun = Annotated[
    str | None,
    typer.Option("--data", help=f"{_SOURCES} If not given: those of the run.", rich_help_panel=DATA),
]
Stream = Annotated[
    bool,
    typer.Option(
        "--stream",
        help="Leave the images on disk and read them as they are needed, cropped at random; for folders larger "
        "than memory, such as ImageNet's. Needs --resize, unless the model is an inception_resnet.",
        rich_help_panel=DATA,
    ),
]
SkipUnreadable = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="With --stream: read all images once before training, and leave out up to so many that cannot be read, "
        "which are counted and named; more end the command. If not given: the first one that training meets ends it.",
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
    int | None, typer.Option(min=1, help="Tokens in a window of a text; 128 if not given.", rich_help_panel=DATA)
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
        min=1,
        help="Use only so many training samples, evenly over the classes; of a text, windows.",
        rich_help_panel=DATA,
    ),
]
Resize = Annotated[str | None, typer.Option(help="Resize every image, as HEIGHTxWIDTH.", rich_help_panel=DATA)]
Pad = Annotated[
    int,
    typer.Option(
        min=0,
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

Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Trainings at a time, each in a process of its own; what the cores allow if not given.",
        rich_help_panel=SPEED,
    ),
]
WorkerThreads = Annotated[
    int,
    typer.Option(
        "--threads",
        min=1,
        help="Threads of each worker; part of what decides the numbers. More for large networks.",
        rich_help_panel=SPEED,
    ),
]

Seed = Annotated[int, typer.Option(min=0, help="Same seed, same machine: same numbers.", rich_help_panel=RUN)]


def _aside(context: typer.Context, asked: bool) -> bool:
    """With --json the standard output is JSON and nothing else: what people read goes to the other one."""
    if asked and not console.stderr:
        console.stderr = True
        context.call_on_close(lambda: setattr(console, "stderr", False))
    return asked


def picture(path: Path | None) -> Path | None:
    """What pictures of networks can be written to; refused before the network is built, not after."""
    if path is not None and path.suffix.lower() not in (".svg", ".html", ".json"):
        raise WrongUse(f"--output takes a picture *.svg, a page *.html, or the numbers *.json; got {str(path)!r}")
    return path


AsJson = Annotated[
    bool,
    typer.Option(
        "--json", callback=_aside, help="Print what was found as JSON (docs/json.md), and nothing else there."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(help="The folder for the new run; runs/NAME-N if not given.", rich_help_panel=RUN),
]
Resume = Annotated[
    Path | None,
    typer.Option(help="Go on with the run in this folder, with the options it began with.", rich_help_panel=RUN),
]
