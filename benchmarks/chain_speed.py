"""What the cache of features is worth: steps of the environment with it, with too small a one, and without.

    python -m benchmarks.chain_speed [--only digits|resnet] [--steps 150] [--rounds 3]

Two banks: random layers for the 8x8 digits, and a ResNet for 32x32 images cut into its layers (images and weights drawn
at random: only time and memory are asked for). The same walk, drawn from `netmorph.chain.prior`, goes through the
environment without a cache and with three limits; rounds alternate, and ratios are within a round. One thread; at most
a minute and a half.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from benchmarks._intervals import interval
from benchmarks.chain_agents import drawn
from benchmarks.engine import machine_line
from netmorph import data, zoo
from netmorph.bank import Bank
from netmorph.chain import DetachedLayers, FeatureCache, Pooled, Trials, as_environment, prior
from netmorph.chain.features import Counts
from netmorph.chain.values import Prefix
from netmorph.chain.walks import drawn as action
from netmorph.data import Dataset
from netmorph.seeds import generator_of

LONGEST, EVERYTHING = 6, 2**40
LIMITS = (1.0, 0.25)  # of what a walk holds where nothing is dropped; the third limit is that of a single step


class Forgetful(FeatureCache):
    """Makes the features of each prefix from the samples, every time."""

    def of(self, prefix: Prefix) -> Tensor:
        """See `FeatureCache`."""
        self._kept.clear()
        self._held = 0
        return super().of(prefix)


class WithoutCache(DetachedLayers):
    """The same problem, each time from the beginning."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.cache = Forgetful(self._inputs, self._step, EVERYTHING)


Build = Callable[..., DetachedLayers]


@dataclass(frozen=True)
class Case:
    """A bank and its data.

    Attributes:
        fill: puts layers into a bank in a folder.
        samples: that go through each layer.
    """

    data: Callable[[], Dataset]
    fill: Callable[[Path], Bank]
    samples: int

    def problem(self, bank: Bank, dataset: Dataset, memory: int, build: Build = DetachedLayers) -> DetachedLayers:
        """With so many bytes for features."""
        choice = self.samples // 4
        heads = self.samples - choice
        return build(bank, dataset, longest=LONGEST, samples=heads, choice=choice, memory=memory, readout=Pooled(128))


def noise() -> Dataset:
    """Images and labels that mean nothing."""
    generator = generator_of(0)
    images = torch.randint(256, (400, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return data.tensors(images, torch.arange(400) % 10)


def resnet(folder: Path) -> Bank:
    """A ResNet of 20 layers at half width, as it starts."""
    torch.manual_seed(0)
    bank = Bank(folder)
    bank.add(zoo.build("resnet", (3, 32, 32), 10, width=0.5).eval(), torch.randn(2, 3, 32, 32), "resnet")
    return bank


CASES = {
    "digits": Case(lambda: data.load("digits"), lambda folder: drawn(folder, 0), 800),
    "resnet": Case(noise, resnet, 128),
}


def walked(problem: DetachedLayers, steps: int) -> tuple[float, Counts]:
    """Seconds of so many steps, and what the cache did. The walk is the same for all problems of a case."""
    trials, generator = Trials(problem, EVERYTHING), generator_of(0)
    environment = as_environment(trials)
    began = time.perf_counter()
    _, told = environment.reset()
    for _ in range(steps):
        _, _, ended, truncated, told = environment.step(action(prior(trials, told["layers"]), generator))
        if ended or truncated:
            _, told = environment.reset()
    return time.perf_counter() - began, problem.cache.counts


def limits(case: Case, bank: Bank, dataset: Dataset, steps: int) -> dict[str, int]:
    """Bytes for features: all that the walk makes, a share of it, and no more than its largest step takes."""
    problem = case.problem(bank, dataset, EVERYTHING)
    _, counts = walked(problem, steps)
    shapes = [(entry.input.shape, entry.output.shape) for entry in problem.entries.values()]
    largest = max(torch.Size(one).numel() + torch.Size(other).numel() for one, other in shapes)
    named = {"all of it": LIMITS[0], "a quarter": LIMITS[1]}
    step = 4 * case.samples * largest
    return {name: max(step, int(share * counts.most)) for name, share in named.items()} | {"one step": step}


def compare(name: str, steps: int, rounds: int) -> Table:
    """A table of one case."""
    case = CASES[name]
    dataset = case.data()
    with tempfile.TemporaryDirectory() as folder:
        bank = case.fill(Path(folder))
        bounds = limits(case, bank, dataset, steps)
        rates: dict[str, list[float]] = {limit: [] for limit in ("none", *bounds)}
        counts: dict[str, Counts] = {}
        for _ in track(range(rounds), name, transient=True):
            seconds, counts["none"] = walked(case.problem(bank, dataset, EVERYTHING, WithoutCache), steps)
            rates["none"].append(steps / seconds)
            for limit, memory in bounds.items():
                seconds, counts[limit] = walked(case.problem(bank, dataset, memory), steps)
                rates[limit].append(steps / seconds)
    table = Table("cache", "limit, MiB", "held at most, MiB", "layers run", "dropped", "steps/s", "times without")
    for limit, found in rates.items():
        told = counts[limit]
        bound, most = ("", "") if limit == "none" else (f"{bounds[limit] / 2**20:.1f}", f"{told.most / 2**20:.1f}")
        ratios = [one / other for one, other in zip(found, rates["none"], strict=True)]
        work = (str(told.layers), "" if limit == "none" else str(told.evicted))
        table.add_row(limit, bound, most, *work, interval(found, "{:.1f}"), interval(ratios, "{:.2f}"))
    table.title = f"{name}: {steps} steps, {case.samples} samples"
    return table


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chain_speed", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=[*CASES], help="one of the banks")
    parser.add_argument("--steps", type=int, default=150, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="(default: %(default)s)")
    options = parser.parse_args(list(arguments))
    torch.set_num_threads(1)
    tables = [compare(name, options.steps, options.rounds) for name in ([options.only] if options.only else CASES)]
    Console().print(machine_line(), *tables, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
