"""From the options of `netmorph shrink` to its config, and from that to the network."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol

import typer
from torch import nn

from netmorph import session
from netmorph.cli import meaning
from netmorph.cli.ending import WrongUse, reading_options
from netmorph.cli.given import CHAIN, LIBRARIES, SUFFIX, Wanted, check_known, is_chain, start
from netmorph.cli.given import network as given
from netmorph.data import Dataset
from netmorph.edit.journal import Base, told_base
from netmorph.errors import NetmorphError
from netmorph.graph.journal import Journal
from netmorph.run.config import DataConfig, base
from netmorph.run.defaults import for_training
from netmorph.run.opening import file_of
from netmorph.shrinking import RANK, ShrinkConfig, target_of
from netmorph.train.recipe import Recipe
from netmorph.train.seeding import seeded
from netmorph.zoo import MODELS


def data(context: typer.Context) -> DataConfig:
    """The data that was given, or that of the run that the network is of."""
    told = context.params
    if told["model"] is None:
        raise WrongUse("which network? Give MODEL, or --resume FOLDER")
    check_known(told["model"])
    if (told["by"] is None) == (told["to"] is None):
        raise WrongUse("give --by rank, or --to a share of flops, params or latency, such as --to 50%flops")
    if told["to"] is not None:
        with reading_options():
            target_of(told["to"])  # before anything is loaded
    if told["data"] is not None:
        return meaning.data_config(context)
    its = of_the_run(told["model"])
    if its is None:
        raise WrongUse("give --data: what the network is calibrated, trained and tested on")
    return its[0]


def config(context: typer.Context, source: DataConfig, dataset: Dataset, threads: int) -> ShrinkConfig:
    """What the options ask for."""
    told = context.params
    usual = for_training(dataset).recipe
    its = of_the_run(told["model"])
    target, share = (RANK, 0.5) if told["to"] is None else target_of(told["to"])
    epochs, first = told["epochs"], told["first_epochs"]
    same = ("base", "rank", "explained", "fresh", "decay_factor", "fill", "tolerance", "calibration", "seed", "device")
    return ShrinkConfig(
        model=told["model"],
        data=source,
        recipe=recipe(context, usual if its is None else its[1]),
        options=meaning.arguments(told["option"], None),
        epochs=(usual.epochs + 1) // 2 if epochs is None else epochs,
        first_epochs=(usual.epochs if told["model"] in MODELS else 0) if first is None else first,
        target=target,
        share=share,
        own=_shares(told["own"]),
        spectrum=told["of"].value,
        growth=told["grow"],
        multiple_of=(1 if target == RANK else 8) if told["multiple_of"] is None else told["multiple_of"],
        rounds=told["rounds"] if target == RANK else 1,
        threads=threads,
        **{name: told[name] for name in same},
    )


class Begun(Protocol):
    """A config, as far as it tells of the network that was given."""

    @property
    def model(self) -> str:
        """In the words of the command line."""
        ...

    @property
    def base(self) -> str | None:
        """For a file: the network before its first edit."""
        ...

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        ...

    @property
    def seed(self) -> int:
        """Of the weights of a network that has learnt nothing."""
        ...


def network(config: Begun, dataset: Dataset) -> tuple[nn.Module, Journal, Base | None]:
    """The network, its edits, and what builds it before them, if a file can tell that."""
    with seeded(config.seed):
        name, arguments = start(config.model, config.options)
        if name in MODELS or name == CHAIN:
            origin = base(name, arguments, dataset)
            return origin.build(), (), origin
        file = file_of(config.model)
        shape = tuple(dataset.input_shape)
        model, _, journal = given(Wanted(config.model, config.base, shape, dataset.outputs, config.options))
        return model, journal, told_base(file) if file.suffix == SUFFIX else None


def named_again(config: Begun) -> str:
    """What goes with --resume: a function of the user's own is imported only where they name it."""
    return f" {config.model}" if _is_own(config.model) else ""


def check_named(config: Begun, model: str | None) -> None:
    """Refuse to go on with another network, or to import a function because a file names it.

    Raises:
        NetmorphError: it is one of these.
    """
    if model is not None and model != config.model:
        raise NetmorphError(f"what is in the folder began with {config.model}, and goes on with it; {model} was given")
    if model is None and (_is_own(config.model) or _is_own(config.base or "")):
        raise NetmorphError(
            f"the network is {config.model}, and what builds it is a function of yours. It is imported where you name "
            f"it, not because a file in a folder does: give {config.model} again, before --resume"
        )


def of_the_run(model: str) -> tuple[DataConfig, Recipe] | None:
    """Data and recipe of the run that a network is of; a chain was trained by none."""
    return None if is_chain(model) else session.data_and_recipe(model)


def _is_own(model: str) -> bool:
    library, colon, _ = model.partition(":")
    return bool(colon) and library not in LIBRARIES and not Path(library).exists()


def recipe(context: typer.Context, default: Recipe) -> Recipe:
    """The default with what the user wrote."""
    names = [field.name for field in fields(default) if field.name != "epochs"]
    written = {name: context.params[name] for name in names if name in context.params and meaning.given(context, name)}
    with reading_options():
        return replace(default, **written)


def _shares(given: list[str] | None) -> dict[str, float]:
    told = [text.rpartition("=") for text in given or ()]
    try:
        return {name: float(share) for name, _, share in told}
    except ValueError:
        raise WrongUse(f"--own takes NAME=SHARE, such as fc1=0.95; got {given}") from None
