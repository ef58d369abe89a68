"""Which score finds the better network where validation has few samples.

    python -m benchmarks.small_validation [--seeds 4] [--splits 200]

Evolutions of small perceptrons on digits; each network is asked about all validation and test samples. Of these some
are drawn again and again as a validation set; by each score the best network is chosen on them, and what it is worth
is its accuracy on the others. Told are what it lacks of the best there (in points; of the best four in the mean, too),
and the rank correlation of the score with that accuracy over all networks. Means and 95% intervals over the evolutions.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks._intervals import interval
from benchmarks.engine import machine_line
from netmorph.run.budget import Budget
from netmorph.run.config import EvolveConfig
from netmorph.run.records import Records
from netmorph.run.store import NetworkStore
from netmorph.search import Evolution, evolve
from netmorph.search.jobs import handler
from netmorph.train.evaluation import answers
from netmorph.train.recipe import Recipe
from netmorph.workers.executor import Inline

Numbers = NDArray[np.float64]
TOGETHER = 4  # an ensemble

# Right answers (1 or 0) and losses of some samples, [networks, samples] each -> a score of each network.
SCORES: dict[str, Callable[[Numbers, Numbers], Numbers]] = {
    "share of right answers": lambda right, losses: right.mean(1) - 1e-6 * losses.mean(1),  # of equals by the loss
    "loss": lambda right, losses: -losses.mean(1),
    "probability of the right answer": lambda right, losses: np.exp(-losses).mean(1),
}


def config(seed: int) -> EvolveConfig:
    """A minute or so of two cores."""
    recipe = Recipe(epochs=2, batch_size=32, learning_rate=5e-3)
    return EvolveConfig(
        model="mlp", options={"width": 0.125}, recipe=recipe, start_epochs=6, budget=Budget(rounds=10), seed=seed
    )


def asked(folder: Path, seed: int) -> tuple[Numbers, Numbers]:
    """Right answers and losses of an evolution's networks, `[networks, samples]`, of validation and test samples."""
    made = config(seed)
    data = made.data.load()
    with Records.create(folder) as records:
        evolve(folder, made, data, records, Inline(partial(handler, folder, made)), arms=[Evolution.of])
        networks = records.networks()
    store = NetworkStore(folder, made.base(data), made.recipe)
    found = [[answers(store.take(one.id)[0], part, data) for part in (data.validation, data.test)] for one in networks]
    right, losses = (
        torch.stack([torch.cat([part[name] for part in parts]) for parts in found]).double().numpy()
        for name in ("accuracy", "loss")
    )
    return right, losses


def measured(right: Numbers, losses: Numbers, samples: int, splits: int) -> Mapping[str, tuple[float, float, float]]:
    """By score: what the chosen network lacks, what the best four lack, the rank correlation; means over splits."""
    generator, count = np.random.default_rng(0), right.shape[1]
    told: dict[str, list[tuple[float, float, float]]] = {name: [] for name in SCORES}
    for _ in range(splits):
        order = generator.permutation(count)
        seen, others = order[:samples], order[samples:]
        worth = right[:, others].mean(1)
        for name, score in SCORES.items():
            scores = score(right[:, seen], losses[:, seen])
            best = np.argsort(-scores)[:TOGETHER]
            correlation = np.corrcoef(ranks(scores), ranks(worth))[0, 1]
            lacks = 100 * (worth.max() - worth[best])
            told[name].append((float(lacks[0]), float(lacks.mean()), float(correlation)))
    first = {name: np.mean(values, axis=0) for name, values in told.items()}
    return {name: (float(a), float(b), float(c)) for name, (a, b, c) in first.items()}


def ranks(values: Numbers) -> NDArray[np.intp]:
    """The place of each among all."""
    return np.argsort(np.argsort(values))


def lines(found: Sequence[tuple[Numbers, Numbers]], samples: Sequence[int], splits: int) -> list[str]:
    """A table of what was measured of some evolutions."""
    told = ["| samples | chosen by | lacks, points | the best four lack | rank correlation |", "|---|---|---|---|---|"]
    for count in samples:
        each = [measured(right, losses, count, splits) for right, losses in found]
        for name in SCORES:
            cells = [interval(values, "{:.2f}") for values in zip(*(one[name] for one in each), strict=True)]
            told.append(f"| {count} | {name} | {' | '.join(cells)} |")
    return told


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.small_validation", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--seeds", type=int, default=4, metavar="N", help="evolutions (default: %(default)s)")
    parser.add_argument("--splits", type=int, default=200, metavar="N", help="of each (default: %(default)s)")
    options = parser.parse_args(list(arguments))
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        found = [asked(Path(folder) / str(seed), seed) for seed in range(options.seeds)]
    print(
        f"digits, {options.seeds} evolutions; {machine_line()}", "", *lines(found, (60, 216), options.splits), sep="\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
