"""Train random networks until their loss saturates, under several conditions, and look at their ranks meanwhile."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import process_time
from typing import Any

import torch
from torch import Tensor

from netmorph.data import Dataset, Split
from netmorph.files import remove_unfinished
from netmorph.measure import SpectrumError
from netmorph.ranks.architectures import Architecture, draw
from netmorph.ranks.looks import Look, look
from netmorph.ranks.rows import ROWS, Row, StudyError, read, write_rows
from netmorph.run import folders
from netmorph.run.config import DataConfig
from netmorph.run.folders import Kind
from netmorph.run.lock import RunLock
from netmorph.seeds import check_seed, generator_of
from netmorph.tasks import LOSS
from netmorph.train import Epoch, History, evaluate, train_many
from netmorph.train.nonfinite import NotFinite
from netmorph.typed import check_fields

FILE_NAME = folders.FILES[Kind.RANKS]
FEWEST = 5  # networks: fewer have no classes
VALIDATED = 1000  # validation samples that are read after each epoch
# When a loss has stopped falling. On shuffled labels it stays near its start at first: that is no end yet.
LEAST, PATIENCE, GAIN, FLOOR = 40, 8, 0.02, 0.005
TRUE, SHUFFLED, SMALL, AGAIN = "true", "shuffled", "small", "again"


@dataclass(frozen=True)
class StudyConfig:
    """What a study was asked to do.

    Attributes:
        networks: how many random ones; each is trained under every condition.
        repeated: of how many of them another seed is trained, too, to know the error of a rank.
        small: the share of the training samples of the small conditions.
        widths, depths: smallest and largest width, and number, of hidden layers.
        epochs: at most.
        every: look after so many epochs.
        stacked: see `netmorph.train.train_many`.
    """

    data: DataConfig = field(default_factory=lambda: DataConfig("mnist", train_size=2000))
    networks: int = 64
    repeated: int = 12
    small: float = 0.1
    widths: tuple[int, int] = (48, 256)
    depths: tuple[int, int] = (2, 4)
    epochs: int = 120
    every: int = 5
    stacked: bool | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name, (low, high) in {"widths": self.widths, "depths": self.depths}.items():
            if not 1 <= low <= high:
                raise StudyError(f"{name} are the smallest and the largest, both at least 1; got {low} and {high}")
        if self.networks < FEWEST:
            raise StudyError(
                f"networks must be at least {FEWEST}, or there are no classes to find; got {self.networks}"
            )
        if not 2 <= self.repeated <= self.networks or self.epochs < 1 or self.every < 1 or not 0 < self.small < 1:
            raise StudyError(
                "repeated is from 2 to networks, epochs and every are at least 1, small is a share between 0 and 1; "
                f"got repeated={self.repeated}, epochs={self.epochs}, every={self.every}, small={self.small}"
            )

    @staticmethod
    def from_json(told: dict[str, Any]) -> StudyConfig:
        """The config that `dataclasses.asdict` told of."""
        pairs = {name: tuple(told[name]) for name in ("widths", "depths")}
        config = StudyConfig(**(told | pairs | {"data": DataConfig(**told["data"])}))
        check_fields(config)
        return config


def study(folder: Path, config: StudyConfig, *, command: str = "", tell: Callable[[str], None] = print) -> list[Row]:
    """Train what is not trained yet, one group of networks after another; each is kept as soon as it is done.

    A study that was stopped, in whatever way, goes on with the group in which that happened.

    Args:
        folder: of a new study, or of this one.
        command: how it was asked for; kept beside the config.
        tell: gets a line for each group.

    Returns:
        All networks of the study, those that diverged among them.

    Raises:
        StudyError: the folder holds another study, or files that are damaged; or the data is constant, streamed, or is
            not to be classified.
        RunInUse: another process works in the folder.
        DataError: the data cannot be found or read.
        SaveError: a file cannot be written.
    """
    with RunLock(folder):
        data = conditions(config.data.load(), config)
        begin(folder, config, command)
        remove_unfinished(folder)
        remove_unfinished(folder / ROWS)
        architectures = draw(config.networks, config.widths, config.depths, config.seed)
        for name, dataset in data.items():
            chosen = range(config.repeated if name == AGAIN else config.networks)
            for group in groups([architectures[number] for number in chosen], apart=config.stacked is False):
                file = folder / ROWS / f"{name}-{group[0]:04d}.jsonl"
                if file.exists():
                    continue
                rows = together({number: architectures[number] for number in group}, name, dataset, config)
                write_rows(file, rows)
                for row in rows:
                    tell(told_of(row))
        return read(folder)


def begin(folder: Path, config: StudyConfig, command: str) -> None:
    """Write down what the study is, or find out that it is the one in the folder.

    Raises:
        StudyError: there is another one, or something else.
    """
    if (folder / FILE_NAME).exists():
        if config_of(folder) != config:
            raise StudyError(
                f"{folder} holds another study (its {FILE_NAME} tells which); go on with that by --resume {folder}, or "
                "choose another folder"
            )
        return
    if any(path.name != "lock" for path in folder.iterdir()):
        raise StudyError(f"{folder} is not empty, and holds no study; choose another folder")
    folders.begin(folder, Kind.RANKS, asdict(config), command)


def config_of(folder: Path) -> StudyConfig:
    """What the study in a folder was asked to do.

    Raises:
        StudyError: there is none, or its file is damaged.
    """
    return folders.config_of(folder, Kind.RANKS, StudyConfig.from_json, StudyError)


def conditions(dataset: Dataset, config: StudyConfig) -> dict[str, Dataset]:
    """The data that each network is trained on: true and shuffled labels, all samples and few; and once again.

    Raises:
        StudyError: the data is constant, streamed, or is not to be classified.
    """
    train = dataset.train
    if not isinstance(train, Split) or not isinstance(dataset.validation, Split) or not dataset.classes:
        raise StudyError(
            f"the study shuffles labels of samples in memory; {dataset.name} has no classes, or is streamed"
        )
    if bool((train.inputs == train.inputs[:1]).all()) or bool((train.targets == train.targets[:1]).all()):
        raise StudyError(f"{dataset.name} is constant: all training samples are the same, or of one class; take others")
    random = generator_of(config.seed)
    few = torch.randperm(len(train), generator=random)[: max(2, round(config.small * len(train)))]
    dataset = replace(dataset, validation=Split(*next(dataset.validation.cut(VALIDATED))))
    return {
        TRUE: dataset,
        AGAIN: dataset,
        # Each so often that an epoch has as many steps: fewer steps would leave the weights nearer to their start.
        SMALL: replace(dataset, train=train.select(few.repeat(math.ceil(len(train) / len(few)))[: len(train)])),
        # The same samples with the labels of others: nothing is left to learn but each by heart.
        SHUFFLED: replace(
            dataset, train=replace(train, targets=train.targets[torch.randperm(len(train), generator=random)])
        ),
    }


def trainings_of(config: StudyConfig) -> int:
    """How many trainings a study is: each network on true and shuffled labels and on few samples, some once again."""
    return 3 * config.networks + config.repeated


def groups(architectures: Sequence[Architecture], apart: bool) -> list[list[int]]:
    """The numbers of networks that can be trained as one stacked batch; `apart`, each by itself."""
    found: dict[object, list[int]] = {}
    for number, architecture in enumerate(architectures):
        found.setdefault(number if apart else architecture.kind, []).append(number)
    return list(found.values())


def saturated(history: History) -> bool:
    """Whether the training loss has stopped falling: by less than `GAIN` in `PATIENCE` epochs, or as good as zero."""
    losses = [epoch.train[LOSS] for epoch in history]
    if len(losses) < LEAST:
        return False
    return losses[-1] < FLOOR or min(losses[-PATIENCE:]) > (1 - GAIN) * min(losses[:-PATIENCE])


def together(group: Mapping[int, Architecture], condition: str, dataset: Dataset, config: StudyConfig) -> list[Row]:
    """Train networks of one kind; one that diverges is told as failed, and the others begin again without it."""
    left = dict(group)
    failed: list[Row] = []
    while left:
        started = process_time()
        try:
            return [*failed, *_trained(left, condition, dataset, config)]
        except NotFinite as error:
            number = list(left)[error.network]
            seconds = process_time() - started
            failed.append(
                Row(
                    number,
                    condition,
                    _seed(number, condition, config),
                    left.pop(number),
                    (),
                    {},
                    False,
                    seconds,
                    str(error),
                )
            )
    return failed


def _trained(group: Mapping[int, Architecture], condition: str, dataset: Dataset, config: StudyConfig) -> list[Row]:
    started = process_time()
    seeds = [_seed(number, condition, config) for number in group]
    models = [
        architecture.build(dataset.input_shape, dataset.outputs, seed)
        for architecture, seed in zip(group.values(), seeds, strict=True)
    ]
    looks: list[list[Look]] = []
    for model in models:
        train, validation = (evaluate(model, part, dataset).numbers for part in (dataset.train, dataset.validation))
        looks.append([look(model, dataset, 0, train, validation, keep_values=True)])
    # Training ends with the weights of its best epoch, and what the study is about are those of the last one.
    latest: dict[int, tuple[Epoch, dict[str, Tensor]]] = {}

    def measure(place: int, epoch: Epoch, keep_values: bool) -> None:
        model, numbers = models[place], (epoch.train, epoch.validation)
        try:
            looks[place].append(look(model, dataset, epoch.epoch, *numbers, keep_values=keep_values))
        except SpectrumError as error:
            raise NotFinite(f"network {place}, epoch {epoch.epoch}: {error}", place) from error

    def on_epoch(place: int, epoch: Epoch) -> None:
        latest[place] = epoch, {name: value.clone() for name, value in models[place].state_dict().items()}
        if epoch.epoch % config.every == 0:
            # Singular values themselves at the first looks, and whenever the number of epochs has doubled.
            measure(place, epoch, epoch.epoch >= 2 * max(each.epoch for each in looks[place] if each.values))

    recipes = [architecture.recipe(config.epochs) for architecture in group.values()]
    histories = train_many(
        models, dataset, recipes, seeds=seeds, stacked=config.stacked, on_epoch=on_epoch, enough=saturated
    )
    rows = []
    for place, ((number, architecture), history) in enumerate(zip(group.items(), histories, strict=True)):
        epoch, weights = latest[place]
        models[place].load_state_dict(weights)
        looks[place] = [each for each in looks[place] if each.epoch < epoch.epoch]
        measure(place, epoch, keep_values=True)
        test = dict(evaluate(models[place], dataset.test, dataset).numbers)
        share = (process_time() - started) / len(group)
        rows.append(
            Row(number, condition, seeds[place], architecture, tuple(looks[place]), test, saturated(history), share)
        )
    return rows


def _seed(number: int, condition: str, config: StudyConfig) -> int:
    """Of a network, the same under all conditions but one."""
    return config.seed + number + (1_000_000 if condition == AGAIN else 0)


def told_of(row: Row) -> str:
    """A line about a network."""
    if row.failure is not None:
        return f"{row.condition} {row.network}: failed, {row.failure}"
    numbers = f"training loss {row.last.train[LOSS]:.3f}, " + ", ".join(
        f"test {name} {value:.3f}" for name, value in row.test.items() if name != LOSS
    )
    return f"{row.condition} {row.network}: {row.last.epoch} epochs in {row.seconds:.1f} s, {numbers}"
