"""Train a network and its neighbours equally, from inherited and from fresh weights, at several seeds."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
from torch import nn

from netmorph.data import Dataset
from netmorph.edit.journal import load_onto, save
from netmorph.errors import require_all
from netmorph.files import remove_unfinished, write_text
from netmorph.graph import Graph, trace
from netmorph.graph.journal import Journal
from netmorph.memory import highest
from netmorph.neighbours.drawing import neighbours
from netmorph.neighbours.rows import ROWS, Job, Row, read_rows, write_row
from netmorph.neighbours.steps import FRESH, INHERITED, STARTS
from netmorph.neighbours.values import ITSELF, Neighbour, NeighbourError
from netmorph.report.templates import PAGE
from netmorph.run.config import DataConfig, begun_with, with_parts
from netmorph.run.folders import Kind, begin, check_free, config_of
from netmorph.run.lock import RunLock
from netmorph.seeds import check_seed
from netmorph.tasks import Criterion
from netmorph.train.checks import check_training, usable_device
from netmorph.train.evaluation import evaluate
from netmorph.train.inputs import calibration, examples
from netmorph.train.loop import train
from netmorph.train.recipe import Recipe
from netmorph.workers.executor import Executor, Handler

AROUND, PARENTS = "around.json", "parents"
ANSWERS = PAGE | {"scipy.special": "plot"}  # what telling the answers takes, with its extras
# Builds the network in the middle for a data set, with the edits that it has.
Given = Callable[[Dataset], tuple[nn.Module, Journal]]


@dataclass(frozen=True)
class NeighboursConfig:
    """What a neighbourhood was asked to be, as plain values.

    Attributes:
        model: the network in the words of the command line; base, options: what belongs to it there.
        recipe: of every training.
        count: how many neighbours.
        tolerance: how far from the network's FLOPs they may be, as a share of them.
        step: the largest factor by which the first width of an edit changes.
        moves: so many edits of one kind make a neighbour.
        seeds: how many trainings of each, from each start.
        starts: names of `netmorph.neighbours.steps.STARTS`.
        untaught: the network has learnt nothing yet: what is inherited at a seed is what it learns from fresh weights
            at that seed. Otherwise it is what it came with.
        calibration: so many training samples tell which channels stay of a group that gets narrower.
        seed: draws the neighbours, and is the first of the seeds.
        device: where networks are trained.
        threads: of each training; part of what decides the numbers, because sums depend on it.
    """

    model: str
    data: DataConfig
    recipe: Recipe
    base: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    count: int = 10
    tolerance: float = 0.05
    step: float = 1.5
    moves: int = 1
    seeds: int = 5
    starts: tuple[str, ...] = (INHERITED, FRESH)
    untaught: bool = True
    calibration: int = 1000
    seed: int = 0
    device: str = "cpu"
    threads: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "starts", tuple(self.starts))  # JSON has lists alone
        check_seed(self.seed)
        if self.count < 1 or self.moves < 1 or not 0 < self.tolerance < 1 or not 1 < self.step <= 2:
            raise NeighbourError(
                "count and moves are at least 1, tolerance a share between 0 and 1, and step a factor above 1 and at "
                f"most 2; got count={self.count}, moves={self.moves}, tolerance={self.tolerance:g}, step={self.step:g}"
            )
        if self.seeds < 2 or self.calibration < 2 or self.threads < 1:
            raise NeighbourError(
                "seeds and calibration are at least 2 (one seed tells nothing of what seeds differ by), threads at "
                f"least 1; got seeds={self.seeds}, calibration={self.calibration}, threads={self.threads}"
            )
        if not self.starts or set(self.starts) - set(STARTS):
            raise NeighbourError(f"starts are {' and '.join(STARTS)}, one of them or both; got {list(self.starts)}")

    @staticmethod
    def read(folder: Path) -> NeighboursConfig:
        """The config that a folder began with.

        Raises:
            NeighbourError: there is none, or it is damaged.
        """

        return config_of(folder, Kind.NEIGHBOURS, partial(with_parts, NeighboursConfig), NeighbourError)


def create(folder: Path, config: NeighboursConfig, given: Given, dataset: Dataset, command: str = "") -> None:
    """Start the folder of a neighbourhood: draw the neighbours, once all is known to work together.

    Raises:
        NetmorphError: it does not, there is no neighbour, or the folder is not free.
    """
    check_free(folder)
    require_all(ANSWERS)
    usable_device(config.device)
    model, journal = given(dataset)
    check_training(model, dataset, config.recipe)
    graph = trace(model, examples(dataset, model, 2), journal)
    generator = np.random.default_rng(config.seed)
    found = neighbours(graph, config.count, config.tolerance, generator, config.step, config.moves)
    if FRESH in {job.start for job in jobs_of(config, found)}:
        STARTS[FRESH](trace(copy.deepcopy(model), graph.inputs), (), (), 0)  # before hours of training, not after
    told = {"criterion": asdict(dataset.task.chooses), "neighbours": [asdict(each) for each in found]}
    write_text(folder / AROUND, json.dumps(told, indent=2))
    begin(folder, Kind.NEIGHBOURS, asdict(config), command)  # the last: without it nothing has begun


def around(folder: Path) -> tuple[Neighbour, ...]:
    """The network and its neighbours, as the folder tells them.

    Raises:
        NeighbourError: there are none, or the file is damaged.
    """
    return begun_with(folder / AROUND, _around, "neighbourhood", NeighbourError).neighbours


def criterion_of(folder: Path) -> Criterion:
    """The number that compares them. Raises as `around`."""
    return begun_with(folder / AROUND, _around, "neighbourhood", NeighbourError).criterion


@dataclass(frozen=True)
class _Around:
    neighbours: tuple[Neighbour, ...]
    criterion: Criterion


def _around(told: dict[str, Any]) -> _Around:
    return _Around(tuple(map(Neighbour.from_json, told["neighbours"])), Criterion.of(told["criterion"]))


def jobs_of(config: NeighboursConfig, found: Sequence[Neighbour]) -> list[Job]:
    """All trainings, seed by seed; those whose weights others inherit come first."""
    seeds = range(config.seed, config.seed + config.seeds)
    own = [Job(ITSELF, FRESH, seed) for seed in seeds if config.untaught or FRESH in config.starts]
    others = [
        Job(each.number, start, seed)
        for start in (FRESH, INHERITED)
        if start in config.starts
        for seed in seeds
        for each in found
        if start != FRESH or each.number != ITSELF
    ]
    return own + others


def told_rows(folder: Path, config: NeighboursConfig) -> list[Row]:
    """The trainings that are done, and those that cannot be. Raises as `train_all`."""
    jobs = jobs_of(config, around(folder))
    rows = read_rows(folder, jobs)
    done = {row.job for row in rows}
    return [*rows, *(row for row in orphans(config, jobs, rows) if row.job not in done)]


def left(folder: Path, config: NeighboursConfig) -> int:
    """How many trainings are still to be told of. Raises as `train_all`."""
    return len(jobs_of(config, around(folder))) - len(read_rows(folder, jobs_of(config, around(folder))))


def train_all(
    folder: Path,
    config: NeighboursConfig,
    executor: Executor[Job, Row],
    tell: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Do what is not done yet; each training is kept as soon as it is done.

    Args:
        folder: that `create` has started.
        executor: runs jobs by what `handler` makes.
        tell: gets each row.

    Returns:
        The rows of all trainings, failed ones too.

    Raises:
        RunInUse: another process works in the folder.
        NeighbourError: a file of the folder is damaged.
        SaveError: a file cannot be written.
    """
    require_all(ANSWERS)
    with RunLock(folder):
        for part in (folder, folder / ROWS, folder / PARENTS):
            remove_unfinished(part)
        jobs = jobs_of(config, around(folder))
        done = {row.job for row in read_rows(folder, jobs)}

        def train_those(stage: Iterable[Job]) -> None:
            for outcome in executor.run([job for job in stage if job not in done]):
                row = outcome.result or Row(outcome.job, failure=outcome.failure)
                write_row(folder, row)
                tell(row)

        parents = [job for job in jobs if job.neighbour == ITSELF and job.start == FRESH]
        train_those(parents)
        dropped = [row for row in orphans(config, jobs, read_rows(folder, parents)) if row.job not in done]
        left_out = {row.job for row in dropped}
        train_those(job for job in jobs if job not in parents and job not in left_out)
        for row in dropped:
            tell(row)
        return told_rows(folder, config)


