"""Ensembles of small ResNets at equal training FLOPs, beside one network that gets them all.

    NETMORPH_DATA=path/to/data python -m benchmarks.ensembles FOLDER [--data cifar10] [--seeds 5] [--report]

Images of 16x16 pixels, few of them: where data is short, networks make different mistakes. Every row has the training
FLOPs of `MEMBERS` networks, but for the best member alone. Rows of a seed that come from the same training are made
together, so that their differences are paired. Each row is a line of FOLDER/rows.jsonl, so that a stopped run goes on;
`--report` tells what is there, without training.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks._intervals import interval
from benchmarks._records import Record, read_records
from benchmarks.engine import machine_line
from netmorph import trace, zoo
from netmorph.data import Dataset, Split, load
from netmorph.ensemble import Ensemble, Widened, combine, distilled, greedy, hatch, outputs_of, snapshots
from netmorph.files import write_text
from netmorph.graph import Allow, Graph
from netmorph.measure import calibration_report, temperature
from netmorph.measure.cost import cost
from netmorph.train import Recipe, train
from netmorph.train.inputs import examples
from netmorph.train.seeding import seeded
from netmorph.workers import keep_freed_memory

IMAGES, VALIDATED, SIDE = 2500, 2000, 16
MEMBERS, EPOCHS = 4, 20
CORE, CORE_EPOCHS = 0.75, 32  # of the network that members hatch from: its width, and how long it learns
BAGS = 10
RECIPE = Recipe(
    epochs=EPOCHS,
    batch_size=50,
    optimizer="sgd",
    learning_rate=0.1,
    weight_decay=5e-4,
    warmup=0.1,
    pad=1,
    flip=True,
    channels_last=True,
)
BASELINE = "the best member"


@dataclass(frozen=True)
class Setting:
    """What all rows of a seed have in common.

    Attributes:
        epoch: training FLOPs of an epoch of a member.
        budget: training FLOPs of each row.
    """

    dataset: Dataset
    seed: int
    recipe: Recipe
    epoch: int

    @property
    def budget(self) -> int:
        return MEMBERS * self.recipe.epochs * self.epoch

    def network(self, width: float = 1.0, index: int = 0) -> nn.Module:
        """One of its own random weights for each seed and index."""
        with seeded(1000 * self.seed + index):
            return zoo.build("resnet", self.dataset.input_shape, self.dataset.outputs, blocks=(1, 1, 1), width=width)

    def trained(self, model: nn.Module, index: int, dataset: Dataset | None = None, **changes: Any) -> float:
        """Train in place; the best score on the validation part."""
        recipe = replace(self.recipe, **changes)
        return train(model, dataset or self.dataset, recipe, seed=1000 * self.seed + index).best.score

    def price(self, model: nn.Module) -> int:
        """Training FLOPs of an epoch."""
        return price(model, self.dataset)

    def graph(self, model: nn.Module) -> Graph:
        return trace(model, examples(self.dataset, model))

    def row(self, name: str, model: nn.Module, spent: float) -> Record:
        """What a network does on the test part, and what it took."""
        data = self.dataset
        outputs = outputs_of(model, data.test, data)
        right = (outputs.argmax(1) == data.test.targets).double().mean().item()
        told = calibration_report(outputs.softmax(1), data.test.targets)
        warmth = temperature(outputs_of(model, data.validation, data), data.validation.targets)
        scaled = calibration_report((outputs / warmth).softmax(1), data.test.targets)
        return {
            "row": name,
            "seed": self.seed,
            "accuracy": right,
            **{key: told[key] for key in ("ece", "nll", "brier")},
            "temperature": warmth,
            "ece_scaled": scaled["ece"],
            "training_flops": spent,
            "flops": cost(model, examples(data, model, 2)).flops,
        }


def of_members(setting: Setting) -> Iterator[Record]:
    """Networks of their own, and all that is made of these."""
    data, epochs = setting.dataset, setting.recipe.epochs
    members = [setting.network(index=index) for index in range(MEMBERS)]
    scores = [setting.trained(member, index) for index, member in enumerate(members)]
    yield setting.row(BASELINE, members[scores.index(max(scores))], epochs * setting.epoch)
    yield setting.row("average", Ensemble(members, data.task), setting.budget)
    outputs, targets = [outputs_of(member, data.validation, data) for member in members], data.validation.targets
    for name, bags in (("greedy", 1), ("greedy, in bags", BAGS)):
        counts = greedy(outputs, targets, data.task, bags=bags, seed=setting.seed)
        yield setting.row(name, Ensemble(members, data.task, counts), setting.budget)
    combiner = combine([setting.graph(member) for member in members], data)
    asked = cost(combiner, examples(data, combiner, 2)).flops * len(data.train)  # once, for the head
    yield setting.row("combiner", combiner, setting.budget + asked)
    student = setting.network(index=MEMBERS)
    setting.trained(student, MEMBERS, distilled(data, members[:-1]))
    asked = (MEMBERS - 1) * cost(student, examples(data, student, 2)).flops * len(data.train)
    yield setting.row("distilled", student, setting.budget + asked)


def of_one(setting: Setting) -> Iterator[Record]:
    """One network that gets all."""
    long, wide = setting.network(), setting.network(width=2.0)
    setting.trained(long, 0, epochs=MEMBERS * setting.recipe.epochs)
    yield setting.row("one network, as long", long, setting.budget)
    epochs = max(1, round(setting.budget / setting.price(wide)))
    setting.trained(wide, 0, epochs=epochs)
    yield setting.row("one network, wider", wide, epochs * setting.price(wide))


def of_cycles(setting: Setting) -> Iterator[Record]:
    """One training that leaves as many networks."""
    recipe = replace(setting.recipe, epochs=MEMBERS * setting.recipe.epochs)
    kept = snapshots(setting.network(), setting.dataset, recipe, MEMBERS, seed=1000 * setting.seed)
    yield setting.row("snapshots", Ensemble(kept, setting.dataset.task), setting.budget)


def of_a_core(setting: Setting) -> Iterator[Record]:
    """A narrow network, widened exactly into as many members, which learn on for what is left."""
    core = setting.network(width=CORE)
    asked = round(CORE_EPOCHS * setting.recipe.epochs / EPOCHS)
    setting.trained(core, 0, epochs=asked)
    spent = asked * setting.price(core)
    epochs = math.floor((setting.budget - spent) / MEMBERS / setting.epoch)
    full = setting.graph(setting.network())
    grown = Widened({group.name: full.group(group.name).size for group in full.editable(Allow.UNIFORM)})
    members = [graph.model for graph in hatch(setting.graph(core), grown, MEMBERS, seed=setting.seed)]
    for index, member in enumerate(members):
        setting.trained(member, index + 1, epochs=epochs)
    yield setting.row(
        "hatched", Ensemble(members, setting.dataset.task), spent + MEMBERS * epochs * setting.price(members[0])
    )


# In the order of the table, each with what makes it.
ROWS: dict[str, Callable[[Setting], Iterator[Record]]] = {
    BASELINE: of_members,
    "one network, as long": of_one,
    "one network, wider": of_one,
    "average": of_members,
    "greedy": of_members,
    "greedy, in bags": of_members,
    "combiner": of_members,
    "snapshots": of_cycles,
    "hatched": of_a_core,
    "distilled": of_members,
}


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    torch.set_num_threads(1)
    keep_freed_memory()
    file = options.folder / "rows.jsonl"
    if not options.report:
        options.folder.mkdir(parents=True, exist_ok=True)
        dataset = images(options.data, options.images)
        recipe = replace(RECIPE, epochs=options.epochs)
        for seed in range(options.seeds):
            for job in dict.fromkeys(ROWS.values()):
                names = {name for name, made_by in ROWS.items() if made_by is job}
                if names - {row["row"] for row in read_records(file) if row["seed"] == seed}:
                    for row in job(setting_of(dataset, seed, recipe)):
                        keep(file, row)
    told = table(read_records(file)) + f"\n{machine_line()}\n"
    print(told)
    write_text(options.folder / "table.md", told)


def images(source: str, count: int) -> Dataset:
    """Few training images, fewer validation images than there are, and all test images."""
    whole = load(source, train_size=count, size=(SIDE, SIDE))
    return replace(whole, validation=Split(*next(whole.validation.cut(VALIDATED))))


def setting_of(dataset: Dataset, seed: int, recipe: Recipe) -> Setting:
    unpriced = Setting(dataset, seed, recipe, 0)
    return replace(unpriced, epoch=price(unpriced.network(), dataset))


def price(model: nn.Module, dataset: Dataset) -> int:
    """Training FLOPs of an epoch."""
    return cost(copy.deepcopy(model), examples(dataset, model, 2)).training_flops * len(dataset.train)


def keep(file: Path, row: Record) -> None:
    """Write a row behind those that are there, unless it is there."""
    rows = read_records(file)
    if (row["row"], row["seed"]) not in {(each["row"], each["seed"]) for each in rows}:
        write_text(file, "".join(json.dumps(each) + "\n" for each in [*rows, row]))
        print(f"{row['row']}, seed {row['seed']}: {row['accuracy']:.2%}, ECE {row['ece']:.2%}", flush=True)


def table(rows: Sequence[Record]) -> str:
    """A line for each row with means and 95% intervals over the seeds; differences are paired by seed."""
    lines = [
        "| | right in test | to the best member | ECE | ECE, scaled | loss | training FLOPs | FLOPs of an answer |",
        "|---|---|---|---|---|---|---|---|",
    ]
    first = {row["seed"]: row["accuracy"] for row in rows if row["row"] == BASELINE}
    for name in ROWS:
        own = [row for row in rows if row["row"] == name]
        if not own:
            continue
        more = [100 * (row["accuracy"] - first[row["seed"]]) for row in own if row["seed"] in first]
        numbers = (
            interval([100 * row["accuracy"] for row in own], "{:.2f}"),
            "" if name == BASELINE or not more else interval(more, "{:+.2f}"),
            *(interval([100 * row[key] for row in own], "{:.2f}") for key in ("ece", "ece_scaled")),
            interval([row["nll"] for row in own], "{:.3f}"),
            f"{statistics.mean(row['training_flops'] for row in own):.3g}",
            f"{statistics.mean(row['flops'] for row in own):.3g}",
        )
        lines.append(f"| {name} | {' | '.join(numbers)} |")
    seeds = len({row["seed"] for row in rows})
    return "\n".join(lines) + f"\n\nIn percent, points and nats; {seeds} seeds, 95% intervals."


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="rows and the table are kept here")
    parser.add_argument("--data", default="cifar10", help="images, as netmorph.data.load takes them")
    parser.add_argument("--images", type=int, default=IMAGES, help="for training")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of a member")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--report", action="store_true", help="tell what is there, without training")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
