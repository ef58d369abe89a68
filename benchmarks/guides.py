"""What guides of mutation are worth: an evolution for each in one run, at equal training FLOPs.

    python -m benchmarks.guides [GUIDE ...] [--data digits|mnist] [--seeds 5] [--rounds 5] [--shrink 1]

A guide is one of `evolve --guide`, or `recipe`: no guide, but learning rates and weight decays that mutate. All start
from the same kind of founders and have the same proposals; edits that narrow and take out are among them with --shrink.
Told are, over the seeds, means and 95% intervals: the hypervolume of the networks on the front of validation accuracy
and FLOPs, by their test accuracy; the test accuracy of the best and of the ensemble of the survivors; the largest
networks' FLOPs; and the share of births in the time that births and trainings take. One thread, one process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import moocore
import numpy as np
import torch
from rich.progress import track

from benchmarks._intervals import interval
from benchmarks.engine import machine_line
from netmorph.data import Dataset
from netmorph.policy import Mutation, exact, shrinking
from netmorph.run.budget import Budget
from netmorph.run.config import DataConfig, EvolveConfig
from netmorph.run.defaults import START_FACTOR, for_evolution
from netmorph.run.names import ArmName, Guidance
from netmorph.run.ranking import front, ranked
from netmorph.run.records import Records
from netmorph.run.rows import NetworkRecord
from netmorph.run.store import NetworkStore
from netmorph.search import Evolution, NewArm, evolve
from netmorph.search.births import Birth
from netmorph.search.jobs import Done, Job, Worker
from netmorph.search.learning import GUIDES, stepped
from netmorph.search.networks import START
from netmorph.search.weights import Inherited
from netmorph.train.evaluation import evaluate
from netmorph.workers.executor import Inline

RECIPE = "recipe"
ROWS: dict[str, Callable[[str], NewArm]] = {
    **{guide.value: partial(lambda guide, name: _arm(name, guide=GUIDES[guide]), guide) for guide in Guidance},
    RECIPE: lambda name: _arm(name, recipes=stepped),
}
# What the hypervolume spans: FLOPs beside the start network's, on a scale of logarithms.
FEWEST, MOST = 1 / 4, 64.0


def _arm(name: str, **learnt: Any) -> NewArm:
    return partial(Evolution, weights=Inherited(), name=name, **learnt)


def names(asked: Sequence[str]) -> dict[str, str]:
    """By row, the name of its arm: the first one leads the run, and goes by the name of every evolution."""
    return {row: row if number else str(ArmName.EVOLVE) for number, row in enumerate(asked)}


class Timed:
    """A worker that notes how long its jobs take, in seconds of this process, so that others beside it do not count.

    Attributes:
        births, trainings: by the network's id.
    """

    def __init__(self, folder: Path, config: EvolveConfig, dataset: Dataset) -> None:
        self.worker = Worker(folder, config, dataset)
        self.births: defaultdict[int, float] = defaultdict(float)
        self.trainings: defaultdict[int, float] = defaultdict(float)

    def __call__(self, job: Job) -> Done:
        began = process_time()
        done = self.worker(job)
        seconds = process_time() - began
        if isinstance(job, Birth):
            self.births[job.id] += seconds
        else:
            for id in job.ids:
                self.trainings[id] += seconds / len(job.ids)
        return done


def measured(config: EvolveConfig, dataset: Dataset, rows: Sequence[str], floor: float) -> dict[str, list[float]]:
    """Of one run, by row: hypervolume, test accuracy of the best, of the ensemble, FLOPs, share of births."""
    with tempfile.TemporaryDirectory() as place:
        folder, found = Path(place), {}
        arms, timed = names(rows), Timed(folder, config, dataset)
        with Records.create(folder) as records:
            evolve(folder, config, dataset, records, Inline(lambda: timed), arms=[ROWS[row](arms[row]) for row in rows])
            networks = records.networks()
        store = NetworkStore(folder, config.base(dataset), config.recipe)
        start = next(network.flops for network in networks if network.id == START)
        for row, arm in arms.items():
            own = [network for network in networks if network.arm == arm]
            found[row] = _numbers(own, store, dataset, timed, start, floor)
    return found


def _numbers(
    own: Sequence[NetworkRecord], store: NetworkStore, dataset: Dataset, timed: Timed, start: int, floor: float
) -> list[float]:
    def accuracy(*networks: NetworkRecord) -> float:
        models = [store.take(network.id)[0] for network in networks]
        return evaluate(models, dataset.test, dataset).numbers["accuracy"]

    on_front = front(own)
    children = [network for network in own if network.parent is not None]
    births, trainings = (sum(table[one.id] for one in children) for table in (timed.births, timed.trainings))
    return [
        volume([(accuracy(network), network.flops / start) for network in on_front], floor),
        100 * accuracy(ranked(own)[0]),
        100 * accuracy(*(network for network in own if network.survivor)),
        max(network.flops for network in own) / start,
        100 * births / (births + trainings),
    ]


def volume(points: Sequence[tuple[float, float]], floor: float) -> float:
    """What accuracies and FLOPs (beside the start network's) dominate, as a share of all that could be."""
    at = np.array([(-accuracy, np.log2(max(FEWEST, flops))) for accuracy, flops in points])
    whole = (1 - floor) * np.log2(MOST / FEWEST)
    return float(moocore.hypervolume(at, ref=[-floor, np.log2(MOST)])) / float(whole)


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guides", description=__doc__.partition("\n")[0])
    parser.add_argument("guides", nargs="*", metavar="GUIDE", help=", ".join(ROWS))
    parser.add_argument("--data", default="digits", help="(default: %(default)s)")
    parser.add_argument("--train-size", type=int, metavar="N", help="samples of the training part")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the first seed (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--children", type=int, default=5, metavar="N", help="of a round (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=6, metavar="N", help="of a child (default: %(default)s)")
    parser.add_argument("--shrink", type=float, default=0.0, metavar="WEIGHT", help="(default: %(default)s)")
    parser.add_argument("--floor", type=float, default=0.8, help="of the accuracies that count (default: %(default)s)")
    options = parser.parse_args(list(arguments))
    rows = options.guides or [*ROWS]
    if unknown := set(rows) - set(ROWS):
        parser.error(f"no guide {', '.join(map(repr, sorted(unknown)))}; there are {', '.join(ROWS)}")
    torch.set_num_threads(1)
    data = DataConfig(options.data, train_size=options.train_size)
    dataset = data.load()
    defaults = for_evolution(dataset)
    seeds = range(options.first, options.first + options.seeds)
    print(f"{dataset.name}, {options.seeds} seeds from {options.first}; {machine_line()}", "", sep="\n")
    runs = []
    for seed in track(seeds, "runs", transient=True):
        config = EvolveConfig(
            data=data,
            **defaults.network(None, {}),
            recipe=replace(defaults.recipe, epochs=options.epochs),
            founders=2,
            start_epochs=START_FACTOR * options.epochs,
            children=options.children,
            mutation=Mutation(proposals=(*exact(), *shrinking(options.shrink))),
            budget=Budget(rounds=options.rounds),
            seed=seed,
        )
        runs.append(measured(config, dataset, rows, options.floor))
    columns = ["guide", "hypervolume", "best, test %", "ensemble, test %", "largest FLOPs / start", "births, % of time"]
    print(f"| {' | '.join(columns)} |", f"| {' | '.join(['---'] * len(columns))} |", sep="\n")
    for row in rows:
        numbers = zip(*(run[row] for run in runs), strict=True)
        forms = ("{:.3f}", "{:.2f}", "{:.2f}", "{:.1f}", "{:.1f}")
        cells = [interval(values, form) for values, form in zip(numbers, forms, strict=True)]
        print(f"| {' | '.join([row, *cells])} |")


if __name__ == "__main__":
    main(sys.argv[1:])
