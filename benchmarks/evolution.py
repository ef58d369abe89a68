"""Evolution beside what it is compared with, at equal training FLOPs: all arms of a run in one, seed after seed.

    python -m benchmarks.evolution FOLDER [--data digits mnist cifar10] [--seeds 5] [--workers 2]
    python -m benchmarks.evolution FOLDER --tables

A run for each data set and seed lies in FOLDER/DATA-SEED and is an ordinary one: stopped, it goes on where it was. What
its networks do on the test set is asked at its end and kept in FOLDER/rows.jsonl, a line for each arm of each run.
The digits are cross-validated: as many folds as seeds, each of which is the test set once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import torch

from benchmarks._intervals import interval
from benchmarks._records import read_records
from benchmarks.engine import machine_line
from netmorph.data import Dataset, Split
from netmorph.run.budget import Budget
from netmorph.run.config import DataConfig, EvolveConfig
from netmorph.run.database import FILE_NAME
from netmorph.run.final_test import FinalTest
from netmorph.run.names import ArmName, Inheritance, Selecting, State
from netmorph.run.ranking import front, ranked
from netmorph.run.records import Records
from netmorph.run.rows import NetworkRecord
from netmorph.run.store import NetworkStore
from netmorph.search.arms import NewArm
from netmorph.search.baselines import Alone, LocalSearch, RandomSearch, designed
from netmorph.search.descent import Evolution
from netmorph.search.evolution import evolve
from netmorph.search.jobs import Worker
from netmorph.search.progress import Progress
from netmorph.search.weights import WEIGHTS
from netmorph.train.recipe import Recipe
from netmorph.workers.executor import Processes

FOLDS = 5
FLOOR = {"digits": 0.9, "mnist": 0.9, "cifar10": 0.3}  # test accuracy from which on a hypervolume counts


@dataclass(frozen=True)
class Setting:
    """What is searched on one data set.

    Attributes:
        config: of a run; its seed and that of its data are set for each run.
        designed: arguments of the same network at the width that people gave it, or about the cap on FLOPs.
        cross_validated: the test set is a fold of all samples, chosen by the seed.
    """

    config: EvolveConfig
    designed: Mapping[str, Any]
    cross_validated: bool = False


SMALL = EvolveConfig(
    model="lenet5",
    options={"width": 0.25},
    founders=2,
    start_epochs=6,
    population=3,
    select=Selecting.BEST,
    children=2,  # few, so that lines of descent are long
)
RECIPE = Recipe(epochs=2, batch_size=64, learning_rate=5e-3, schedule="cosine")
SETTINGS = {
    "digits": Setting(
        replace(
            SMALL,
            data=DataConfig("digits"),
            recipe=replace(RECIPE, epochs=8, batch_size=32),
            founders=3,
            start_epochs=24,
            children=4,
            smooth=True,
            max_flops=0.06e6,
            budget=Budget(flops=2.5e10),
        ),
        {"width": 0.6},
        cross_validated=True,
    ),
    "mnist": Setting(
        replace(
            SMALL,
            data=DataConfig("mnist", train_size=5_000, validation=0.05),
            recipe=replace(RECIPE, pad=2),
            max_flops=0.3e6,
            budget=Budget(flops=1.8e11),
        ),
        {"width": 0.58},
    ),
    "cifar10": Setting(
        replace(
            SMALL,
            options={"width": 0.5},
            data=DataConfig("cifar10", train_size=2_000, validation=0.04),
            recipe=replace(RECIPE, learning_rate=3e-3, pad=2, flip=True),
            start_epochs=8,
            max_flops=1.3e6,
            budget=Budget(flops=5e11),
        ),
        {"width": 0.8},
    ),
}


def arms(setting: Setting) -> dict[str, NewArm]:
    """By the names under which they are recorded."""
    others = {
        str(kind): partial(Evolution, weights=WEIGHTS[kind], name=str(kind))
        for kind in Inheritance
        if kind != Inheritance.INHERITED
    }
    baselines = {
        str(ArmName.ALONE): Alone,
        str(ArmName.RANDOM): RandomSearch,
        str(ArmName.LOCAL): LocalSearch,
        str(ArmName.DESIGNED): designed(setting.config.model, setting.designed),
    }
    return {str(ArmName.EVOLVE): Evolution.of, **others, **baselines}


# -- data -------------------------------------------------------------------------------------------------------------


def load(config: EvolveConfig, cross_validated: bool) -> Dataset:
    """The data of a run."""
    dataset = config.data.load()
    return fold(dataset, config.seed) if cross_validated else dataset


def fold(dataset: Dataset, number: int) -> Dataset:
    """The same samples, of which fold `number` of `FOLDS` is the test set and a share of the rest validates."""
    parts = [part for part in (dataset.train, dataset.validation, dataset.test) if isinstance(part, Split)]
    inputs, targets = (torch.cat([getattr(part, name) for part in parts]) for name in ("inputs", "targets"))
    # In an order of their own: how the data was split before depends on the seed.
    order = np.lexsort(inputs.flatten(1).numpy().T)
    order = np.random.default_rng(0).permutation(order)
    folds = np.array_split(order, FOLDS)
    rest = np.random.default_rng(number).permutation(
        np.concatenate([f for i, f in enumerate(folds) if i != number % FOLDS])
    )
    validating = len(dataset.validation)
    chosen = rest[validating:], rest[:validating], folds[number % FOLDS]
    train, validation, test = (Split(inputs[torch.from_numpy(i)], targets[torch.from_numpy(i)]) for i in chosen)
    return replace(dataset, train=train, validation=validation, test=test)


def worker(folder: Path, config: EvolveConfig, cross_validated: bool) -> Worker:
    """What does the jobs of a run in a process of its own."""
    return Worker(folder, config, load(config, cross_validated))


# -- runs -------------------------------------------------------------------------------------------------------------


def run(folder: Path, setting: Setting, workers: int, watch: Callable[[Progress], None]) -> None:
    """Make a run, or go on with it, to its end."""
    config, cross_validated = setting.config, setting.cross_validated
    dataset = load(config, cross_validated)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "networks").mkdir(exist_ok=True)
    opened = Records.resume(folder) if (folder / FILE_NAME).exists() else Records.create(folder)
    make = partial(worker, folder, config, cross_validated)
    with opened as records, Processes(make, workers, 1) as executor:
        evolve(folder, config, dataset, records, executor, watch, tuple(arms(setting).values()))


def rows(folder: Path, name: str, setting: Setting) -> Iterator[dict[str, Any]]:
    """What each arm of a finished run has found."""
    config = setting.config
    dataset = load(config, setting.cross_validated)
    asked = FinalTest(NetworkStore(folder, config.base(dataset), config.recipe), dataset)
    with Records.open(folder) as records:
        networks = [network for network in records.networks() if network.state == State.TRAINED]
    start = networks[0]
    highest = max(network.flops for network in networks)
    by_arm = {arm: [network for network in networks if network.arm == arm] for arm in arms(setting)}
    for arm in (ArmName.ALONE, ArmName.LOCAL):  # both go on from the start network
        by_arm[arm] = [start, *by_arm[arm]]
    for arm, mine in by_arm.items():
        best, survivors = ranked(mine)[0], [network for network in mine if network.survivor]
        tested = [(network.flops, asked.numbers([network])["accuracy"]) for network in front(mine)]
        yield {
            "data": name,
            "seed": config.seed,
            "arm": arm,
            "networks": len(mine),
            "training_flops": sum(network.training_flops for network in mine),
            "seconds": sum(network.seconds for network in mine),
            "hypervolume": hypervolume(tested, FLOOR[name], start.flops, highest),
            "front": tested,
            "test": asked.numbers([best])["accuracy"],
            "validation": best.score,
            "flops": best.flops,
            "parameters": best.parameters,
            "ensemble": asked.numbers(survivors)["accuracy"] if survivors else None,
            "members": [asked.numbers([network])["accuracy"] for network in survivors],
            "course": course(mine, asked),
        }


def hypervolume(found: Sequence[tuple[int, float]], floor: float, cheapest: int, dearest: int) -> float:
    """The share that networks, FLOPs and accuracy of each, dominate.

    Of all from the start network's FLOPs to those of the run's dearest network, in logarithms, and from an accuracy of
    `floor` to 1.
    """
    points = np.array([(np.log(max(flops, cheapest)), -accuracy) for flops, accuracy in found])
    reference = np.log(dearest) + 1e-9, -floor
    whole = (reference[0] - np.log(cheapest)) * (1 - floor)
    return float(moocore.hypervolume(points, ref=reference)) / whole if whole else 0.0


def course(networks: Sequence[NetworkRecord], asked: FinalTest) -> list[tuple[int, float]]:
    """Training FLOPs so far, and the test accuracy of the network that is best on the validation set by then."""
    spent = accumulate(network.training_flops for network in networks)
    best = accumulate(networks, lambda one, other: ranked([one, other])[0])
    return [(flops, asked.numbers([network])["accuracy"]) for flops, network in zip(spent, best, strict=True)]


# -- tables -----------------------------------------------------------------------------------------------------------


Rows = Mapping[str, Mapping[str, Any]]  # of one run, by arm


def tables(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A table for each data set."""
    for name in dict.fromkeys(row["data"] for row in found):
        mine = [row for row in found if row["data"] == name]
        seeds = sorted({row["seed"] for row in mine})
        runs: list[Rows] = [{row["arm"]: row for row in mine if row["seed"] == seed} for seed in seeds]
        yield f"\n{name}, {len(seeds)} runs\n"
        yield f"| {' | '.join(COLUMNS)} |"
        yield f"|{' --- |' * len(COLUMNS)}"
        for arm in dict.fromkeys(row["arm"] for row in mine):
            yield f"| {' | '.join(cells(arm, runs))} |"


