"""Chains of detached layers beside what else could be done with the same FLOPs, on four banks.

    NETMORPH_DATA=path/to/data python -m benchmarks.chains --output DIR [--only digits] [--seeds 0 1 2 3 4]
    python -m benchmarks.chains --output DIR --only blocks --weights FOLDER    of cifar10-resnet*.safetensors
    python -m benchmarks.chains --output DIR --only population --run RUN       of netmorph evolve, on --population-data

- `blocks`: the 72 residual blocks of four ResNets, which fit each other, for CIFAR-10, at several prices of a FLOP.
- `digits`: a network trained on the digits 0 to 4 of MNIST, for the digits 5 to 9; `objects` likewise of CIFAR-10.
- `random`: layers that nobody trained, for MNIST; drawn anew for each seed.
- `population`: the networks of an evolution.

Each agent judges as many distinct chains. Beside them: the best network of the bank up to its head, with a head that
is solved (a linear probe), and a network trained from scratch with the FLOPs of the first agent's search. A row is
appended as soon as it is there; what was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file
from torch import nn

from benchmarks._shrinking import spread, write_table
from benchmarks.engine import machine_line
from benchmarks.narrowing import read_records
from benchmarks.refit import ResNet
from netmorph import zoo
from netmorph.bank import Bank, Kind, Signature
from netmorph.chain import (
    AGENTS,
    REWARDS,
    SOLVED,
    Chain,
    DetachedLayers,
    Trials,
    assembled,
    cheap,
    search,
)
from netmorph.data import Dataset, Split, load
from netmorph.measure.cost import cost
from netmorph.run.opening import load as load_network
from netmorph.train.evaluation import evaluate
from netmorph.train.inputs import examples
from netmorph.train.loop import train
from netmorph.train.recipe import Recipe
from netmorph.workers.allocator import keep_freed_memory

LEARNT = Recipe(epochs=5, batch_size=64, learning_rate=1e-3, schedule="linear", warmup=0.1)  # of the banks' networks
TUNED = Recipe(epochs=2, batch_size=64, learning_rate=3e-4, schedule="linear")  # of chains
SCRATCH = replace(LEARNT, epochs=1)
AGENTS_SHOWN = ("tree", "actor-critic", "reinforce", "local", "random")
MARKS = (0.25, 0.5, 1.0)  # shares of the budget at which the best loss is told
COLUMNS = ("bank", "price", "by", "no gradient step", "tuned", "FLOPs a sample", "loss of the choice", "FLOPs", "s")
Options = argparse.Namespace
Record = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A bank, and the data for which its layers are chained.

    Attributes:
        data: what chains shall answer.
        fill: puts the layers into an empty bank, by a seed.
        fresh: whether each seed has a bank of its own.
        scratch: the network that is trained from scratch.
        longest: the most layers.
        prices: of a FLOP; agents search for each.
    """

    data: Callable[[Options], Dataset]
    fill: Callable[[Bank, Options, int], None]
    scratch: Callable[[Dataset], nn.Module]
    fresh: bool = False
    longest: int = 8
    prices: tuple[float, ...] = (0.0,)


# -- banks and data ----------------------------------------------------------------------------------------------------


def some_classes(dataset: Dataset, labels: Sequence[int]) -> Dataset:
    """The samples of some classes, with labels from 0."""

    def of(part: Any) -> Split:
        new = torch.full((dataset.outputs,), -1)
        new[list(labels)] = torch.arange(len(labels))
        split = Split(part.head(len(part)), new[part.targets])
        return split.select((split.targets >= 0).nonzero()[:, 0])

    names = tuple(dataset.classes[label] for label in labels)
    train, validation, test = map(of, (dataset.train, dataset.validation, dataset.test))
    return replace(dataset, train=train, validation=validation, test=test, outputs=len(names), classes=names)


