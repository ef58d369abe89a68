"""Shrink networks by rank, beside other ways to the same size: accuracy against parameters and FLOPs, round by round.

    NETMORPH_DATA=path/to/data python -m benchmarks.shrink --output runs/bench-shrink [--only mlp lenet5]

MNIST. All ways start from one trained network a seed. Those at the same widths, the same FLOPs or from scratch follow
the rounds that "ours, kept" has kept, with the same training in each. Everything goes through `netmorph.shrink`; what
differs is who chooses the widths and who fills them. A line is appended for each way that has ended, trained networks
are kept, so that a run that was stopped goes on. Needs torch-pruning and matplotlib.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from rich.console import Console
from torch import nn

import netmorph
from benchmarks._records import read_records
from benchmarks._shrink_tables import ENDS, Line, Record, at_marks, by_round, ends, kept_rounds, picture, table
from netmorph import Samples, zoo
from netmorph.data import Dataset, load
from netmorph.files import write_text
from netmorph.graph import Graph
from netmorph.measure import flops, predict_flops
from netmorph.measure.cost import cost
from netmorph.measure.spectrum import gavish_donoho_rank
from netmorph.run.machine import machine, versions
from netmorph.scores import magnitude, random
from netmorph.shrink import (
    Rebuild,
    Round,
    Wanted,
    Widths,
    by_rank,
    cut,
    explaining,
    fresh,
    kept,
    shrink,
    weights,
)
from netmorph.train.evaluation import evaluate
from netmorph.train.inputs import examples
from netmorph.train.loop import train
from netmorph.train.recipe import Recipe

STEPS = 200  # of Torch-Pruning, which is asked again after each of them
TOLERANCE = 0.003  # of validation accuracy, for every way that may stop by itself
CALIBRATION = 2000  # training images that ranks and rebuilding look at
ANY = 1.0  # a tolerance that lets everything pass: for ways that follow the rounds of another

NOTED = ("number", "kept", "widths", "parameters", "flops", "training_flops")  # of a round, as they are
Rounds = list[Record]
Tuning = Callable[[int], Recipe]
Way = Callable[["Start", Rounds], Rounds]  # given the rounds of ours, too


@dataclass(frozen=True)
class Task:
    """A network on MNIST.

    Attributes:
        title: of the network.
        build: it, with fresh weights.
        small: likewise, too narrow: where regrowing starts.
        first: how the whole network is trained.
        tuning: how that of each round is, from 1.
        rounds: at most so many.
        marks: so many times fewer parameters are of interest.
        variations: other ways, tried with the first seed alone.
    """

    title: str
    build: Callable[[Dataset], nn.Module]
    small: Callable[[Dataset], nn.Module]
    first: Recipe
    tuning: Tuning
    rounds: int
    marks: Sequence[int]
    variations: Mapping[str, Way]


@dataclass(frozen=True)
class Start:
    """What every way starts from: the trained network, and the FLOPs of its training."""

    task: Task
    dataset: Dataset
    model: nn.Module
    spent: int
    seed: int


def mlp(dataset: Dataset, hidden: Sequence[int]) -> nn.Module:
    return zoo.build("mlp", dataset.input_shape, len(dataset.classes), hidden=hidden)


def lenet5(dataset: Dataset, width: float) -> nn.Module:
    return zoo.build("lenet5", dataset.input_shape, len(dataset.classes), width=width)


def longer(recipe: Recipe, most: int, number: int) -> Recipe:
    """More epochs as the network gets smaller and cheaper: twice the recipe's in round 2, and so on."""
    return replace(recipe, epochs=min(most, recipe.epochs * number))


def torch_pruned(samples: Samples, widths: Mapping[str, int], seed: int, together: bool) -> Graph:
    """What Torch-Pruning's magnitude pruner leaves at the FLOPs that these widths would have.

    All layers are ranked `together`, or each by itself.
    """
    import torch_pruning as tp

    graph = samples.graph
    enough = predict_flops(graph).at({graph.group(name).atom: width for name, width in widths.items()})
    pruner = tp.pruner.MagnitudePruner(
        graph.model,
        graph.inputs,
        importance=tp.importance.MagnitudeImportance(p=2),
        global_pruning=together,
        pruning_ratio=1.0,
        max_pruning_ratio=0.99,
        iterative_steps=STEPS,
        ignored_layers=[[module for module in graph.model.modules() if isinstance(module, nn.Linear)][-1]],
    )
    for _ in range(STEPS):
        if flops(graph.model, graph.inputs) <= enough:
            return netmorph.trace(graph.model, graph.inputs)
        pruner.step()
    raise RuntimeError(f"Torch-Pruning does not reach {enough:,} FLOPs in {STEPS} steps")


