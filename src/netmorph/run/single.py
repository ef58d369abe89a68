"""Train one network as a run: checkpoints, records and the tested result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from torch import nn

from netmorph.cores import own_cores
from netmorph.data import Dataset
from netmorph.files import remove_unfinished
from netmorph.measure.cost import cost
from netmorph.run.config import TrainConfig
from netmorph.run.final_test import FinalTest
from netmorph.run.names import ArmName, Stage, State, Status
from netmorph.run.records import Records
from netmorph.run.result import Result, result_of
from netmorph.run.rows import EpochRecord, NetworkRecord
from netmorph.run.store import NetworkStore
from netmorph.train import loop as training
from netmorph.train.fit import shrink
from netmorph.train.history import Epoch, History
from netmorph.train.inputs import examples
from netmorph.train.parallel import ONE_PROCESS, World, from_first, own_device
from netmorph.train.recipe import Recipe
from netmorph.train.schedules import image_scale_at
from netmorph.train.seeding import seeded
from netmorph.workers.threads import set_threads

ONLY = 1  # the id of the only network
CHECKPOINT = "checkpoint"


def train_single(
    folder: Path,
    config: TrainConfig,
    records: Records,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    world: World = ONE_PROCESS,
    dataset: Dataset | None = None,
) -> Result:
    """Train the config's network, or go on from its checkpoint; keep the best epoch and test it.

    Args:
        world: the processes that train it together. This is the first one's part; the others do `train_along`.
        dataset: the config's data, where it is loaded already.

    Returns:
        What it has found; the network is its `best`, and there are no baselines.

    Raises:
        NetmorphError: see `netmorph.train.train`.
    """
    told = records.meta("result")
    from_first(lambda: None if told else (folder, config), world)
    if told is not None:
        return Result.from_json(told)
    dataset = config.data.load() if dataset is None else dataset
    store = NetworkStore(folder, config.base(dataset), config.recipe)
    for place in (folder, store.folder):
        remove_unfinished(place)
    model = _network(config, dataset)
    price = cost(model, examples(dataset, model, 2))
    history = _trained(model, dataset, folder, config, on_epoch, world)
    store.put(ONLY, Stage.TRAINED, model, (), None)
    best = history.best
    # The seconds of the epochs, because those of an interrupted session are known nowhere else.
    seconds = sum(epoch.seconds for epoch in history)
    with records.transaction():
        records.put_network(
            NetworkRecord(
                id=ONLY,
                arm=ArmName.EVOLVE,
                round=0,
                parent=None,
                seed=config.seed,
                state=State.TRAINED,
                parameters=price.parameters,
                flops=price.flops,
                training_flops=_training_flops(model, dataset, config.recipe, len(history)),
                seconds=seconds,
                score=best.score,
                numbers=best.validation,
                survivor=True,
                edits=(),
                failure=None,
            )
        )
        records.replace_epochs(ONLY, [EpochRecord(ONLY, **asdict(epoch)) for epoch in history])
        records.set_meta("round", 0)
        found = result_of(records, FinalTest(store, dataset, config.recipe.views), seconds)
        records.set_meta("result", found.as_json())
        records.set_meta("status", Status.FINISHED)
    return found


def train_along(world: World) -> None:
    """Take part in what the first process of the world trains with `train_single`."""
    told: tuple[Path, TrainConfig] | None = from_first(lambda: None, world)
    if told is not None:
        folder, config = told
        dataset = config.data.load()
        _trained(_network(config, dataset), dataset, folder, config, lambda epoch: None, world)


def _network(config: TrainConfig, dataset: Dataset) -> nn.Module:
    with seeded(config.seed):
        return config.base(dataset).build()


def _training_flops(model: nn.Module, dataset: Dataset, recipe: Recipe, epochs: int) -> int:
    """FLOPs of so many epochs, whose images may have grown."""
    inputs = examples(dataset, model, 2)
    scales = Counter(image_scale_at(recipe, epoch) for epoch in range(1, epochs + 1))
    per_sample = sum(count * cost(model, shrink(inputs, scale)).training_flops for scale, count in scales.items())
    return len(dataset.train) * per_sample


def _trained(
    model: nn.Module,
    dataset: Dataset,
    folder: Path,
    config: TrainConfig,
    on_epoch: Callable[[Epoch], None],
    world: World,
) -> History:
    set_threads(config.threads or own_cores())
    return training.train(
        model,
        dataset,
        config.recipe,
        seed=config.seed,
        device=own_device(config.device, world),
        checkpoint=folder / CHECKPOINT,
        resume=True,
        on_epoch=on_epoch,
        world=world,
    )