def blocks(bank: Bank, options: Options, seed: int) -> None:
    """Four ResNets, each tuned on this copy of the data first: it was compressed again since they were trained."""
    dataset = cifar10(options)
    for depth in (20, 32, 44, 56):
        model = ResNet()
        for stage in ("layer1", "layer2", "layer3"):
            setattr(model, stage, getattr(model, stage)[: (depth - 2) // 6])
        model.load_state_dict(load_file(options.weights / f"cifar10-resnet{depth}.safetensors"))
        recipe = Recipe(
            epochs=1, batch_size=128, optimizer="sgd", learning_rate=0.02, schedule="linear", pad=4, flip=True
        )
        train(model, shortened(dataset, options.tuning_images), recipe, seed=seed)
        bank.add(model.eval(), examples(dataset, model, 2), f"resnet{depth}")


def first_half(name: str, model: str) -> Callable[[Bank, Options, int], None]:
    """A network that has learnt the first half of the classes."""

    def fill(bank: Bank, options: Options, seed: int) -> None:
        dataset = some_classes(load(name), range(5))
        for number in range(2):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(number)
                learnt = zoo.build(model, dataset.input_shape, dataset.outputs)
            train(learnt, shortened(dataset, options.tuning_images), LEARNT, seed=number)
            bank.add(learnt.eval(), examples(dataset, learnt, 2), f"{model} {number}")

    return fill


def random_layers(bank: Bank, options: Options, seed: int) -> None:
    """Three ways in, and layers that keep the shape behind them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for number in range(3):
            way_in = nn.Sequential(nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.ReLU())
            bank.add_whole(way_in, torch.randn(2, 1, 28, 28), f"way in {number}", Kind.RANDOM)
    bank.add_random(Signature((16, 14, 14), "float32", 0, (False,) * 3), 12, seed)


def population(bank: Bank, options: Options, seed: int) -> None:
    """The networks of a run, as many as fit in a bank of reasonable size."""
    dataset = load(options.population_data)
    for file in sorted(options.run.glob("networks/*.safetensors"))[-options.members :]:
        model, _ = load_network(file)
        bank.add(model.eval(), examples(dataset, model, 2), file.stem)


def shortened(dataset: Dataset, images: int) -> Dataset:
    """The first training samples."""
    return replace(dataset, train=dataset.train.select(torch.arange(min(images, len(dataset.train)))))


def cifar10(options: Options) -> Dataset:
    return load("cifar10", seed=0, validation=0.1)


def other_half(name: str) -> Callable[[Options], Dataset]:
    return lambda options: some_classes(load(name), range(5, 10))


def from_the_zoo(model: str) -> Callable[[Dataset], nn.Module]:
    return lambda dataset: zoo.build(model, dataset.input_shape, dataset.outputs)


CASES = {
    "digits": Case(other_half("mnist"), first_half("mnist", "lenet5"), from_the_zoo("lenet5")),
    "random": Case(lambda options: load("mnist"), random_layers, from_the_zoo("lenet5"), fresh=True, longest=6),
    "objects": Case(other_half("cifar10"), first_half("cifar10", "resnet"), from_the_zoo("resnet")),
    "blocks": Case(cifar10, blocks, from_the_zoo("resnet"), longest=12, prices=(0.0, 1e-9, 4e-9)),
    "population": Case(lambda options: load(options.population_data), population, from_the_zoo("lenet5")),
}


# -- what is measured --------------------------------------------------------------------------------------------------


def searched(
    problem: DetachedLayers, dataset: Dataset, agent: str, price: float, options: Options, seed: int
) -> Record:
    """An agent's best chain, and how its search went."""
    trials, started = Trials(problem, options.budget, cheap(price)), time.perf_counter()
    records = search(AGENTS[agent](REWARDS["end"]), trials, seed)
    seconds = time.perf_counter() - started
    worths = [cheap(price)(record.outcome) for record in records]
    best, counts = trials.best(), problem.cache.counts
    return {
        "chain": [*best.chain.layers, best.chain.end],
        "loss": best.outcome.loss,
        "worth": max(worths),
        "worth_at": {str(mark): max(worths[: max(1, round(mark * len(worths)))]) for mark in MARKS},
        "distinct": len(records),
        "spent": records[-1].spent,
        "seconds": seconds,
        "cached": counts.hits / max(1, counts.hits + counts.layers),
        "steps_per_second": (counts.hits + counts.layers) / seconds,
        "most_bytes": counts.most,
    } | finished(assembled(problem, best.chain, dataset), dataset, options, seed)


def probed(problem: DetachedLayers, dataset: Dataset, price: float, options: Options, seed: int) -> Record:
    """The best network of the bank up to its head, with a head that is solved."""
    started, before = time.perf_counter(), problem.spent
    bodies: dict[str, list[str]] = {}
    for id in problem.layers:
        entry = problem.entries[id]
        if entry.kind is Kind.BODY:
            bodies.setdefault(entry.origin.network, []).append(id)
    chains = [Chain((), SOLVED)] + [Chain(tuple(ids), SOLVED) for ids in bodies.values()]
    judged = {chain: problem.judge(chain) for chain in chains if _fits_but_for_length(problem, chain)}
    chain = max(judged, key=lambda one: cheap(price)(judged[one]))
    told = {"chain": [*chain.layers, chain.end], "loss": judged[chain].loss, "spent": problem.spent - before}
    network = assembled(problem, chain, dataset)
    return told | {"seconds": time.perf_counter() - started} | finished(network, dataset, options, seed)


def from_scratch(case: Case, dataset: Dataset, flops: float, seed: int) -> Record:
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


def finished(network: nn.Module, dataset: Dataset, options: Options, seed: int) -> Record:
    """How good a chain is, as it is and tuned."""
    price = cost(network, examples(dataset, network, 2))
    untuned = accuracy(network, dataset)
    train(network, shortened(dataset, options.tuning_images), TUNED, seed=seed)
    tuning = TUNED.epochs * min(options.tuning_images, len(dataset.train)) * price.training_flops
    told = {"flops": price.flops, "parameters": price.parameters, "tuning_flops": tuning}
    return told | {"untuned": untuned, "tuned": accuracy(network, dataset)}


def accuracy(network: nn.Module, dataset: Dataset) -> float:
    return evaluate(network, dataset.test, dataset).numbers["accuracy"]


def _fits_but_for_length(problem: DetachedLayers, chain: Chain) -> bool:
    """Networks may be longer than chains."""
    return all(
        problem.attacher.takes(problem.signature(chain.layers[:place]), id) for place, id in enumerate(chain.layers)
    )


# -- all of it ---------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    options.output.mkdir(parents=True, exist_ok=True)
    console, journal = Console(width=160, highlight=False), options.output / "results.jsonl"
    names = ("budget", "samples", "choice", "tuning_images", "threads")
    settings = {name: getattr(options, name) for name in names}
    records = [record for record in read_records(journal) if record["settings"] == settings]

    def measured(key: Record, measure: Callable[[], Record]) -> Record:
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

    for name in options.only:
        for seed in options.seeds:
            for price in CASES[name].prices:
                measure_all(name, seed, price, options, measured)
    table = Table(*COLUMNS)
    for row in rows_of(records):
        table.add_row(*row)
    console.print(table, machine_line())
    write_table(options.output / "results.md", COLUMNS, rows_of(records), machine_line())


def measure_all(
    name: str, seed: int, price: float, options: Options, measured: Callable[[Record, Callable[[], Record]], Record]
) -> None:
    """All rows of a seed and a price, in an order in which the first agent comes before what gets its FLOPs."""
    case = CASES[name]
    dataset = case.data(options)
    bank = filled(options.output / f"bank-{name}{f'-{seed}' if case.fresh else ''}", case, options, seed)

    def problem() -> DetachedLayers:
        sizes = {"samples": options.samples, "choice": options.choice, "memory": options.memory * 2**20}
        return DetachedLayers(bank, dataset, longest=case.longest, seed=seed, **sizes)

    def by_agent(agent: str) -> Record:
        return searched(problem(), dataset, agent, price, options, seed)

    key = {"case": name, "seed": seed, "price": price}
    rows = [measured(key | {"by": agent}, partial(by_agent, agent)) for agent in options.agents]
    measured(key | {"by": "probe"}, lambda: probed(problem(), dataset, price, options, seed))
    measured(key | {"by": "scratch"}, lambda: from_scratch(case, dataset, rows[0]["spent"], seed))


def filled(folder: Path, case: Case, options: Options, seed: int) -> Bank:
    """The bank of a case, filled once: a mark tells that it is whole."""
    mark = folder / "filled"
    bank = Bank(folder)
    if not mark.exists():
        case.fill(bank, options, seed)
        mark.touch()
    return bank


def rows_of(records: Sequence[Record]) -> list[list[str]]:
    """For a table with `COLUMNS`: means over the seeds, and ranges."""
    groups: dict[tuple[str, float, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record["case"], record["price"], record["by"]), []).append(record)
    found = []
    for (case, price, way), mine in groups.items():
        tuned = spread([one["tuned"] for one in mine], 2) if "tuned" in mine[0] else ""
        loss = f"{statistics.mean(one['loss'] for one in mine):.4f}" if "loss" in mine[0] else ""
        numbers = [f"{statistics.mean(one[name] for one in mine):.3g}" for name in ("flops", "spent", "seconds")]
        untuned = spread([one["untuned"] for one in mine], 2)
        found.append([case, f"{price:g}", way, untuned, tuned, numbers[0], loss, *numbers[1:]])
    return found


def _options(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chains", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--output", type=Path, required=True, help="folder for banks and results")
    add("--only", nargs="+", choices=CASES, default=["digits", "random"], help="banks (default: digits random)")
    add("--agents", nargs="+", choices=AGENTS, default=AGENTS_SHOWN, help="the first one gives scratch its FLOPs")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], metavar="N", help="(default: 0 1 2 3 4)")
    add("--budget", type=int, default=200, metavar="N", help="distinct chains (default: %(default)s)")
    add("--samples", type=int, default=2000, metavar="N", help="that heads are solved on (default: %(default)s)")
    add("--choice", type=int, default=1000, metavar="N", help="that chains are judged on (default: %(default)s)")
    add("--memory", type=int, default=2048, metavar="N", help="MiB of features (default: %(default)s)")
    add("--tuning-images", type=int, default=20_000, metavar="N", help="of a training (default: %(default)s)")
    add("--threads", type=int, default=1, metavar="N", help="(default: %(default)s)")
    add("--weights", type=Path, metavar="FOLDER", help="of the four ResNets, for blocks")
    add("--run", type=Path, metavar="FOLDER", help="of an evolution, for population")
    add("--population-data", default="mnist", metavar="NAME", help="that it was of (default: %(default)s)")
    add("--members", type=int, default=12, metavar="N", help="of its networks, the latest (default: %(default)s)")
    found = parser.parse_args(list(arguments))
    if "blocks" in found.only and found.weights is None:
        parser.error("blocks needs --weights")
    if "population" in found.only and found.run is None:
        parser.error("population needs --run")
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