def ours(start: Start, before: Rounds, widths: Widths, rebuild: Rebuild = kept, decay: float | None = None) -> Rounds:
    """By rank, until what is smaller is too bad; with `decay`, that of the first round, which is halved in each."""
    tuning = start.task.tuning if decay is None else lowered(start.task.tuning, decay)
    return rounds_of(start, start.model, tuning, widths, rebuild, start.task.rounds, TOLERANCE)


def lowered(tuning: Tuning, decay: float) -> Tuning:
    """The same at a decay that is halved in each round."""
    return lambda number: replace(tuning(number), weight_decay=decay * 0.5 ** (number - 1))


def regrown(start: Start, before: Rounds, widths: Widths) -> Rounds:
    """From a network that is too narrow, trained first like the whole one."""
    torch.manual_seed(start.seed)
    model, task = start.task.small(start.dataset), start.task
    return rounds_of(
        replace(start, spent=0), model, lambda _: task.tuning(4), widths, kept, task.rounds, TOLERANCE, task.first
    )


def following(start: Start, before: Rounds, rebuild: Rebuild) -> Rounds:
    """The rounds that ours has kept: to their widths, or what `rebuild` makes of them, with their training."""
    plan = kept_rounds(before)
    wanted = iter([Wanted(told["widths"]) for told in plan[1:]])

    def tuning(number: int) -> Recipe:
        return start.task.tuning(plan[number]["number"])

    return rounds_of(start, start.model, tuning, lambda _: next(wanted), rebuild, len(plan) - 1, ANY)


def from_scratch(start: Start, before: Rounds) -> Rounds:
    """The last widths of ours with fresh weights, trained for all FLOPs that ours took: every round, and the start."""
    last = kept_rounds(before)[-1]
    epochs = round(before[-1]["spent"] / (last["training_flops"] / last["epochs"]))
    recipe, wanted = replace(start.task.tuning(last["number"]), epochs=epochs), Wanted(last["widths"])
    return rounds_of(replace(start, spent=0), start.model, lambda _: recipe, lambda _: wanted, fresh, 1, ANY)


def rounds_of(
    start: Start,
    model: nn.Module,
    tuning: Tuning,
    widths: Widths,
    rebuild: Rebuild,
    rounds: int,
    tolerance: float,
    first: Recipe | None = None,
) -> Rounds:
    """Shrink, and write each round down; a network that is not trained yet gets its `first` training."""
    found: Rounds = []

    def note(told: Round, network: nn.Module) -> None:
        record = {name: value for name, value in asdict(told).items() if name in NOTED}
        spent = (found[-1]["spent"] if found else start.spent) + told.training_flops
        found.append(
            record
            | {
                "epochs": len(told.epochs),
                "spent": spent,
                "untrained": told.untrained["accuracy"],
                "validation": told.numbers["accuracy"],
                "test": evaluate(network, start.dataset.test, start.dataset)["accuracy"],
            }
        )

    shrink(
        model,
        start.dataset,
        lambda number: tuning(number) if number else first,
        widths,
        rebuild,
        rounds=rounds,
        tolerance=tolerance,
        agree=0.0,
        calibration=CALIBRATION,
        seed=start.seed,
        on_round=note,
    )
    return found


