"""Chains of detached layers beside what else could be done with the same FLOPs, on five banks.

    NETMORPH_DATA=path/to/data python -m benchmarks.chains --output DIR [--only digits] [--seeds 0 1 2 3 4]
    python -m benchmarks.chains --output DIR --only blocks --weights FOLDER    of cifar10-resnet*.safetensors
    python -m benchmarks.chains --output DIR --only population --run RUN       of netmorph evolve, on --population-data

- `blocks`: the 72 residual blocks of four ResNets, which fit each other, for CIFAR-10 at 16x16, at several prices of a
  FLOP.
- `digits`: networks trained on the digits 0 to 4 of MNIST, for the digits 5 to 9; `objects` likewise of CIFAR-10.
- `random`: layers that nobody trained, for MNIST; drawn anew for each seed.
- `population`: the networks of an evolution.

Each agent judges as many distinct chains; `networks` is local search that starts from the bank's networks. Beside them:
the best network of the bank up to its head, with a head that is solved (a linear probe); the best network that is cut
anywhere and takes no more FLOPs than the first agent's chain; and a network trained from scratch with the FLOPs of the
first agent's search. A row is appended as soon as it is there; what was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks._chain_banks import CASES, LEARNT, Case, accuracy, shortened
from benchmarks._chain_networks import cut_networks, from_networks
from benchmarks._chain_rows import COLUMNS, rows_of
from benchmarks._records import read_records
from benchmarks._shrinking import write_table
from benchmarks.engine import machine_line
from netmorph.bank import Bank
from netmorph.chain import (
    AGENTS,
    REWARDS,
    DetachedLayers,
    Pooled,
    Record,
    Trials,
    assembled,
    cheap,
    search,
)
from netmorph.data import Dataset
from netmorph.measure.cost import cost
from netmorph.train.inputs import examples
from netmorph.train.loop import train
from netmorph.train.recipe import Recipe
from netmorph.workers.allocator import keep_freed_memory

TUNED = Recipe(epochs=3, batch_size=64, learning_rate=1e-3, schedule="linear")  # of chains
SCRATCH = replace(LEARNT, epochs=1)
AGENTS_SHOWN = ("networks", "beam", "tree", "local", "actor-critic", "random")
FURTHER = ("networks", "random")  # those that also search at further prices
Options = argparse.Namespace
Row = dict[str, Any]
Measured = Callable[[Row, Callable[[], Row]], Row]  # what a row is of, and how it is measured -> the row
Known = dict[tuple[str, int], list[Record]]  # the random chains of a case and a seed

# -- what is measured --------------------------------------------------------------------------------------------------


def searched(problem: DetachedLayers, dataset: Dataset, agent: str, key: Row, options: Options, known: Known) -> Row:
    """An agent's best chain, and how its search went. Random chains are the same at each price, so judged once."""
    price, seed = key["price"], key["seed"]
    before = known.get((key["case"], seed), []) if agent == "random" else []
    trials, started = Trials(problem, options.budget, cheap(price), before), time.perf_counter()
    chosen = from_networks(cut_networks(problem)) if agent == "networks" else AGENTS[agent](REWARDS["end"])
    records = search(chosen, trials, seed)
    seconds = max(time.perf_counter() - started, records[-1].seconds)
    if agent == "random":
        known[key["case"], seed] = records
    curve: list[tuple[int, int, float]] = []  # FLOPs and chains so far, and the best worth, whenever it rises
    for number, record in enumerate(records, 1):
        worth = cheap(price)(record.outcome)
        if not curve or worth > curve[-1][2]:
            curve.append((record.spent, number, worth))
    best, counts = trials.best(), problem.cache.counts
    return {
        "chain": [*best.chain.layers, best.chain.end],
        "loss": best.outcome.loss,
        "worth": curve[-1][2],
        "curve": curve,
        "distinct": len(records),
        "spent": records[-1].spent,
        "seconds": seconds,
        "cached": counts.hits / max(1, counts.hits + counts.layers),
        "steps_per_second": (counts.hits + counts.layers) / seconds,
        "most_bytes": counts.most,
    } | finished(assembled(problem, best.chain, dataset), dataset, agent in options.tuned, seed)


def probed(
    problem: DetachedLayers, dataset: Dataset, price: float, most: float, whole: bool, tuned: bool, seed: int
) -> Row:
    """The best network of the bank with a head that is solved.

    Args:
        most: FLOPs of a sample.
        whole: whether only its own head is left out, or it may be cut anywhere.
        tuned: whether it is tuned, too.
    """
    started, before = time.perf_counter(), problem.spent
    chains = cut_networks(problem)
    inside = {chain.layers[:-1] for chain in chains if chain.layers}
    judged = {chain: problem.judge(chain) for chain in chains if not whole or chain.layers not in inside}
    judged = {chain: outcome for chain, outcome in judged.items() if outcome.flops <= most}
    chain = max(judged, key=lambda one: cheap(price)(judged[one]))
    told = {"chain": [*chain.layers, chain.end], "loss": judged[chain].loss, "spent": problem.spent - before}
    told |= {"worth": cheap(price)(judged[chain]), "seconds": time.perf_counter() - started}
    return told | finished(assembled(problem, chain, dataset), dataset, tuned, seed)


