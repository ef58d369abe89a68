"""Run folders: make one, work in it under a lock, read it, and write its report at the end."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from netmorph import report
from netmorph.data import Dataset
from netmorph.errors import NetmorphError, require, require_all
from netmorph.graph import trace
from netmorph.measure.cost import cost
from netmorph.policy import Proposal, growing, rehearse
from netmorph.policy.growth import check_growths
from netmorph.policy.mutation import check_editable
from netmorph.report.logs import METRICS, OnEpoch, TensorBoardLog, csv_log, every, jsonl_log, recorded
from netmorph.report.templates import PAGE
from netmorph.run import single
from netmorph.run.budget import Budget
from netmorph.run.config import Config, DataConfig, EvolveConfig, TrainConfig, as_json, from_json, parts_of
from netmorph.run.folders import check_free
from netmorph.run.lock import RunLock
from netmorph.run.machine import machine, versions
from netmorph.run.names import Status
from netmorph.run.opening import best_id, run_and_id
from netmorph.run.records import Records
from netmorph.run.store import whole_file
from netmorph.search import tuning
from netmorph.search.evolution import evolve as run_evolution
from netmorph.search.executors import On, Place, processes
from netmorph.search.forecast import Forecast, forecast, seconds_per_epoch
from netmorph.search.progress import Progress
from netmorph.tasks import Criterion
from netmorph.train.checks import check_training, usable_device
from netmorph.train.editing import check_moments
from netmorph.train.history import Epoch
from netmorph.train.inputs import examples
from netmorph.train.parallel import ONE_PROCESS, World, own_device
from netmorph.train.recipe import Recipe
from netmorph.train.schedules import steps_per_epoch
from netmorph.workers.threads import plan_workers, set_threads

Kind = TypeVar("Kind", EvolveConfig, TrainConfig)


class RunError(NetmorphError):
    """A run folder cannot be made, or is not of the kind that was asked for."""


def free_folder(name: str, parent: Path = Path("runs")) -> Path:
    """`runs/NAME-N` with the first free number."""
    stem = Path(name).name or "run"
    return next(folder for n in itertools.count(1) if not (folder := parent / f"{stem}-{n}").exists())


def create(
    folder: Path,
    config: Config,
    command: str,
    world: World = ONE_PROCESS,
    dataset: Dataset | None = None,
    settle: Callable[[EvolveConfig, float], EvolveConfig] = lambda config, epoch: config,
) -> Path:
    """Start a run's folder, once data, recipe and model are known to work together; nothing is trained yet.

    Args:
        world: the processes that will work together; the first one creates the folder.
        dataset: the config's data, where it is loaded already.
        settle: the config of an evolution, by the seconds that an epoch of its start network takes here.

    Raises:
        NetmorphError: the data cannot be loaded, the recipe does not fit it, the model cannot be built, run on it or
            (to evolve it) traced, the device cannot be used, or the folder is not free.
    """
    check_free(folder)
    require_all(PAGE)
    usable_device(own_device(config.device, world))
    config = replace(config, data=config.data.absolute())
    as_json(config)  # that it can be told, before anything is loaded
    dataset = config.data.load() if dataset is None else dataset
    model = config.base(dataset).build()
    check_training(model, dataset, config.recipe, world)
    price = cost(model, examples(dataset, model, 2))
    if isinstance(config, EvolveConfig):
        require("moocore", "evolve")
        if config.max_flops is not None and price.flops > config.max_flops:
            raise RunError(
                f"the start network takes {price.flops:.3g} FLOPs, more than max_flops, {config.max_flops:.3g}; "
                "raise it, or start smaller (width)"
            )
        epoch = seconds_per_epoch(model, dataset, config)
        config = settle(config, epoch)
        check_editable(trace(model, examples(dataset, model)), np.random.default_rng(config.seed), config.mutation)
    elif config.grow:
        steps = config.recipe.epochs * steps_per_epoch(len(dataset.train), config.recipe.batch_size, world.size)
        check_moments(growing(config.growths, config.recipe.epochs)["edit_at"], steps)
        rehearse(model, examples(dataset, model), check_growths(config.growths, config.recipe.epochs))
    with Records.create(folder) as records, records.transaction():
        records.set_meta("config", as_json(config))
        if isinstance(config, EvolveConfig):
            records.set_meta("epoch_seconds", epoch)
        records.set_meta("title", f"{config.model} on {dataset.name}")
        records.set_meta("command", command)
        records.set_meta("normalization", dataset.preparation.describe())
        records.set_meta("criterion", asdict(dataset.task.chooses))
        records.set_meta("exhibit", dataset.task.exhibit)
        records.set_meta("validation_samples", len(dataset.validation))
        records.set_meta("machine", machine())
        records.set_meta("versions", versions())
        records.set_meta("status", Status.INTERRUPTED)
    return folder


def config_of(records: Records, kind: type[Kind], proposals: Sequence[Proposal] = (), model: str | None = None) -> Kind:
    """The config that a run began with.

    Args:
        proposals: the user's own that it names.
        model: the network that it names, where that is a function of the user's own.

    Raises:
        RunError: it is a run of another command, or was cut short before it began.
        NetmorphError: see `netmorph.run.config.from_json`.
    """
    told = records.meta("config")
    if told is None:
        raise RunError(f"the run in {records.path.parent} was stopped before it began; delete the folder, start again")
    config = from_json(told, proposals, model)
    if not isinstance(config, kind):
        raise RunError(f"{records.path.parent} is a run of `netmorph {told['task']}`; resume it with that command")
    return config


def evolve(
    folder: Path,
    workers: int | None,
    on_progress: Callable[[Progress], None],
    dataset: Dataset | None = None,
    proposals: Sequence[Proposal] = (),
    began: float | None = None,
    model: str | None = None,
    on: On = processes,
    timeout: float | None = None,
) -> Path:
    """Start or go on with the evolution in a folder, and write its report.

    Args:
        began: when the program did, by `time.perf_counter`, for a budget of time; when it is called if not given.
        dataset: the data of its config, where it is loaded already.
        proposals: the user's own that it began with, whenever it goes on: a run folder names them, and nothing is
            imported because a file names it.
        model: likewise the start network, where it is a function of the user's own (`module:function`).
        on: where its jobs run, see `netmorph.search`; it may be another place whenever it goes on.
        timeout: seconds that one job may take; a network whose job takes longer fails. None: as long as it takes.

    Raises:
        RunInUse: another process works in the folder.
        NetmorphError: see `netmorph.search.evolve`.
    """
    with _working(folder) as records:
        config = config_of(records, EvolveConfig, proposals, model)
        dataset = config.data.load() if dataset is None else dataset
        set_threads(plan_workers(workers, config.threads).threads)
        with on(Place(folder, config, dataset, workers, timeout)) as executor:
            publish = partial(report.write, folder)
            run_evolution(folder, config, dataset, records, executor, on_progress, began=began, publish=publish)
    return report.write(folder)


def expected(
    folder: Path, workers: int | None, proposals: Sequence[Proposal] = (), model: str | None = None
) -> Forecast | None:
    """How long the evolution in a folder will take; None of one that was begun before that was measured.

    Args:
        proposals, model: see `evolve`.
    """
    with reading(folder) as records:
        config, epoch = from_json(records.meta("config"), proposals, model), records.meta("epoch_seconds")
    return forecast(config, epoch, workers) if isinstance(config, EvolveConfig) and epoch else None


def extend(folder: Path, budget: Budget, proposals: Sequence[Proposal] = (), model: str | None = None) -> None:
    """Give an evolution another budget; one that is finished can go on, and will be tested again at its new end.

    Args:
        proposals, model: see `evolve`.

    Raises:
        RunInUse: another process works in the folder.
    """
    with RunLock(folder), Records.resume(folder) as records, records.transaction():
        config = config_of(records, EvolveConfig, proposals, model)
        records.set_meta("config", as_json(replace(config, budget=budget)))
        records.set_meta("result", None)
        tuning.forget(records)
        records.set_meta("status", Status.INTERRUPTED)


def criterion(folder: Path) -> Criterion:
    """The number that chooses in a run."""
    with reading(folder) as records:
        return Criterion.of(records.meta("criterion"))


def best_network(folder: Path) -> Path:
    """The file of the best network of a run, of all its arms, for `netmorph.load`.

    Raises:
        LoadError: none is trained yet.
    """
    return whole_file(folder, best_id(folder))


def train(
    folder: Path,
    on_epoch: Callable[[Epoch], None],
    tensorboard: bool = False,
    world: World = ONE_PROCESS,
    dataset: Dataset | None = None,
    model: str | None = None,
) -> Path:
    """Start or go on with the training in a folder, and write its report.

    After each epoch metrics.csv and metrics.jsonl in the folder hold all epochs so far.

    Args:
        tensorboard: log to the folder tensorboard in it, too; a training that has begun to keeps to it.
        world: the processes that train together. This is the first one's part; the others do `train_along`.
        dataset: the data of its config, where it is loaded already.
        model: see `evolve`.

    Raises:
        RunInUse: another process works in the folder.
        NetmorphError: see `netmorph.train.train`.
    """
    with _working(folder) as records:
        config = config_of(records, TrainConfig, model=model)
        with contextlib.ExitStack() as opened:
            # A finished run keeps its logs, also without the checkpoint that they would be made from.
            logs = [] if records.meta("result") else _logs(folder, tensorboard, opened)
            single.train_single(folder, config, records, every(*logs, on_epoch), world, dataset)
    return report.write(folder)


def begun_with(folder: Path, kind: type[Kind], proposals: Sequence[Proposal] = (), model: str | None = None) -> Kind:
    """The config of the run in a folder.

    Args:
        proposals, model: see `evolve`.

    Raises:
        RecordsError: there is no run.
        RunError: see `config_of`.
    """
    with reading(folder) as records:
        return config_of(records, kind, proposals, model)


def data_and_recipe(network: str | Path) -> tuple[DataConfig, Recipe] | None:
    """Those of the run that a network is of, given as `netmorph.load` takes it; None if it is of none.

    Raises:
        LoadError: there is no such run.
        RunError: it was cut short before it began.
    """
    folder, _ = run_and_id(network)
    if folder is None:
        return None
    with reading(folder) as records:
        told = records.meta("config")
    if told is None:
        raise RunError(f"the run in {folder} was stopped before it began; it has no network")
    return parts_of(told)


def _logs(folder: Path, tensorboard: bool, opened: contextlib.ExitStack) -> list[OnEpoch]:
    """What keeps the epochs of a training in its folder; `opened` closes it."""
    history, board = recorded(folder / single.CHECKPOINT), folder / "tensorboard"
    logs: list[OnEpoch] = [csv_log(folder / "metrics.csv", history), jsonl_log(folder / METRICS, history)]
    if tensorboard or board.exists():
        logs.append(opened.enter_context(TensorBoardLog(board, history)))
    return logs


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[Records]:
    """The records of a run, to read while it runs or afterwards."""
    with Records.open(folder) as records:
        yield records


@contextlib.contextmanager
def _working(folder: Path) -> Iterator[Records]:
    """The records of a run, to write, while this process alone works in its folder."""
    with Records.open(folder):  # that there is a run, before a lock file is left anywhere
        pass
    with RunLock(folder), Records.resume(folder) as records:
        if records.meta("status") == Status.FINISHED:
            yield records
            return
        records.set_meta("status", Status.RUNNING)
        try:
            yield records
        except BaseException:
            # What stopped it may be a full disk, which has been told already.
            with contextlib.suppress(NetmorphError):
                records.set_meta("status", Status.INTERRUPTED)
            raise
