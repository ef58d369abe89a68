"""Many networks trained as one stacked batch, beside the same networks one after another.

`python -m benchmarks.many cuda` runs it on a GPU.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

import torch
from torch import nn

from benchmarks.loop import lenet5, mlp, noise
from netmorph.data import Dataset, Split, load
from netmorph.train.recipe import Recipe
from netmorph.train.stacked.many import Team, stacking_wins, train_many

NETWORKS = (2, 4, 8, 16, 32, 64)
BATCH = 64
RUNS = 3


def main(device: str = "cpu") -> None:
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {device}, {where}, batches of {BATCH}, best of {RUNS} alternating runs")
    print("networks x training steps a second, everything but loading included (checks, validation, best weights)")
    print(f"{'':<26}{'N':>4}{'one by one':>13}{'stacked':>11}{'ratio':>8}  train_many takes")
    # The last number: training steps of all networks together, an epoch.
    for name, dataset, build, total in (
        ("MLP 64-64-10 on digits", load("digits", seed=0), mlp, 1024),
        ("LeNet-5 on random 28x28", noise(), lenet5, 64),
    ):
        for count in NETWORKS:
            # Whatever else the machine does can only make a run slower: the best of some runs is the fairest.
            steps = min(max(4, total // count), len(dataset.train) // BATCH)
            data = shortened(dataset, steps * BATCH)
            times = [[seconds(build, count, data, device, stacked) for stacked in (False, True)] for _ in range(RUNS)]
            apart, stacked = (2 * count * steps / min(column) for column in zip(*times, strict=True))
            took = "stacked" if chosen(build, count, data, device) else "one by one"
            print(f"{name:<26}{count:>4}{apart:>13.0f}{stacked:>11.0f}{stacked / apart:>8.2f}  {took}", flush=True)


def seconds(build: Callable[[], nn.Module], count: int, data: Dataset, device: str, stacked: bool) -> float:
    models = [build() for _ in range(count)]
    started = perf_counter()
    train_many(models, data, recipes(count), device=device, stacked=stacked)
    return perf_counter() - started


def chosen(build: Callable[[], nn.Module], count: int, data: Dataset, device: str) -> bool:
    models = [build().to(device) for _ in range(count)]
    team = Team.of(models, data, recipes(count))
    return stacking_wins(team, data, recipes(count), range(count))


def recipes(count: int) -> list[Recipe]:
    return [Recipe(epochs=2, batch_size=BATCH, learning_rate=0.001 * (1 + number)) for number in range(count)]


def shortened(dataset: Dataset, count: int) -> Dataset:
    train = Split(dataset.train.head(count), dataset.train.targets[:count])
    validation = Split(dataset.validation.head(BATCH), dataset.validation.targets[:BATCH])
    return replace(dataset, train=train, validation=validation)


if __name__ == "__main__":
    main(*sys.argv[1:])
