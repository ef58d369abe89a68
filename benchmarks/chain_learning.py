"""Do the layers of chains learn, and does an agent that knows their gradients do better? On two small banks.

    python -m benchmarks.chain_learning [--only random half stitches] [--seeds 5] [--budget 200] [--looked 100]

- `random`: three ways in and twelve random layers for the 8x8 digits, drawn anew for each seed, as in `chain_agents`.
- `half`: two small networks that were trained on the digits 0 to 4, for the digits 5 to 9.

First each mode of learning, at equal FLOPs in total: those of a search over `--budget` distinct chains in which
nothing learns. Then agents with and without gradients as features, at equal distinct chains (`--looked`).

- `stitches`: two networks of different widths that were trained on the digits 0 to 4, for the digits 5 to 9: the first
  layers of one, a stitch, the rest of the other, cut behind each layer. The stitch is fitted, or also refined.

Differences are paired by seed. One thread.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from benchmarks._chain_banks import some_classes
from benchmarks._intervals import interval
from benchmarks.chain_agents import drawn
from benchmarks.engine import machine_line
from netmorph import data
from netmorph.bank import Bank, Kind
from netmorph.chain import (
    AGENTS,
    MODES,
    REWARDS,
    SOLVED,
    Chain,
    DetachedLayers,
    Enough,
    Mode,
    Pooled,
    Record,
    Trials,
    assembled,
    lineage,
    looking,
    search,
)
from netmorph.data import Dataset
from netmorph.train.evaluation import evaluate
from netmorph.train.inputs import examples
from netmorph.train.loop import train
from netmorph.train.recipe import Recipe

LONGEST, BLOCKS, CHANNELS, REFINING = 6, 4, 8, 50
LEARNT = Recipe(epochs=10, batch_size=32, learning_rate=3e-3, schedule="linear")
SEARCHER, LOOKERS = "beam", ("tree", "actor-critic")
STITCHES = "stitches"


@dataclass(frozen=True)
class Case:
    """A bank by a seed, and the data for which its layers are chained."""

    fill: Callable[[Path, int], Bank]
    data: Callable[[], Dataset]


def half(folder: Path, seed: int, widths: tuple[int, int] = (CHANNELS, CHANNELS)) -> Bank:
    """Networks that have learnt the first half of the classes."""
    bank, dataset = Bank(folder), some_classes(data.load("digits"), range(5))
    for number, width in zip((2 * seed, 2 * seed + 1), widths, strict=True):
        torch.manual_seed(number)
        layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU()]
        for _ in range(BLOCKS):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        model = nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * width, dataset.outputs))
        train(model, dataset, LEARNT, seed=number)
        bank.add(model.eval(), examples(dataset, model, 2), f"half {number}")
    return bank


CASES = {
    "random": Case(drawn, lambda: data.load("digits")),
    "half": Case(half, lambda: some_classes(data.load("digits"), range(5, 10))),
}


def problem_of(bank: Bank, dataset: Dataset, seed: int, mode: Mode = MODES["never"]) -> DetachedLayers:
    return DetachedLayers(
        bank,
        dataset,
        longest=LONGEST,
        samples=600,
        choice=216,
        detached_ends=False,
        empty=mode.empty(LONGEST),
        seed=seed,
        readout=Pooled(128),
    )


@dataclass(frozen=True)
class Found:
    """What a mode came to."""

    accuracy: float
    loss: float
    chains: int
    flops: int


def with_mode(bank: Bank, dataset: Dataset, mode: Mode, budget: int, limit: float, seed: int) -> Found:
    """The network of the best chain, with so many FLOPs for search and learning together."""
    problem = problem_of(bank, dataset, seed, mode)
    later: dict[Chain, int] = {}

    def stop(record: Record) -> None:
        """Where learning afterwards would go over the limit; what is over it is not counted as found."""
        best = max([*trials.records, record], key=lambda one: trials.worth_of(one.outcome)).chain
        if best not in later:
            network = assembled(problem, best, dataset) if mode.pupils else nn.Sequential()
            later[best] = mode.flops(network, lineage(problem, best), dataset) if mode.pupils else 0
        if record.spent + later[best] > limit:
            raise Enough

    trials = Trials(problem, budget, study=mode.study(problem), on_record=stop)
    records = search(AGENTS[SEARCHER](REWARDS["end"]), trials, seed)
    best = trials.best()
    network = assembled(problem, best.chain, dataset)
    learnt = mode.finish(network, lineage(problem, best.chain), dataset, seed)
    numbers = evaluate(network, dataset.test, dataset).numbers
    return Found(numbers["accuracy"], numbers["loss"], len(records), records[-1].spent + learnt)


def looked(bank: Bank, dataset: Dataset, agent: str, budget: int, seed: int, *, gradients: bool) -> tuple[float, int]:
    """The best loss of an agent, and what its search cost."""
    problem = problem_of(bank, dataset, seed)
    trials = Trials(problem, budget, study=looking(problem)) if gradients else Trials(problem, budget)
    records = search(AGENTS[agent](REWARDS["end"]), trials, seed)
    return trials.best().outcome.loss, records[-1].spent


def stitched(bank: Bank, dataset: Dataset, cut: int, seed: int) -> tuple[float, float]:
    """The loss of a chain of two networks, cut behind so many layers: its stitch fitted, and also refined."""
    first, second = (
        [one.id for one in bank.entries(network=f"half {number}") if one.kind is Kind.BODY]
        for number in (2 * seed, 2 * seed + 1)
    )
    chain = Chain((*first[:cut], *second[cut:]), SOLVED)
    losses = []
    for refining in (0, REFINING):
        sizes = {"longest": LONGEST, "samples": 600, "choice": 216, "seed": seed, "readout": Pooled(128)}
        problem = DetachedLayers(bank, dataset, stitches=True, refining=refining, **sizes)
        losses.append(problem.judge(chain).loss)
    return losses[0], losses[1]


def stitches_table(found: dict[int, list[tuple[float, float]]]) -> Table:
    shown = Table("cut behind", "loss, fitted", "and refined", "difference", title="stitches")
    for cut, rows in found.items():
        less = [refined - fitted for fitted, refined in rows]
        fitted, refined = zip(*rows, strict=True)
        shown.add_row(str(cut), interval(fitted, "{:.4f}"), interval(refined, "{:.4f}"), interval(less, "{:+.4f}"))
    return shown


def modes_table(name: str, found: dict[str, list[Found]]) -> Table:
    columns = ("learn", "test accuracy", "minus never", "test loss", "minus never", "distinct chains", "GFLOPs")
    shown = Table(*columns, title=name)
    for mode, rows in found.items():
        pairs = list(zip(rows, found["never"], strict=True))
        right = [100 * (one.accuracy - other.accuracy) for one, other in pairs]
        lost = [one.loss - other.loss for one, other in pairs]
        shown.add_row(
            mode,
            interval([100 * one.accuracy for one in rows], "{:.2f}"),
            "" if mode == "never" else interval(right, "{:+.2f}"),
            interval([one.loss for one in rows], "{:.4f}"),
            "" if mode == "never" else interval(lost, "{:+.4f}"),
            f"{sum(one.chains for one in rows) / len(rows):.0f}",
            f"{sum(one.flops for one in rows) / len(rows) / 1e9:.1f}",
        )
    return shown


def looks_table(name: str, found: dict[str, list[tuple[tuple[float, int], tuple[float, int]]]]) -> Table:
    shown = Table("agent", "best loss without", "with gradients", "with minus without", "FLOPs", title=name)
    for agent, rows in found.items():
        without, seen = [one[0] for one, _ in rows], [one[0] for _, one in rows]
        less = [after - before for after, before in zip(seen, without, strict=True)]
        more = sum(one[1] for _, one in rows) / sum(one[1] for one, _ in rows)
        shown.add_row(
            agent,
            interval(without, "{:.4f}"),
            interval(seen, "{:.4f}"),
            interval(less, "{:+.4f}"),
            f"{more:.1f} times",
        )
    return shown


def by_cut(seeds: int, console: Console) -> dict[int, list[tuple[float, float]]]:
    """Fitted and refined losses for each place of the cut, one pair a seed."""
    dataset = CASES["half"].data()
    found: dict[int, list[tuple[float, float]]] = {cut: [] for cut in range(1, BLOCKS + 1)}
    for seed in track(range(seeds), STITCHES, transient=True, console=console):
        with tempfile.TemporaryDirectory() as folder:
            bank = half(Path(folder), seed, widths=(CHANNELS, 12))
            for cut, rows in found.items():
                rows.append(stitched(bank, dataset, cut, seed))
    return found


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chain_learning", description=__doc__.partition("\n")[0])
    names = (*CASES, STITCHES)
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="(default: all)")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--budget", type=int, default=200, metavar="N", help="distinct chains (default: %(default)s)")
    parser.add_argument(
        "--looked", type=int, default=100, metavar="N", help="likewise, of agents that look at gradients"
    )
    options = parser.parse_args(list(arguments))
    torch.set_num_threads(1)
    console = Console(width=120)
    console.print(machine_line())
    for name in options.only:
        if name == STITCHES:
            console.print(stitches_table(by_cut(options.seeds, console)))
            continue
        case = CASES[name]
        dataset = case.data()
        modes: dict[str, list[Found]] = {mode: [] for mode in MODES}
        looks: dict[str, list[tuple[tuple[float, int], tuple[float, int]]]] = {agent: [] for agent in LOOKERS}
        for seed in track(range(options.seeds), name, transient=True, console=console):
            with tempfile.TemporaryDirectory() as folder:
                bank = case.fill(Path(folder), seed)
                for agent in LOOKERS:
                    pair = [looked(bank, dataset, agent, options.looked, seed, gradients=one) for one in (False, True)]
                    looks[agent].append((pair[0], pair[1]))
                limit = float("inf")
                for mode in MODES:  # the last one puts copies into the bank
                    modes[mode].append(with_mode(bank, dataset, MODES[mode], options.budget, limit, seed))
                    limit = modes["never"][-1].flops
        console.print(modes_table(name, modes), looks_table(name, looks))


if __name__ == "__main__":
    main(sys.argv[1:])
