"""A shrinking in a folder: what was asked for, the rounds, the smallest network, and a page about them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from netmorph.data import Dataset
from netmorph.edit.journal import Base, save
from netmorph.errors import NetmorphError, require_all, suggest
from netmorph.files import write_text
from netmorph.graph import Graph
from netmorph.measure import SPECTRAL
from netmorph.measure.cost import cost
from netmorph.measure.timing import latency as seconds_of
from netmorph.observe.samples import Samples
from netmorph.report.plain_page import Page
from netmorph.report.shrinking import Measured, page
from netmorph.report.templates import PAGE
from netmorph.run.config import DataConfig, with_parts
from netmorph.run.folders import FIGURES, REPORT, RESULT, Kind, begin, check_free, config_of, result_of
from netmorph.run.lock import RunLock
from netmorph.scores import Score, contribution, magnitude
from netmorph.shrink import (
    SPECTRA,
    Rebuild,
    Round,
    ShrinkError,
    Shrunk,
    Widths,
    by_rank,
    explaining,
    fresh,
    kept,
    lowering,
    shrink,
    to_cost,
)
from netmorph.shrink.progress import read_rounds
from netmorph.tasks import Criterion
from netmorph.train.checks import check_training
from netmorph.train.evaluation import evaluate
from netmorph.train.history import Epoch
from netmorph.train.inputs import examples
from netmorph.train.recipe import Recipe

NETWORK = "network.safetensors"
RANK = "rank"
KINDS = ("flops", "params", "latency")


@dataclass(frozen=True)
class ShrinkConfig:
    """What a shrinking was asked to do, as plain values.

    Attributes:
        model: the network in the words of the command line; base, options: what belongs to it there.
        data: see `DataConfig`.
        recipe: of all trainings, but for their epochs.
        epochs: of each round's training; 0 trains nothing.
        first_epochs: of the network as it was given, before anything is measured.
        target: "rank", or one of `KINDS`: the share of it that is left is `share`.
        share: see `target`.
        rank: a name of `netmorph.measure.SPECTRAL`.
        explained: in its place the share of the variance that is to be explained, see `netmorph.shrink.explaining`.
        own: likewise for some groups, by name.
        spectrum: a name of `netmorph.shrink.SPECTRA`.
        fresh: draw new weights in each round.
        decay_factor: weight decay is multiplied by it from round to round.
        fill, growth, multiple_of: see `netmorph.shrink.by_rank`.
        rounds, tolerance, calibration, seed: see `netmorph.shrink.shrink`.
        device: where it is trained.
        threads: of this process; part of what decides the numbers.
    """

    model: str
    data: DataConfig
    recipe: Recipe
    base: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 5
    first_epochs: int = 0
    target: str = RANK
    share: float = 0.5
    rank: str = "effective_rank"
    explained: float | None = None
    own: dict[str, float] = field(default_factory=dict)
    spectrum: str = "activations"
    fresh: bool = False
    decay_factor: float = 1.0
    fill: float = 1.0
    growth: float = 1.0
    multiple_of: int = 1
    rounds: int = 10
    tolerance: float = 0.005
    calibration: int = 1000
    seed: int = 0
    device: str = "cpu"
    threads: int = 1

    def widths(self, score: Score = contribution) -> Widths:
        """What chooses the widths, by a score where a share of the cost is asked for.

        Raises:
            ShrinkError: a name is unknown, or a number makes no sense.
        """
        if self.target in KINDS:
            flops, params, latency = (self.share if kind == self.target else None for kind in KINDS)
            return to_cost(flops=flops, params=params, latency=latency, score=score, multiple_of=self.multiple_of)
        for told, known in ((self.rank, [*SPECTRAL]), (self.spectrum, [*SPECTRA])):
            if told not in known:
                raise ShrinkError(f"{told!r} is none of {', '.join(known)}{suggest(told, known)}")
        return by_rank(
            SPECTRAL[self.rank] if self.explained is None else explaining(self.explained),
            SPECTRA[self.spectrum],
            own={name: explaining(share) for name, share in self.own.items()},
            fill=self.fill,
            growth=self.growth,
            multiple_of=self.multiple_of,
        )

    @property
    def rebuild(self) -> Rebuild:
        """How a network gets its new widths: channels by the score by which `widths` chose, if it did by one."""
        if self.fresh:
            return fresh
        return kept if self.target == RANK else partial(kept, score=contribution)

    def recipe_of(self, number: int) -> Recipe | None:
        """The recipe of a round; None trains nothing."""
        epochs = self.epochs if number else self.first_epochs
        if epochs == 0:
            return None
        return replace(lowering(self.recipe, self.decay_factor)(number), epochs=epochs)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @staticmethod
    def read(folder: Path) -> ShrinkConfig:
        """The config that a folder began with.

        Raises:
            ShrinkError: there is none, or it is damaged.
        """

        return config_of(folder, Kind.SHRINK, partial(with_parts, ShrinkConfig), ShrinkError)


def create(folder: Path, config: ShrinkConfig, graph: Graph, dataset: Dataset, command: str = "") -> Path:
    """Start the folder of a shrinking, once data, recipe and network are known to work together.

    Raises:
        NetmorphError: they do not, a group is not there, the target cannot be reached, or the folder is not free.
    """
    check_free(folder)
    require_all(PAGE)
    check_training(graph.model, dataset, config.recipe)
    if not graph.editable():
        raise ShrinkError("there is nothing to shrink: no group of channels may change. netmorph groups tells why")
    for name in config.own:
        graph.group(name)
    if config.target == RANK:
        config.widths()
    elif config.target != "latency":  # which would be measured twice
        config.widths(magnitude)(Samples(graph))  # the smallest widths are the same by any score
    begin(folder, Kind.SHRINK, replace(config, data=config.data.absolute()).as_json(), command)
    return folder


@dataclass(frozen=True, eq=False)
class Finished:
    """What a shrinking found.

    Attributes:
        shrunk: its rounds and the smallest network.
        before, after: measured alike, one after the other.
        network: the file of the network; page: of the report.
    """

    shrunk: Shrunk
    before: Measured
    after: Measured
    network: Path
    page: Path


def run(
    folder: Path,
    config: ShrinkConfig,
    graph: Graph,
    dataset: Dataset,
    base: Base | None,
    on_round: Callable[[Round], None] = lambda told: None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Finished:
    """Start or go on with the shrinking in a folder, test its network beside the one before, and write a page.

    Args:
        graph: of the network as it was given.
        base: what builds it before its first edit, if that can be told.

    Raises:
        RunInUse: another process works in the folder.
        NetmorphError: see `netmorph.shrink.shrink`.
    """
    with RunLock(folder):
        shrunk = shrink(
            graph,
            dataset,
            config.recipe_of,
            config.widths(),
            config.rebuild,
            rounds=config.rounds,
            # A share of the cost was asked for, whatever it costs in accuracy.
            tolerance=config.tolerance if config.target == RANK else math.inf,
            calibration=config.calibration,
            seed=config.seed,
            folder=folder,
            base=base,
            on_round=lambda told, network: on_round(told),
            on_epoch=on_epoch,
        )
        before, after = (measured(network.model, dataset) for network in (shrunk.start, shrunk.graph))
        save(folder / NETWORK, shrunk.graph.model, shrunk.graph.journal, base)
        told = {
            "title": f"{config.model} on {dataset.name}",
            "criterion": asdict(dataset.task.chooses),
            "before": asdict(before),
            "after": asdict(after),
            "stopped": shrunk.stopped,
            "network": NETWORK,
        }
        write_text(folder / RESULT, json.dumps(told, indent=2))
        told_page = page_of(folder)
        told_page.save_pictures(folder / FIGURES)
        written = told_page.write(folder / REPORT)
    return Finished(shrunk, before, after, folder / NETWORK, written)


def page_of(folder: Path) -> Page:
    """The page of a shrinking that is finished, from its folder.

    Raises:
        ShrinkError: it is not finished, or a file is damaged.
    """
    told, rounds = result_of(folder), read_rounds(folder)
    if told is None:
        raise ShrinkError(f"the shrinking in {folder} is not finished; go on with netmorph shrink --resume {folder}")
    before, after = (Measured(**told[part]) for part in ("before", "after"))
    return page(told["title"], rounds, told["stopped"], before, after, Criterion.of(told["criterion"]))


def measured(model: nn.Module, dataset: Dataset) -> Measured:
    """What a network costs and how good it is on the test part."""
    price = cost(model, examples(dataset, model, 2))
    numbers = evaluate(model, dataset.test, dataset).numbers
    seconds = seconds_of(model, examples(dataset, model, 1))
    return Measured(price.parameters, price.flops, seconds, numbers[dataset.task.chooses.name])


def target_of(text: str) -> tuple[str, float]:
    """ "50%flops" -> ("flops", 0.5).

    Raises:
        NetmorphError: the text is nothing like it.
    """
    share, percent, kind = text.replace(" ", "").lower().partition("%")
    try:
        value = float(share) / 100
    except ValueError:
        value = 0.0
    if not percent or kind not in KINDS or not 0 < value < 1:
        raise NetmorphError(f"--to takes a share of flops, params or latency, such as 50%flops; got {text!r}")
    return kind, value
