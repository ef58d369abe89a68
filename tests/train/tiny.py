"""An evolution that takes a second: digits, a small perceptron, two rounds."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import safe_open

from netmorph.run.budget import Budget
from netmorph.run.config import DataConfig, EvolveConfig
from netmorph.run.records import Records
from netmorph.run.result import Result
from netmorph.run.rows import EpochRecord, NetworkRecord
from netmorph.search.evolution import evolve
from netmorph.search.jobs import handler
from netmorph.train.recipe import Recipe
from netmorph.workers.executor import Inline

CONFIG = EvolveConfig(
    data=DataConfig("digits", train_size=160),
    model="mlp",
    options={"width": 0.125},
    recipe=Recipe(epochs=1, batch_size=32, learning_rate=0.01),
    founders=2,
    start_epochs=2,
    population=2,
    children=3,
    budget=Budget(rounds=2),
)


def run(folder: Path, config: EvolveConfig = CONFIG) -> Result:
    """Start an evolution in this process, or go on with one."""
    with open_or_create(folder) as records:
        return evolve(folder, config, config.data.load(), records, Inline(partial(handler, folder, config)))


def open_or_create(folder: Path) -> Records:
    return Records.resume(folder) if (folder / "run.sqlite").exists() else Records.create(folder)


def told(folder: Path) -> tuple[list[NetworkRecord], list[EpochRecord], dict[str, Any] | None]:
    """All that a run recorded, apart from how long it took."""
    with Records.open(folder) as records:
        networks = [replace(network, seconds=0.0) for network in records.networks()]
        epochs = [replace(epoch, seconds=0.0) for network in networks for epoch in records.epochs(network.id)]
        result = records.meta("result")
    return networks, epochs, result and {key: value for key, value in result.items() if key != "seconds"}


def weights(folder: Path) -> dict[str, Any]:
    """The content of the files of trained networks and optimizers (the order of their headers is not fixed)."""
    found: dict[str, Any] = {}
    for path in (folder / "networks").iterdir():
        with safe_open(path, framework="np") as file:
            found[path.name] = file.metadata(), {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
    return found
