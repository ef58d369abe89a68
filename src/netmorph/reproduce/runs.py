"""Train the rows of a table, each with its seeds; what is done is kept in a folder and never done twice."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from netmorph import zoo
from netmorph.data import Dataset, Pixels, load
from netmorph.errors import NetmorphError
from netmorph.files import write_text
from netmorph.reproduce.rows import Row
from netmorph.run.machine import machine, versions
from netmorph.train.evaluation import evaluate
from netmorph.train.history import Epoch, History
from netmorph.train.loop import train
from netmorph.train.recipe import Recipe
from netmorph.train.seeding import seeded


@dataclass(frozen=True)
class Outcome:
    """One training run of a row.

    Attributes:
        row: the row's name.
        seed: of the weights, the order of the images, augmentation, and of which images are used if not all.
        threads: of the process.
        parameters: of the network.
        history: its epochs.
        machine, versions: where it was run.
        in_views: accuracy of the weights of the best epoch in as many views of the images as the recipe asks for;
            None if it asks for the images alone.
        views_seconds: what asking that took.
    """

    row: str
    seed: int
    threads: int
    parameters: int
    history: History
    machine: dict[str, Any]
    versions: dict[str, str]
    in_views: float | None = None
    views_seconds: float = 0.0

    @property
    def accuracy(self) -> float:
        """Validation accuracy of the best epoch, as the published tables count it; in all views."""
        return self.history.best.validation["accuracy"] if self.in_views is None else self.in_views

    @property
    def seconds(self) -> float:
        """Wall time of training and validation, and of asking in several views."""
        return sum(epoch.seconds for epoch in self.history) + self.views_seconds

    def seconds_to(self, accuracy: float) -> float | None:
        """Wall time until an epoch, or the views at the end, reached this accuracy; None if none did."""
        spent = 0.0
        for epoch in self.history:
            spent += epoch.seconds
            if epoch.validation["accuracy"] >= accuracy:
                return spent
        return self.seconds if self.accuracy >= accuracy else None


def run(row: Row, seed: int, folder: Path, on_epoch: Callable[[Epoch], None] = lambda epoch: None) -> Outcome:
    """Train a row with one seed, go on from its checkpoint, or read what it gave before.

    Args:
        folder: keeps checkpoints and outcomes.

    Raises:
        NetmorphError: the data cannot be loaded, or see `netmorph.train.train`.
    """
    path = _path(folder, row, seed)
    if path.exists():
        return _read(path, row)
    dataset = published_split(row, seed)
    with seeded(seed):
        model = zoo.build(row.network, dataset.input_shape, len(dataset.classes))
    checkpoint = path.with_suffix(".checkpoint")
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    history = train(model, dataset, row.recipe, seed=seed, checkpoint=checkpoint, resume=True, on_epoch=on_epoch)
    count = sum(parameter.numel() for parameter in model.parameters())
    outcome = Outcome(row.name, seed, torch.get_num_threads(), count, history, machine(), versions())
    if (views := row.recipe.views) > 1:
        started = perf_counter()
        found = evaluate(model, dataset.validation, dataset, bf16=row.recipe.bf16, views=views)
        outcome = replace(outcome, in_views=found["accuracy"], views_seconds=perf_counter() - started)
    told = {**asdict(outcome), "recipe": asdict(row.recipe), "history": [epoch.as_json() for epoch in history]}
    write_text(path, json.dumps(told))
    for file in checkpoint.parent.glob(f"{checkpoint.name}*"):
        file.unlink()
    return outcome


def outcomes(rows: tuple[Row, ...], folder: Path) -> Iterator[Outcome]:
    """What a folder holds of these rows, seed by seed."""
    for row in rows:
        for seed in itertools.count():
            if not (path := _path(folder, row, seed)).exists():
                break
            yield _read(path, row)


def published_split(row: Row, seed: int) -> Dataset:
    """The row's training images, with the published test images in the place of validation images."""
    dataset = load(row.data, seed=seed, validation=0, train_size=row.train_size)
    dataset = replace(dataset, validation=dataset.test)
    if row.normalize is None:
        return dataset
    mean, std = row.normalize
    channels = dataset.input_shape[0]
    return replace(dataset, preparation=Pixels((mean,) * channels, (std,) * channels))


def _path(folder: Path, row: Row, seed: int) -> Path:
    return folder / f"{row.name}.{seed}.json"


def _read(path: Path, row: Row) -> Outcome:
    try:
        told = json.loads(path.read_text())
        recipe = Recipe(**told.pop("recipe"))
        outcome = Outcome(**{**told, "history": History(Epoch.from_json(epoch) for epoch in told["history"])})
    except (ValueError, TypeError, KeyError) as error:
        raise NetmorphError(f"{path} cannot be read ({type(error).__name__}: {error}); delete it") from error
    if recipe != row.recipe:
        raise NetmorphError(f"{path} was run with another recipe; delete it, or give another folder")
    return outcome