BY_RANK = by_rank()
FIRST = "ours, kept weights"
WAYS: dict[str, Way] = {
    FIRST: partial(ours, widths=BY_RANK),
    "magnitude, same widths": partial(following, rebuild=partial(cut, score=magnitude)),
    "Torch-Pruning, each layer, same FLOPs": partial(following, rebuild=partial(torch_pruned, together=False)),
    "from scratch, same training FLOPs": from_scratch,
    "random, same widths": partial(following, rebuild=partial(cut, score=random)),
    "Torch-Pruning, global, same FLOPs": partial(following, rebuild=partial(torch_pruned, together=True)),
    "ours, fresh weights": partial(ours, widths=BY_RANK, rebuild=fresh),
}
SIDE_BY_SIDE = [FIRST, *(way for way in WAYS if way.endswith(("same widths", "same FLOPs")))]
MLP = Recipe(epochs=10, batch_size=512, learning_rate=2e-3, warmup=0.2, pad=2, bf16=True)
LENET = Recipe(epochs=5, batch_size=128, optimizer="sgd", learning_rate=0.05, weight_decay=5e-4, warmup=0.2, pad=2)
TASKS = {
    "mlp": Task(
        "MLP, five hidden layers of 784",
        partial(mlp, hidden=(784,) * 5),
        partial(mlp, hidden=(16,) * 5),
        MLP,
        lambda number: replace(MLP, epochs=min(20, 5 * number), learning_rate=3e-3),  # what is smaller costs less
        7,
        (10, 39),
        {
            "ours by 98% of the variance": partial(ours, widths=by_rank(explaining(0.98))),
            "ours by Gavish-Donoho of the weights": partial(ours, widths=by_rank(gavish_donoho_rank, weights)),
            "ours, decay 0.5 halved each round": partial(ours, widths=BY_RANK, decay=0.5),
            "regrown from 16 units a layer": partial(regrown, widths=by_rank(fill=0.6, growth=1.5)),
        },
    ),
    "lenet5": Task(
        "LeNet-5",
        partial(lenet5, width=1),
        partial(lenet5, width=0.25),
        LENET,
        lambda _: replace(LENET, epochs=2),
        5,
        (5,),
        {},
    ),
}


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    console = Console(width=160, highlight=False)
    journal = options.output / "results.jsonl"
    for name in options.only:
        task = TASKS[name]
        settings, names = settings_of(task), [*WAYS, *task.variations]
        jobs = [(seed, way) for seed in options.seeds for way in WAYS]
        jobs += [(options.seeds[0], way) for way in task.variations]
        known = [line for line in read_records(journal) if (line["task"], line["settings"]) == (name, settings)]
        done = {(line["seed"], line["way"]): line for line in known if (line["seed"], line["way"]) in jobs}
        start: Start | None = None
        for seed, way in jobs:
            if (seed, way) in done:
                continue
            if start is None or start.seed != seed:
                start = trained(task, seed, name, options.output)
            began = time.process_time()
            run, before = {**WAYS, **task.variations}[way], done.get((seed, FIRST), {"rounds": []})
            line = {"task": name, "way": way, "seed": seed, "rounds": run(start, before["rounds"])}
            line |= {"cpu": round(time.process_time() - began, 1), "settings": settings}
            done[seed, way] = line
            with journal.open("a") as file:
                file.write(json.dumps(line) + "\n")
            whole, last = line["rounds"][0], kept_rounds(line["rounds"])[-1]
            times = whole["parameters"] / last["parameters"]
            console.print(f"{name}, seed {seed}, {way}: {times:.1f} times smaller, {last['test']:.2%}, {line['cpu']} s")
        lines = sorted(done.values(), key=lambda line: (names.index(line["way"]), line["seed"]))
        told = markdown(task, lines)
        write_text(options.output / f"{name}.md", told)
        picture(lines, options.output / f"shrink-{name}.png", task.title)
        console.print(told)


def trained(task: Task, seed: int, name: str, folder: Path) -> Start:
    """The network of a seed, which is trained once."""
    dataset = load("mnist", seed=seed)
    torch.manual_seed(seed)
    model = task.build(dataset)
    file = folder / f"{name}-seed{seed}.safetensors"
    history = train(model, dataset, task.first, seed=seed, checkpoint=file, resume=True)
    spent = len(history) * len(dataset.train) * cost(model, examples(dataset, model, 2)).training_flops
    return Start(task, dataset, model, spent, seed)


def settings_of(task: Task) -> Record:
    """What results must agree in to stand in one table, as JSON gives it back."""
    tuning = [asdict(task.tuning(number)) for number in range(1, task.rounds + 1)]
    found: Record = json.loads(json.dumps({"first": asdict(task.first), "tuning": tuning, "tolerance": TOLERANCE}))
    return found


def markdown(task: Task, lines: Sequence[Line]) -> str:
    """The section for a page of results."""
    seeds = sorted({line["seed"] for line in lines})
    whole = {line["seed"]: line["rounds"][0] for line in lines if line["way"] == FIRST}
    minutes = sum(line["cpu"] for line in lines) / 60
    where = ", ".join(f"{name} {value}" for name, value in {**versions(), **machine()}.items())
    parts = [
        f"Seeds {', '.join(map(str, seeds))}: mean (lowest to highest). {where}; torch-pruning "
        f"{version('torch-pruning')}; one thread, {minutes:.0f} minutes of CPU time without the first training.\n",
        table(ENDS, ends(lines, whole)),
        "Points of test accuracy lost, where a way first has so many times fewer parameters:\n",
        table(("way", *(f"{mark} times" for mark in task.marks)), at_marks(lines, whole, task.marks)),
    ]
    ways = [way for way in SIDE_BY_SIDE if any(line["way"] == way for line in lines)]
    parts += [
        "Test accuracy round by round, the mean over the seeds:\n",
        table(("widths of ours, first seed", "times fewer parameters", *ways), by_round(lines, ways)),
    ]
    return "\n".join(parts)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shrink", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=TASKS, nargs="+", default=list(TASKS), help="(default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")
    parser.add_argument("--output", type=Path, required=True, help="folder for results")
    return parser.parse_args(list(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
