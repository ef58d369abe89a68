"""What options stand for: data, recipes, a network's arguments; and which of them cannot be given together."""

from __future__ import annotations

import shlex
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from netmorph.cli.app import errors, options, tell
from netmorph.cli.ending import WrongUse, reading_options

if TYPE_CHECKING:  # PyTorch is imported when a command needs it
    from netmorph.policy import Weighted
    from netmorph.run.config import DataConfig
    from netmorph.run.folders import Kind
    from netmorph.train.recipe import Recipe


def data_config(context: typer.Context) -> DataConfig:
    """The data that the command's options tell of."""
    from netmorph.run.config import DataConfig

    told = context.params
    if ":" in (told["task"] or ""):
        raise WrongUse(
            f"--task takes classification, regression or text; {told['task']} may be a task of your own, which is for "
            "Python: netmorph.data.load(..., task=Task(...)) and netmorph.train.train, see docs/data.md"
        )
    return DataConfig(
        source(context),
        told["seed"],
        train_size=told["train_size"],
        size=size(told["resize"]) or (_own_size(told["model"]) if told.get("stream") else None),
        streamed=told.get("stream", False),
        skip_unreadable=told.get("skip_unreadable"),
        task=told["task"],
        target=told["target"],
        ignore=tuple(told["ignore"] or ()),
        missing=told["missing"],
        window=told["window"],
        unit=told["unit"],
    )


def source(context: typer.Context) -> str:
    """The data's name, file or folder: the command's argument, or `--data`."""
    alone: str | None = context.params.get("data_given")
    if alone is not None and given(context, "data"):
        raise WrongUse(f"the data are given twice, as {alone} and by --data; leave one out")
    return alone or str(context.params["data"])


def _own_size(model: str | None) -> tuple[int, int] | None:
    """Height and width that the zoo's network is made for; None where it takes any."""
    from netmorph.zoo import TAKES

    if model not in TAKES or len(TAKES[model].shape) != 3:
        return None
    _, height, width = TAKES[model].shape
    tell(f"Images are resized to {height}x{width}, for which {model} is made; --resize sets another size.", errors)
    return height, width


def recipe(context: typer.Context, default: Recipe, **read: Any) -> Recipe:
    """The recipe that the command's options tell: those with the names of its fields.

    Args:
        default: what is not given.
        read: fields whose options have to be read in another way.
    """
    names = {field.name for field in fields(default)}
    told = {name: value for name, value in context.params.items() if name in names and value is not None}
    with reading_options():
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
        raise WrongUse(f"--proposal takes MODULE:FUNCTION or MODULE:FUNCTION=WEIGHT; got {given}") from None
    return [Weighted(found(name), weight) for (name, _, _), weight in zip(told, weights, strict=True)]


def size(text: str | None) -> tuple[int, int] | None:
    """`--resize` as numbers."""
    if text is None:
        return None
    try:
        height, width = map(int, text.lower().split("x"))
    except ValueError:
        height, width = 0, 0
    if min(height, width) < 1:
        raise WrongUse(f"--resize takes HEIGHTxWIDTH, such as 16x16; got {text!r}")
    return height, width


def given(context: typer.Context, name: str) -> bool:
    """Whether the user wrote this option."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


RESUMED = "--resume: a run goes on as it began. Leave it out, or start a new run"


def resumed(context: typer.Context, kind: Kind, *may: str) -> Path:
    """The folder that `--resume` names, with nothing beside it that would be ignored.

    Args:
        may: options that can be given with it.

    Raises:
        WrongUse: another option is given.
        FolderError: the folder is of another command.
    """
    from netmorph.run.folders import check_kind

    refuse_others(context, {"resume", "as_json", *may})
    folder: Path = context.params["resume"]
    check_kind(folder, kind)
    return folder


def refuse_others(context: typer.Context, allowed: set[str], why: str = RESUMED) -> None:
    """An option that would be ignored is an error.

    Args:
        why: with what it cannot be given, the reason, and what to do.
    """
    refused = [own for own in context.command.params if own.name not in allowed and given(context, str(own.name))]
    others = [own.opts[0] if own.param_type_name == "option" else str(own.metavar or own.name) for own in refused]
    if others:
        raise WrongUse(f"{', '.join(others)} cannot be given with {why}")


def command_line() -> str:
    """What the user typed, for the records."""
    return shlex.join(["netmorph", *sys.argv[1:]])


def named_again(model: str) -> str:
    """What goes with `--resume`: a function of the user's own is imported only where they name it."""
    return f" --model {shlex.quote(model)}" if ":" in model else ""
