"""What a run was asked to do, as plain values that are kept with it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from netmorph.data import NAMES, DataError, Dataset, load, stream
from netmorph.edit import Base
from netmorph.errors import NetmorphError, suggest
from netmorph.policy import POLICIES, Growth, Mutation, Proposal, parse
from netmorph.policy.growth import check_growths
from netmorph.run.budget import Budget
from netmorph.run.names import Against, Drawing, Guidance, Inheritance, Selecting, named
from netmorph.seeds import check_seed
from netmorph.train.recipe import Recipe
from netmorph.typed import check_fields
from netmorph.wording import listed
from netmorph.zoo import MODELS

Made = TypeVar("Made")
UNCHANGED = "unchanged"  # the learning rate after growth: what the schedule says
# Fields that are options of `load` alone, of tables and texts.
_OPTIONS = ("task", "target", "ignore", "missing", "window", "unit")


@dataclass(frozen=True)
class DataConfig:
    """Which data, and how it is split; see `netmorph.data.load`, or `netmorph.data.stream` if `streamed`."""

    source: str = "digits"
    seed: int = 0
    validation: float = 0.15
    train_size: int | None = None
    size: tuple[int, int] | None = None
    streamed: bool = False
    skip_unreadable: int | None = None
    task: str | None = None
    target: str | None = None
    ignore: tuple[str, ...] = ()
    missing: str | None = None
    window: int | None = None
    unit: str | None = None

    def __post_init__(self) -> None:
        for name in ("size", "ignore"):  # JSON has lists alone
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))

    def load(self) -> Dataset:
        """The data set.

        Raises:
            DataError: it cannot be found, read or split as asked, or is streamed without a size.
        """
        split: dict[str, Any] = {"seed": self.seed, "validation": self.validation, "train_size": self.train_size}
        options: dict[str, Any] = {name: value for name in _OPTIONS if (value := getattr(self, name)) not in (None, ())}
        if self.skip_unreadable is not None and not self.streamed:
            raise DataError("skip_unreadable is for images that are streamed; leave it out, or stream (--stream)")
        if not self.streamed:
            return load(self.source, size=self.size, **split, **options)
        if options:
            raise DataError(f"images that are streamed take no {listed([*options])}; leave out what is not for them")
        if self.source in NAMES:
            raise DataError(f"{self.source} fits in memory and is not streamed; leave stream out, or give a folder")
        if not Path(self.source).expanduser().exists():
            raise DataError(f"there is no folder {self.source} to stream images from; give one")
        if self.size is None:
            raise DataError(
                "streamed images have to be cropped and resized for the network; give their size (--resize 224x224)"
            )
        return stream(self.source, size=self.size, skip_unreadable=self.skip_unreadable, **split)

    def absolute(self) -> DataConfig:
        """The same, findable from any folder."""
        found = self.source in NAMES or not Path(self.source).expanduser().exists()
        return replace(self, source=self.source if found else str(Path(self.source).expanduser().resolve()))


# Fields of an evolution that are one of some names.
_NAMED = {"weights": Inheritance, "draw": Drawing, "guide": Guidance, "select": Selecting, "against": Against}


@dataclass(frozen=True)
class EvolveConfig:
    """An evolution of networks.

    Attributes:
        data: see `DataConfig`.
        model: the start network, a name of `netmorph.zoo` or `module:function`.
        options: arguments of its constructor beside input_shape and classes.
        recipe: how every network is trained; its `epochs` are those of a child.
        founders: how many networks like the start network, of other random weights, the population starts from. An
            ensemble of unrelated networks is better than one of siblings.
        start_epochs: epochs of the founders, and of each network of the random search.
        start_patience: these have converged after so many epochs in which the number that chooses got no better; None
            trains them to their end.
        population: how many networks live on after each round.
        children: how many are made in each round.
        weights: what they have of their parents' weights.
        draw: where they share them, which network a step trains.
        select: which networks live on.
        against: what their score is weighed against.
        smooth: compare networks by the mean probability of the right answer and not by the share of right answers,
            where that is what chooses. With few validation samples the better network is found more often.
        max_age: a network dies so many rounds after it was made, however good it is; None lets the good live on.
        mutation: how they differ.
        guide: what draws their edits, among those that the mutation finds.
        mutate_recipe: their learning rate and weight decay differ from their parents', too.
        tune: epochs that each survivor is trained on after the last round, at a rate that falls to zero, see
            `netmorph.ensemble.tuning`; 0 is none. They are counted, and baselines get as much.
        max_flops: forward FLOPs per sample that no child may exceed.
        budget: when the rounds end; of time, when all ends.
        seed: of everything but the data's splits.
        device: where networks are trained.
        threads: of each worker; part of what decides the numbers, because sums depend on it.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: str = "lenet5"
    options: dict[str, Any] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)
    founders: int = 4
    start_epochs: int = 10
    start_patience: int | None = None
    population: int = 4
    children: int = 6
    weights: Inheritance = Inheritance.INHERITED
    draw: Drawing = Drawing.UNIFORM
    select: Selecting = Selecting.FRONT
    against: Against = Against.FLOPS
    smooth: bool = False
    max_age: int | None = None
    mutation: Mutation = field(default_factory=Mutation)
    guide: Guidance = Guidance.UNIFORM
    mutate_recipe: bool = False
    tune: int = 0
    max_flops: float | None = None
    budget: Budget = field(default_factory=Budget)
    seed: int = 0
    device: str = "cpu"
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("founders", "start_epochs", "start_patience", "population", "children", "max_age", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise NetmorphError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.tune < 0:
            raise NetmorphError(f"tune is a number of epochs, 0 for none; got {self.tune}")
        for name, kind in _NAMED.items():
            object.__setattr__(self, name, named(kind, getattr(self, name)))  # JSON has texts alone
        if self.draw != Drawing.UNIFORM and self.weights != Inheritance.SHARED:
            raise NetmorphError(
                f"draw={self.draw} says which network a step trains where they share their weights, and these are "
                f"{self.weights}; leave it out, or let children share them (weights shared)"
            )
        if self.weights == Inheritance.SHARED and self.mutate_recipe:
            raise NetmorphError(
                "networks that share their weights are trained with one recipe; leave out mutate_recipe, or let "
                "children have a copy (weights inherited)"
            )
        if self.max_flops is not None and not self.max_flops > 0:
            raise NetmorphError(f"max_flops must be above 0, got {self.max_flops}")
        check_seed(self.seed)

    def base(self, dataset: Dataset) -> Base:
        """The start network's constructor."""
        return base(self.model, self.options, dataset)


@dataclass(frozen=True)
class TrainConfig:
    """One network's training; the fields are those of `EvolveConfig`, but for some.

    Attributes:
        grow: how the network grows while it trains, see `netmorph.policy.parse`.
        after_growth: the name of what sets the learning rates after a growth, of `netmorph.policy.POLICIES`.
        threads: of each process that trains; None takes all cores, or its share of them.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: str = "lenet5"
    options: dict[str, Any] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)
    grow: tuple[str, ...] = ()
    after_growth: str = UNCHANGED
    seed: int = 0
    device: str = "cpu"
    threads: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "grow", tuple(self.grow))  # JSON has lists alone
        if self.grow:
            check_growths(self.growths, self.recipe.epochs)
        if self.after_growth not in POLICIES:
            raise NetmorphError(
                f"unknown policy {self.after_growth!r} for the learning rate after growth"
                f"{suggest(self.after_growth, POLICIES)}; known are {', '.join(POLICIES)}"
            )
        if not self.grow and self.after_growth != UNCHANGED:
            raise NetmorphError(
                f"{self.after_growth!r} sets the rate after a growth, and there is none; say grow as well"
            )
        check_seed(self.seed)
        if self.threads is not None and self.threads < 1:
            raise NetmorphError(f"threads must be at least 1, got {self.threads}")

    def base(self, dataset: Dataset) -> Base:
        """The network's constructor."""
        return base(self.model, self.options, dataset)

    @property
    def growths(self) -> list[Growth]:
        """What `grow` tells."""
        return [parse(text) for text in self.grow]


Config = EvolveConfig | TrainConfig
_KINDS: dict[str, type[EvolveConfig] | type[TrainConfig]] = {"evolve": EvolveConfig, "train": TrainConfig}
_PARTS = {"data": DataConfig, "recipe": Recipe, "budget": Budget}


def as_json(config: Config) -> dict[str, Any]:
    """Nested dicts of plain values, with the task that the config is for. An infinite budget is None.

    Raises:
        ProposalError: a proposal cannot be told by its name.
    """
    kind = next(kind for kind, cls in _KINDS.items() if isinstance(config, cls))
    told = {"task": kind, **asdict(config)}
    if isinstance(config, EvolveConfig):
        told["mutation"] = config.mutation.as_json()
        told["budget"] = {key: None if value == math.inf else value for key, value in told["budget"].items()}
    return told


def from_json(told: dict[str, Any], proposals: Iterable[Proposal] = (), model: str | None = None) -> Config:
    """The config that `as_json` wrote.

    Args:
        proposals: the user's own, which a run names but which are never imported by that name.
        model: the network that the user names: nothing is imported because a file names it.

    Raises:
        ProposalError: a proposal that the config names is missing.
        NetmorphError: the network is a function of the user's own, and `model` is not that one; or no config is told
            like this.
    """
    try:
        values = {key: _part(_PARTS[key], value) if key in _PARTS else value for key, value in told.items()}
        if "mutation" in values:
            values["mutation"] = Mutation.from_json(values["mutation"], proposals)
        config = _KINDS[values.pop("task")](**values)
        check_fields(config)
    except NetmorphError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NetmorphError(f"the config of the run is none that netmorph writes: {error}") from error
    if model is not None and model != config.model:
        raise NetmorphError(f"the run began with the network {config.model}, and goes on with it; {model} was given")
    if model is None and config.model not in MODELS:
        raise NetmorphError(
            f"the run's network is {config.model}, a function of yours. It is imported where you name it, not because "
            f"a file in a folder does: give model={config.model!r} again (--model {config.model})"
        )
    return config


def parts_of(told: dict[str, Any]) -> tuple[DataConfig, Recipe]:
    """The data and the recipe of a config as `as_json` wrote it, whatever else it asks for.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: no config is told like this.
    """
    return data_of(told), _part(Recipe, told["recipe"])


def with_parts(kind: Callable[..., Made], told: dict[str, Any]) -> Made:
    """A config of something other than a run, with its data and its recipe. Raises as `parts_of`."""
    data, recipe = parts_of(told)
    return kind(**told | {"data": data, "recipe": recipe})


def data_of(told: dict[str, Any]) -> DataConfig:
    """Only the data. Raises as `parts_of`."""
    made: DataConfig = _part(DataConfig, told["data"])
    return made


def begun_with(path: Path, make: Callable[[dict[str, Any]], Made], what: str, error: type[NetmorphError]) -> Made:
    """The config with which a folder of something other than a run began.

    Args:
        make: the config, from plain values.
        what: the folder is of, in the message: "search".

    Raises:
        NetmorphError: of the type `error`; there is none, or it is damaged.
    """
    try:
        made = make(json.loads(path.read_text("utf-8")))
        check_fields(made)
    except (FileNotFoundError, NotADirectoryError):
        raise error(f"{path.parent} holds no {what} to go on with: there is no {path.name}") from None
    except (AttributeError, KeyError, TypeError, ValueError) as wrong:
        raise error(f"{path} is damaged, or was not written by netmorph: {wrong}") from wrong
    return made


def _part(kind: Any, told: dict[str, Any]) -> Any:
    made = kind(**_known(told))
    check_fields(made)
    return made


def base(model: str, options: dict[str, Any], dataset: Dataset) -> Base:
    """The constructor of a network for this data.

    Raises:
        NetmorphError: an option is one of the arguments that the data decides.
    """
    arguments = {"input_shape": list(dataset.input_shape), "classes": dataset.outputs}
    if taken := sorted(arguments.keys() & options.keys()):
        raise NetmorphError(f"{' and '.join(taken)} of the network come from the data; leave them out of the options")
    return Base(model, arguments | options)


def _known(told: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in told.items() if value is not None}