def orphans(config: NeighboursConfig, jobs: Iterable[Job], parents: Iterable[Row]) -> list[Row]:
    """The trainings that would inherit from one that failed, as failed ones; they are not kept, so that they are done
    once that one is.

    Args:
        parents: rows, among them those of the network itself from fresh weights.
    """
    if not config.untaught:
        return []
    lost = {
        row.job.seed
        for row in parents
        if row.failure is not None and row.job.neighbour == ITSELF and row.job.start == FRESH
    }
    why = "not trained: the network itself failed at this seed, and there is nothing to inherit"
    return [Row(job, failure=why) for job in jobs if job.start == INHERITED and job.seed in lost]


def handler(folder: Path, config: NeighboursConfig, given: Given) -> Handler[Job, Row]:
    """What does the jobs in a process of its own, which loads the data once."""
    dataset = config.data.load()
    model, journal = given(dataset)
    return Worker(folder, config, dataset, model, journal, around(folder))


@dataclass(frozen=True, eq=False)
class Worker:
    """Trains neighbours, with the data in memory.

    Attributes:
        model: the network in the middle, with what it has learnt; journal: its edits.
    """

    folder: Path
    config: NeighboursConfig
    dataset: Dataset
    model: nn.Module
    journal: Journal
    neighbours: Sequence[Neighbour]

    def __call__(self, job: Job) -> Row:
        """Do one job; the same job gives the same numbers."""
        began, worked = perf_counter(), process_time()
        graph = self._start(job)
        model, dataset = graph.model, self.dataset
        untrained = evaluate(model, dataset.validation, dataset).numbers
        history = train(model, dataset, self.config.recipe, seed=job.seed, device=self.config.device)
        test = evaluate(model, dataset.test, dataset).numbers
        row = Row(
            job,
            dict(untrained),
            dict(history.best.validation),
            dict(test),
            seconds=perf_counter() - began,
            processor_seconds=process_time() - worked,
            memory=highest(),
        )
        numbers = [*row.untrained.values(), *row.validation.values(), *row.test.values()]
        if not all(map(math.isfinite, numbers)):
            raise NeighbourError(f"a number is NaN or infinite: {numbers}")
        if self._is_parent(job):  # others start from it: not from one that has diverged
            save(self._parent(job.seed), model, graph.journal)
        return row

    def _start(self, job: Job) -> Graph:
        model, journal = copy.deepcopy(self.model), self.journal
        if job.start == INHERITED and self.config.untaught:
            journal = load_onto(self._parent(job.seed), model, journal)
        model.to(self.config.device)
        graph = trace(model, examples(self.dataset, model, 2), journal)
        steps = self.neighbours[job.neighbour].steps
        seen = calibration(self.dataset, model, self.config.calibration, self.config.seed)
        return STARTS[job.start](graph, steps, seen, job.seed)

    def _is_parent(self, job: Job) -> bool:
        return self.config.untaught and job.neighbour == ITSELF and job.start == FRESH

    def _parent(self, seed: int) -> Path:
        return self.folder / PARENTS / f"seed-{seed}.safetensors"
