"""Train one network as a run: checkpoints, records and the tested result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from netmorph.cores import own_cores
from netmorph.data import Dataset
from netmorph.files import remove_unfinished
from netmorph.measure.cost import cost
from netmorph.policy import POLICIES, growing
from netmorph.run.config import TrainConfig
from netmorph.run.final_test import FinalTest
from netmorph.run.findings import result_of
from netmorph.run.growth import Structure, noting, structure_of, training_flops
from netmorph.run.names import ArmName, Stage, State, Status
from netmorph.run.records import Records
from netmorph.run.result import Result
from netmorph.run.rows import EpochRecord, NetworkRecord
from netmorph.run.store import NetworkStore
from netmorph.train import loop as training
from netmorph.train.history import Epoch, History
from netmorph.train.inputs import examples
from netmorph.train.parallel import ONE_PROCESS, World, from_first, own_device
from netmorph.train.schedules import steps_per_epoch
from netmorph.train.seeding import seeded
from netmorph.workers.threads import set_threads

ONLY = 1  # the id of the only network
CHECKPOINT = "checkpoint"
# Of the records: the structures that a growing network has had, while it trains; when it grew (in epochs, with their
# parts) and the FLOPs of each epoch, at the end.
STRUCTURES, GROWTH = "structures", "growth"


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
    structures = {0: structure_of(model, dataset, config.recipe)}
    structures |= {found.done: found for found in map(Structure.from_json, records.meta(STRUCTURES) or ())}

    def note(structure: Structure) -> None:
        structures[structure.done] = structure  # a run that was killed grows again, at the same step
        records.set_meta(STRUCTURES, [found.as_json() for found in structures.values()])

    history = _trained(model, dataset, folder, config, on_epoch, world, note)
    store.put(ONLY, Stage.TRAINED, model, history.journal, None)
    best, price = history.best, cost(model, examples(dataset, model, 2))
    steps = steps_per_epoch(len(dataset.train), config.recipe.batch_size, world.size)
    spent = training_flops([*structures.values()], len(dataset.train), steps, len(history))
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
                training_flops=sum(spent),
                seconds=seconds,
                score=best.score,
                numbers=best.validation,
                survivor=True,
                edits=(),
                failure=None,
            )
        )
        records.replace_epochs(ONLY, [EpochRecord(ONLY, **asdict(epoch)) for epoch in history])
        if len(structures) > 1:
            records.set_meta(GROWTH, {"epochs": [done / steps for done in structures if done], "flops": spent})
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
        _trained(_network(config, dataset), dataset, folder, config, lambda epoch: None, world, lambda found: None)


def _network(config: TrainConfig, dataset: Dataset) -> nn.Module:
    with seeded(config.seed):
        return config.base(dataset).build()


def _trained(
    model: nn.Module,
    dataset: Dataset,
    folder: Path,
    config: TrainConfig,
    on_epoch: Callable[[Epoch], None],
    world: World,
    note: Callable[[Structure], None],
) -> History:
    """Args: note: is told each new structure, if the network grows."""
    set_threads(config.threads or own_cores())
    grown: dict[str, Any] = {}
    if config.grow:
        grown = {**growing(config.growths, config.recipe.epochs), "after_edit": POLICIES[config.after_growth]}
        grown["edit"] = noting(grown["edit"], dataset, config.recipe, note)
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
        **grown,
    )
