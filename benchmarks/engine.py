"""Seconds per epoch of one network in different training loops, and the accuracy they reach.

    python -m benchmarks.engine
    python -m benchmarks.engine --networks lenet5 --steps 0 --runs 5
    python -m benchmarks.engine --networks lenet5 --accuracy 5

A published table's networks and hyper-parameters (MNIST and CIFAR-10). An epoch is training and validation. By default
only a share of each is run, and its time divided by that share; `--steps 0` runs whole epochs. Each loop that is timed
runs in a process of its own; netmorph's in one that keeps freed memory, as its command line does.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import TypeVar

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks._loops import COMPARED, LOOPS, Loop, Trained, bare, netmorph_compiled, netmorph_fast, netmorph_plain
from netmorph import zoo
from netmorph.data import Dataset, Part, Split, load
from netmorph.memory import highest
from netmorph.run.machine import machine, versions
from netmorph.train.recipe import Recipe
from netmorph.workers.allocator import keep_freed_memory

Value = TypeVar("Value")

SEEDS = (0, 1, 2)
SGD = Recipe(
    epochs=1, batch_size=64, optimizer="sgd", learning_rate=0.01, momentum=0.5, nesterov=False, weight_decay=0.0,
    schedule="constant",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A network, named as in the zoo, the data set it learns and how."""

    network: str
    data: str
    recipe: Recipe

    def build(self, dataset: Dataset, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return zoo.build(self.network, dataset.input_shape, len(dataset.classes))


TASKS = {
    "lenet5": Task("lenet5", "mnist", SGD),
    "minivgg": Task("minivgg", "cifar10", replace(SGD, batch_size=100, momentum=0.9)),
    "resnet": Task(
        "resnet", "cifar10", replace(SGD, batch_size=100, optimizer="adam", learning_rate=0.001, pad=4, flip=True)
    ),
}


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(machine_line())
    for name in options.networks:
        task = TASKS[name]
        whole = load(task.data, seed=0)
        if options.accuracy:
            # A rate that stays high leaves the last epoch's accuracy to chance: points up or down from one to the next.
            task = replace(task, recipe=replace(task.recipe, epochs=options.accuracy, schedule="cosine"))
            console.print(accuracies(task, whole))
            continue
        dataset = shortened(whole, options.steps * task.recipe.batch_size) if options.steps else whole
        console.print(timings(task, dataset, len(dataset.train) / len(whole.train), options.runs, options.compile))


def machine_line() -> str:
    """What the figures depend on."""
    told = versions() | machine() | {"CPU capability": torch.backends.cpu.get_cpu_capability()}
    return ", ".join(f"{name} {value}" for name, value in told.items()) + f", {torch.get_num_threads()} threads"


def used() -> str:
    """What this process has taken until now."""
    return f"{time.process_time():.0f} s of a processor, at most {highest() / 1e9:.2f} GB of memory, in this process"


def shortened(dataset: Dataset, images: int) -> Dataset:
    """The first training images, and the same share of the validation images."""
    share = min(1.0, images / len(dataset.train))

    def cut(part: Part) -> Split:
        count = max(1, round(share * len(part)))
        return Split(part.head(count), part.targets[:count])

    return replace(dataset, train=cut(dataset.train), validation=cut(dataset.validation))


def timed(compile: bool) -> dict[str, tuple[Loop, bool]]:
    """The loops, each with whether its process keeps freed memory."""
    loops: dict[str, tuple[Loop, bool]] = {}
    for name, loop in LOOPS.items():
        loops[name] = (loop, loop in (netmorph_plain, netmorph_fast))
        if loop is bare:
            loops[f"{name}, keeping freed memory"] = (loop, True)
    return loops | ({"netmorph, ... + torch.compile": (netmorph_compiled, True)} if compile else {})


def apart(function: Callable[..., Value], *given: object, keep: bool) -> Value:
    """Call a function in a new process with as many threads, because what an allocator is told cannot be undone."""
    settings = (torch.get_num_threads(), keep)
    with ProcessPoolExecutor(1, get_context("spawn"), _begin, settings) as process:
        return process.submit(function, *given).result()


def _begin(threads: int, keep: bool) -> None:
    torch.set_num_threads(threads)
    if keep:
        keep_freed_memory()


def timings(task: Task, dataset: Dataset, share: float, runs: int, compile: bool) -> Table:
    """Each loop in turn, and all of them so many times.

    Whatever else the machine does can only make a run slower, so the best run is the fairest.
    """
    loops = timed(compile)
    results: dict[str, list[Trained]] = {name: [] for name in loops}
    for run in range(runs):
        for name, (loop, keep) in loops.items():
            results[name].append(apart(loop, task.build(dataset, seed=run), dataset, task.recipe, run, keep=keep))
    best = {name: min(result.seconds[-1] for result in found) / share for name, found in results.items()}
    baseline = next(name for name, (loop, _) in loops.items() if loop is bare)
    measured = "whole epochs" if share == 1 else f"reckoned from {share:.1%} of an epoch"
    title = f"{measured}, best of {runs} alternating runs"
    table = _table(task, title, "s per epoch", "bare = 1", "speed-up", "accuracy then")
    for name, found in results.items():
        mean = statistics.fmean(result.accuracy for result in found)
        ratio = best[name] / best[baseline]
        table.add_row(name, f"{best[name]:.2f}", f"{ratio:.2f}", f"{1 / ratio:.2f}x", f"{mean:.2%}")
    return table


def accuracies(task: Task, dataset: Dataset) -> Table:
    """Validation accuracy after the last epoch, and seconds per epoch, of the bare loop and the fast one."""
    title = f"{task.recipe.epochs} epochs, {task.recipe.schedule} rate, {len(SEEDS)} seeds: mean (lowest to highest)"
    table = _table(task, title, "s per epoch", "accuracy")
    for name, loop in COMPARED.items():
        found = [loop(task.build(dataset, seed), dataset, task.recipe, seed) for seed in SEEDS]
        reached = [result.accuracy for result in found]
        seconds = statistics.median(second for result in found for second in result.seconds)
        spread = f"{statistics.fmean(reached):.2%} ({min(reached):.2%} to {max(reached):.2%})"
        table.add_row(name, f"{seconds:.2f}", spread)
    return table


def _table(task: Task, measured: str, *columns: str) -> Table:
    table = Table(title=f"{task.network} on {task.data}, batches of {task.recipe.batch_size}: {measured}")
    table.add_column("loop")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--networks", nargs="+", choices=TASKS, default=list(TASKS), help="(default: all)")
    parser.add_argument(
        "--steps", type=int, default=100, metavar="N", help="of an epoch; 0 is all of them (default: %(default)s)"
    )
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of each loop (default: %(default)s)")
    parser.add_argument("--threads", type=int, metavar="N", help="of PyTorch (default: its own choice)")
    parser.add_argument("--compile", action="store_true", help="time torch.compile, too; takes minutes more")
    parser.add_argument(
        "--accuracy",
        type=int,
        metavar="EPOCHS",
        help="instead: whole epochs of the bare and the fast loop, a falling rate, 3 seeds",
    )
    return parser.parse_args(list(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