COLUMNS = (
    "arm",
    "hypervolume",
    "to random search's",
    "best network",
    "to random search's",
    "its MFLOPs",
    "ensemble",
    "over its best member",
    "networks",
    "training TFLOPs",
    "as fresh weights end after",
)


def cells(arm: str, runs: Sequence[Rows]) -> list[str]:
    """Means and 95% intervals over the runs; differences are paired."""
    mine, random = [rows_of[arm] for rows_of in runs], [rows_of["random"] for rows_of in runs]
    joined = [row for row in mine if row["ensemble"] is not None]

    def beside(name: str, form: str, scale: float) -> str:
        if arm == "random":
            return ""
        return interval([scale * (one[name] - other[name]) for one, other in zip(mine, random, strict=True)], form)

    return [
        arm,
        interval([row["hypervolume"] for row in mine], "{:.3f}"),
        beside("hypervolume", "{:+.3f}", 1),
        interval([100 * row["test"] for row in mine], "{:.2f}"),
        beside("test", "{:+.2f}", 100),
        interval([row["flops"] / 1e6 for row in mine], "{:.2f}"),
        interval([100 * row["ensemble"] for row in joined], "{:.2f}") if joined else "",
        interval([100 * (row["ensemble"] - max(row["members"])) for row in joined], "{:+.2f}") if joined else "",
        interval([row["networks"] for row in mine], "{:.0f}"),
        interval([row["training_flops"] / 1e12 for row in mine], "{:.3f}"),
        equal_accuracy(arm, runs),
    ]