def from_scratch(case: Case, dataset: Dataset, flops: float, seed: int) -> Row:
    """A network that is trained with so many FLOPs."""
    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = case.scratch(dataset)
    price = cost(model, examples(dataset, model, 2))
    images = max(SCRATCH.batch_size, int(flops / price.training_flops))
    epochs = -(-images // len(dataset.train))
    recipe = replace(SCRATCH, epochs=epochs)
    train(model, shortened(dataset, images // epochs), recipe, seed=seed)
    told = {"untuned": accuracy(model, dataset), "flops": price.flops, "parameters": price.parameters}
    return told | {"spent": images * price.training_flops, "seconds": time.perf_counter() - started}


def finished(network: nn.Module, dataset: Dataset, tuned: bool, seed: int) -> Row:
    """How good a chain is, as it is and tuned."""
    price = cost(network, examples(dataset, network, 2))
    told: Row = {"flops": price.flops, "parameters": price.parameters, "untuned": accuracy(network, dataset)}
    if not tuned:
        return told
    started = time.perf_counter()
    train(network, dataset, TUNED, seed=seed)
    told["tuning_seconds"] = time.perf_counter() - started
    told["tuning_flops"] = TUNED.epochs * len(dataset.train) * price.training_flops
    return told | {"tuned": accuracy(network, dataset)}


# -- all of it ---------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    console, journal = Console(width=160, highlight=False), options.output / "results.jsonl"
    names = ("budget", "samples", "choice", "images", "test_images", "learning_images", "threads")
    settings = {name: getattr(options, name) for name in names}
    records = [record for record in read_records(journal) if record["settings"] == settings]

    def measured(key: Row, measure: Callable[[], Row]) -> Row:
        known = [record for record in records if all(record[name] == value for name, value in key.items())]
        if known:
            return known[0]
        record = key | measure() | {"settings": settings}
        records.append(record)
        with journal.open("a") as file:
            file.write(json.dumps(record) + "\n")
        told = ", ".join(f"{name} {value}" for name, value in key.items())
        console.print(f"{told}: {record['untuned']:.2%}, {record['seconds']:.0f} s")
        return record

    known: Known = {}
    for name in options.only:
        for seed in options.seeds:
            for price in CASES[name].prices:
                measure_all(name, seed, price, options, measured, known)
    table = Table(*COLUMNS)
    for row in rows_of(records):
        table.add_row(*row)
    console.print(table, machine_line())
    write_table(options.output / "results.md", COLUMNS, rows_of(records), machine_line())


def measure_all(name: str, seed: int, price: float, options: Options, measured: Measured, known: Known) -> None:
    """All rows of a seed and a price, in an order in which the first agent comes before what gets its FLOPs."""
    case = CASES[name]
    dataset = shortened(case.data(options), options.images, options.test_images)
    bank = filled(options.output / f"bank-{name}{f'-{seed}' if case.fresh else ''}", case, options, seed)

    def problem() -> DetachedLayers:
        sizes = {"samples": options.samples, "choice": options.choice, "memory": options.memory * 2**20}
        return DetachedLayers(bank, dataset, longest=case.longest, seed=seed, readout=Pooled(case.width), **sizes)

    def by_agent(agent: str) -> Row:
        return searched(problem(), dataset, agent, key, options, known)

    def by_network(way: str, most: float) -> Row:
        return probed(problem(), dataset, price, most, way == "probe", way in options.tuned, seed)

    key = {"case": name, "seed": seed, "price": price}
    agents = [agent for agent in options.agents if price == case.prices[0] or agent in FURTHER]
    rows = [measured(key | {"by": agent}, partial(by_agent, agent)) for agent in agents]
    measured(key | {"by": "probe"}, lambda: by_network("probe", math.inf))
    measured(key | {"by": "cut"}, lambda: by_network("cut", rows[0]["flops"]))
    if price == case.prices[0]:
        measured(key | {"by": "scratch"}, lambda: from_scratch(case, dataset, rows[0]["spent"], seed))


def filled(folder: Path, case: Case, options: Options, seed: int) -> Bank:
    """The bank of a case, filled once: a mark tells that it is whole."""
    mark = folder / "filled"
    bank = Bank(folder)
    if not mark.exists():
        case.fill(bank, options, seed)
        mark.touch()
    return bank


def _options(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chains", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder for banks and results")
    add("--only", nargs="+", choices=CASES, default=["digits", "random"], help="banks (default: digits random)")
    add(
        "--agents",
        nargs="+",
        choices=[*AGENTS, "networks"],
        default=AGENTS_SHOWN,
        help="the first gives others its FLOPs",
    )
    add(
        "--tuned",
        nargs="+",
        default=["networks", "probe"],
        metavar="WAY",
        help="rows that are tuned, too (default: networks probe)",
    )
    add("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], metavar="N", help="(default: 0 1 2 3 4)")
    add("--budget", type=int, default=200, metavar="N", help="distinct chains (default: %(default)s)")
    add("--samples", type=int, default=2000, metavar="N", help="that heads are solved on (default: %(default)s)")
    add("--choice", type=int, default=1000, metavar="N", help="that chains are judged on (default: %(default)s)")
    add("--memory", type=int, default=2048, metavar="N", help="MiB of features (default: %(default)s)")
    add("--images", type=int, default=5000, metavar="N", help="for the last head and tuning (default: %(default)s)")
    add("--test-images", type=int, default=10_000, metavar="N", help="(default: %(default)s)")
    add("--learning-images", type=int, default=20_000, metavar="N", help="of banks' networks (default: %(default)s)")
    add("--threads", type=int, default=1, metavar="N", help="(default: %(default)s)")
    add("--weights", type=Path, metavar="FOLDER", help="of the four ResNets, for blocks")
    add("--run", type=Path, metavar="FOLDER", help="of an evolution, for population")
    add("--population-data", default="mnist", metavar="NAME", help="that it was of (default: %(default)s)")
    add("--members", type=int, default=12, metavar="N", help="of its networks, the best (default: %(default)s)")
    found = parser.parse_args(list(arguments))
    if "blocks" in found.only and found.weights is None:
        parser.error("blocks needs --weights")
    if "population" in found.only and found.run is None:
        parser.error("population needs --run")
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
