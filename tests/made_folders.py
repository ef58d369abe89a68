"""A folder of each kind of run, made without training anything."""

import json
from dataclasses import asdict
from pathlib import Path

from netmorph.extending import Extension, Source
from netmorph.neighbours import Neighbour, NeighboursConfig
from netmorph.neighbours.trainings import AROUND
from netmorph.report.shrinking import Measured
from netmorph.reproduce import Asked
from netmorph.run.config import DataConfig
from netmorph.run.folders import RESULT, Kind, begin
from netmorph.shrinking import ShrinkConfig
from netmorph.tasks.criterion import ACCURACY
from netmorph.train.recipe import Recipe
from tests.plot import made_runs
from tests.report.synthetic import write_run

DATA = DataConfig("digits")


def shrinking(folder: Path) -> Path:
    """A finished one."""
    made_runs.shrinking(folder)
    begin(folder, Kind.SHRINK, ShrinkConfig("mlp", DATA, Recipe(epochs=1)).as_json(), "netmorph shrink mlp")
    before, after = Measured(900, 1800, 0.1, 0.9), Measured(400, 800, 0.05, 0.89)
    told = {"title": "mlp on digits", "criterion": asdict(ACCURACY), "before": asdict(before), "after": asdict(after)}
    more = {"stopped": "all 3 rounds are done", "network": "network.safetensors"}
    (folder / RESULT).write_text(json.dumps(told | more))
    return folder


def neighbourhood(folder: Path) -> Path:
    """One in which nothing is trained yet."""
    begin(folder, Kind.NEIGHBOURS, asdict(NeighboursConfig("mlp", DATA, Recipe(epochs=1))))
    itself = Neighbour(0, "itself", "the network itself", (), 900, 1800)
    told = {"criterion": asdict(ACCURACY), "neighbours": [asdict(itself)]}
    (folder / AROUND).write_text(json.dumps(told))
    return folder


def extension(folder: Path) -> Path:
    """A finished one."""
    begin(folder, Kind.EXTENSION, asdict(Extension("before", (Source(DATA, "f"),))))
    tests = [
        {"data": "low", "classes": 5, "samples": 100, "accuracy": 0.9, "why": None},
        {"data": "gone", "classes": 0, "samples": 0, "accuracy": None, "why": "there is no file gone"},
    ]
    told = {"classes": ["a", "b"], "added": ["b"], "test_accuracy": 0.9, "tests": tests, "network": "network.py"}
    (folder / RESULT).write_text(json.dumps(told))
    return folder


def reproduction(folder: Path) -> Path:
    """One in which nothing is trained yet."""
    begin(folder, Kind.REPRODUCE, asdict(Asked("cnn-tutorial", ("mnist-lenet5",), 2)))
    return folder


MAKERS = {
    Kind.TRAIN: made_runs.training,
    Kind.EVOLVE: write_run,
    Kind.SHRINK: shrinking,
    Kind.NEIGHBOURS: neighbourhood,
    Kind.CHAIN: made_runs.chains,
    Kind.EXTENSION: extension,
    Kind.RANKS: made_runs.study,
    Kind.REPRODUCE: reproduction,
}