def equal_accuracy(arm: str, runs: Sequence[Rows]) -> str:
    """The share of the training FLOPs of fresh weights after which an arm tests as those do in the end.

    On average over the runs, in each of which the FLOPs of fresh weights are 1; and in how many runs the arm is as far
    as they after half of them.
    """
    shares = np.linspace(0, 1, 201)
    courses = np.array(
        [at_shares(rows_of[arm]["course"], rows_of["fresh"]["training_flops"], shares) for rows_of in runs]
    )
    goals = np.array([rows_of["fresh"]["course"][-1][1] for rows_of in runs])
    reached = shares[courses.mean(axis=0) >= goals.mean()]
    by_half = int((courses[:, shares <= 0.5].max(axis=1) >= goals).sum())
    return f"{f'{reached[0]:.2f}' if len(reached) else 'never'} ({by_half} of {len(runs)} by half)"


def at_shares(course: Sequence[tuple[float, float]], whole: float, shares: Sequence[float]) -> list[float]:
    """The test accuracy of an arm when so much of `whole`, in training FLOPs, was spent; before its first network 0."""
    return [
        max((spent, score) for spent, score in [(0.0, 0.0), *map(tuple, course)] if spent <= share * whole)[1]
        for share in shares
    ]


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evolution", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", nargs="+", choices=SETTINGS, default=[*SETTINGS])
    parser.add_argument("--seeds", type=int, default=5, metavar="N")
    parser.add_argument("--workers", type=int, default=2, metavar="N")
    parser.add_argument("--tables", action="store_true", help="of what is there, without a run")
    options = parser.parse_args(list(arguments))
    kept = options.folder / "rows.jsonl"
    found = read_records(kept)
    if not options.tables:
        print(machine_line(), flush=True)
        done = {(row["data"], row["seed"]) for row in found}
        for seed in range(options.seeds):
            for name in options.data:
                if (name, seed) in done:
                    continue
                asked = SETTINGS[name].config
                config = replace(asked, seed=seed, data=replace(asked.data, seed=seed))
                setting, folder = replace(SETTINGS[name], config=config), options.folder / f"{name}-{seed}"
                run(folder, setting, options.workers, told(name, seed))
                new = list(rows(folder, name, setting))
                with kept.open("a") as file:
                    file.write("".join(json.dumps(row) + "\n" for row in new))
                found += new
    print(*tables(found), sep="\n")


def told(name: str, seed: int) -> Callable[[Progress], None]:
    """A line for each round."""

    def tell(progress: Progress) -> None:
        if progress.finished:
            print(f"{name} {seed}: round {progress.round}, {progress.seconds:.0f} s, best {progress.best}", flush=True)

    return tell


if __name__ == "__main__":
    main(sys.argv[1:])
