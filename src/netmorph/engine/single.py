"""Train one network as a run: checkpoints, records and the tested result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from netmorph.engine import train as training
from netmorph.engine.conclude import conclude
from netmorph.engine.config import TrainConfig
from netmorph.engine.history import Epoch
from netmorph.engine.records import EpochRecord, NetworkRecord, Records
from netmorph.engine.shelf import TRAINED, Shelf
from netmorph.measure.cost import cost

ONLY = 1  # the id of the only network


def train_single(
    folder: Path, config: TrainConfig, records: Records, on_epoch: Callable[[Epoch], None] = lambda epoch: None
) -> dict[str, Any]:
    """Train the config's network, or go on from its checkpoint; keep the best epoch and test it.

    Returns:
        The result, see `netmorph.report.summary`; the network is its "best", and there are no baselines.

    Raises:
        NetmorphError: see `netmorph.engine.train.train`.
    """
    result = records.meta("result")
    if result is not None:
        return dict(result)
    dataset = config.data.load()
    shelf = Shelf(folder, config.base(dataset), config.recipe)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = shelf.base.build()
    price = cost(model, dataset.input_shape)
    history = training.train(
        model,
        dataset,
        config.recipe,
        seed=config.seed,
        device=config.device,
        checkpoint=folder / "checkpoint",
        resume=True,
        on_epoch=on_epoch,
    )
    shelf.put(ONLY, TRAINED, model, (), None)
    best = history.best
    # The seconds of the epochs, because those of an interrupted session are known nowhere else.
    seconds = sum(epoch.seconds for epoch in history)
    with records.transaction():
        records.put_network(
            NetworkRecord(
                id=ONLY,
                arm="evolve",
                round=0,
                parent=None,
                seed=config.seed,
                state="trained",
                parameters=price.parameters,
                flops=price.flops,
                training_flops=len(history) * len(dataset.train) * price.training_flops,
                seconds=seconds,
                accuracy=best.validation_accuracy,
                loss=best.validation_loss,
                survivor=True,
                edits=(),
                failure=None,
            )
        )
        records.replace_epochs(ONLY, [EpochRecord(ONLY, **asdict(epoch)) for epoch in history])
        records.set_meta("round", 0)
        records.set_meta("result", conclude(records, shelf, dataset, seconds))
        records.set_meta("status", "finished")
    return dict(records.meta("result"))
