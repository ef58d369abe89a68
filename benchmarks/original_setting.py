"""Shared-weight neuroevolution in its original setting, scaled down, beside copies and the base network trained on.

    NETMORPH_DATA=path/to/data python -m benchmarks.original_setting FOLDER [--seeds 0 1 2] [--report]

As published: a three-layer base network on CIFAR-10, Adam at 0.003 with weight decay 1e-6, 5000 first steps; then 15
rounds in which the K = 3 survivors and their children, M = 10 networks in all, are trained together for 5000 steps.
Test accuracy of the base 70%, of the best 74%, of an ensemble that co-evolution selected 75%.

Here all steps are divided by `--factor`. The arms of a seed begin with the same base network after its first steps:

shared            each step trains one of the M networks, drawn uniformly; common weights are the very same
shared, covering  the same, selected by co-evolution: an image that a chosen network gets right counts half as much
                  in the choice of the next one
copies            each network has a copy of its parent's weights, and a fair share of the steps
base, trained on  for as many training FLOPs as `shared` has had

No network may have more than four times the FLOPs of the base. Survivors are chosen on held-out images.
FOLDER/rows.jsonl gets a line for each arm that has ended, so that a stopped run goes on; `--report` tells what is
there, without training.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import process_time
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks._intervals import interval
from benchmarks._records import read_records
from benchmarks.engine import machine_line
from netmorph.data import Dataset, Split, load
from netmorph.edit import Journal
from netmorph.files import write_text
from netmorph.graph import trace
from netmorph.measure.cost import cost
from netmorph.policy import Mutation, mutate
from netmorph.sharing import Origins, Pool, born, founded, of_these, size, train_together
from netmorph.train import Recipe, predict, train
from netmorph.train.inputs import examples
from netmorph.train.optimizers import build_optimizer

FIRST, STEPS, ROUNDS, SURVIVORS, NETWORKS = 5000, 5000, 15, 3, 10  # as published
PUBLISHED = {"base": "70", "shared": "74", "shared, covering": "75 (ensemble)"}
BATCH, CHANNELS = 64, (12, 24, 24)
LARGEST, TRIES = 4, 8  # FLOPs of a network, in those of the base; draws until it stays within
RECIPE = Recipe(1, BATCH, "adam", learning_rate=3e-3, weight_decay=1e-6, schedule="constant")
BASE, LONGER = "base", "base, trained on"


@dataclass(frozen=True)
class Row:
    """What an arm of a seed came to.

    Attributes:
        best, ensemble: test accuracy of the survivor that was chosen first, and of all survivors' mean answer.
        flops: of its training, the first steps with them.
        weights: of the last M networks together; what they share counts once.
        seconds: of one core.
    """

    seed: int
    arm: str
    factor: float
    best: float
    ensemble: float
    flops: float
    weights: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Setting:
    """The published one, with the steps divided by `factor`."""

    data: Dataset
    factor: float
    rounds: int

    @property
    def steps(self) -> int:
        """Of a round."""
        return round(STEPS / self.factor)

    def part(self, steps: int, seed: int) -> Dataset:
        """Training images for so many steps, drawn at random, each once."""
        images = self.data.train
        assert isinstance(images, Split)
        chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[: steps * BATCH]
        return replace(self.data, train=images.select(chosen))

    def flops(self, model: nn.Module) -> int:
        """Of a training step."""
        return BATCH * cost(model, examples(self.data, model, 2)).training_flops

    def tested(self, *models: nn.Module) -> float:
        """Test accuracy of the mean of their answers."""
        answers = torch.stack([predict(model, self.data.test, self.data) for model in models]).mean(0)
        return float((answers.argmax(1) == self.data.test.targets).double().mean())


class Member(NamedTuple):
    """A network of the population, with what goes on training it where its weights are its own."""

    model: nn.Module
    journal: Journal
    optimizer: Optimizer


Members = Mapping[int, Member]
Learn = Callable[[Setting, Pool, Members, int], tuple[Pool, dict[int, float], int]]
"""Trains the networks of a round, in place: the pool after that, the steps of each, the weights of all together."""
Select = Callable[[Tensor, int], list[int]]
"""So many networks by `[networks, images]`: which held-out images each gets right."""


def shared(setting: Setting, pool: Pool, members: Members, seed: int) -> tuple[Pool, dict[int, float], int]:
    """All together."""
    models = {id: member.model for id, member in members.items()}
    part = setting.part(setting.steps, seed)
    learnt = train_together(of_these(pool, models), models, part, RECIPE, seed=seed, passes=1)
    steps = {id: setting.steps * float(share / len(models)) for id, share in learnt.shares.items()}
    return learnt.pool, steps, size(learnt.pool)


def copies(setting: Setting, pool: Pool, members: Members, seed: int) -> tuple[Pool, dict[int, float], int]:
    """One after another; the pool tells who is whose child, and its weights are nobody's."""
    each = max(1, round(setting.steps / len(members)))
    for id, member in members.items():
        train(member.model, setting.part(each, seed + id), RECIPE, seed=seed, optimizer=member.optimizer)
    count = sum(value.numel() for member in members.values() for value in member.model.parameters())
    return of_these(pool, members), dict.fromkeys(members, float(each)), count


def best(right: Tensor, count: int) -> list[int]:
    """Those that get most images right."""
    return right.sum(1).argsort(descending=True, stable=True)[:count].tolist()


def covering(right: Tensor, count: int) -> list[int]:
    """Co-evolution: with each choice, the images that it gets right count half of what they did."""
    weights, chosen = torch.ones(right.shape[1], dtype=torch.float64), list[int]()
    for _ in range(min(count, len(right))):
        worth = right.double() @ weights
        worth[chosen] = -1.0
        chosen.append(int(worth.argmax()))
        weights[right[chosen[-1]]] /= 2
    return chosen


SEARCHES: dict[str, tuple[Learn, Select]] = {
    "shared": (shared, best),
    "shared, covering": (shared, covering),
    "copies": (copies, best),
}


def base(data: Dataset) -> nn.Module:
    """Three convolutions 3x3 with ReLU, the first one of stride 2, pools behind the others, and a linear layer."""
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(zip((data.input_shape[0], *CHANNELS), CHANNELS, strict=False)):
        layers += [nn.Conv2d(before, after, 3, stride=1 if number else 2, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if number else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear((data.input_shape[1] // 8) ** 2 * CHANNELS[-1], data.outputs))


def child(setting: Setting, parent: Member, edits: int, seed: Sequence[int]) -> tuple[Member, Origins]:
    """A copy, with up to so many edits, and what tells where its weights come from."""
    limit, generator = LARGEST * setting.flops(base(setting.data)), np.random.default_rng(seed)
    for left in reversed(range(TRIES)):
        model, optimizer = copy.deepcopy((parent.model, parent.optimizer))
        origins, journal = Origins(model), parent.journal
        if edits and left:
            graph = trace(model, examples(setting.data, model), journal)
            journal = mutate(graph, generator, Mutation(edits), optimizer=[optimizer, origins]).journal
        if setting.flops(model) <= limit:
            break
    return Member(model, journal, optimizer), origins


def evolved(setting: Setting, start: Member, seed: int, learn: Learn, select: Select) -> tuple[Row, list[nn.Module]]:
    """All rounds from a base network on: the row without its accuracies, and the survivors, the first chosen first."""
    named = dict(start.model.named_parameters())
    pool = founded(Pool(), 0, named, {name: start.optimizer.state[one] for name, one in named.items()})
    population, flops, weights = {0: start}, 0.0, 0
    for number in range(setting.rounds):
        parents = list(population.items())
        births = [(id, parent, 0) for id, parent in parents]
        births += [(*parents[index % len(parents)], 1) for index in range(NETWORKS - len(parents))]
        members: dict[int, Member] = {}
        for id, (parent_id, parent, edits) in enumerate(births, 1 + number * NETWORKS):
            members[id], origins = child(setting, parent, edits, [seed, id])
            model = members[id].model
            pool = born(pool, id, parent_id, origins.kept(model), dict(model.named_parameters()))
        pool, steps, weights = learn(setting, pool, members, 1000 * (seed + 1) + number)
        flops += sum(count * setting.flops(members[id].model) for id, count in steps.items())
        answers = [predict(member.model, setting.data.validation, setting.data) for member in members.values()]
        right = torch.stack(answers).argmax(2) == setting.data.validation.targets
        population = {[*members][place]: [*members.values()][place] for place in select(right, SURVIVORS)}
        pool = of_these(pool, population)
    row = Row(seed, "", setting.factor, 0.0, 0.0, flops, weights, 0.0)
    return row, [member.model for member in population.values()]


def arms(setting: Setting, seed: int, known: Mapping[str, Row]) -> Iterator[Row]:
    """The arms of a seed that are not known yet, one after another."""
    began = process_time()
    torch.manual_seed(seed)
    start = base(setting.data)
    optimizer = build_optimizer(start, RECIPE)
    first = round(FIRST / setting.factor)
    train(start, setting.part(first, seed), RECIPE, seed=seed, optimizer=optimizer)
    begun, before = first * setting.flops(start), process_time() - began
    count = sum(parameter.numel() for parameter in start.parameters())
    accuracy = setting.tested(start)
    if BASE not in known:
        yield Row(seed, BASE, setting.factor, accuracy, accuracy, begun, count, before)
    spent = known["shared"].flops if "shared" in known else 0.0
    for name, (learn, select) in SEARCHES.items():
        if name not in known:
            began = process_time()
            model, carried = copy.deepcopy((start, optimizer))
            row, models = evolved(setting, Member(model, (), carried), seed, learn, select)
            row = replace(row, arm=name, flops=begun + row.flops, seconds=before + process_time() - began)
            spent = row.flops if name == "shared" else spent
            yield replace(row, best=setting.tested(models[0]), ensemble=setting.tested(*models))
    if LONGER not in known:
        began = process_time()
        left = round((spent - begun) / setting.flops(start))
        for number in range(0, left, setting.steps):
            part = setting.part(min(setting.steps, left - number), 1000 * (seed + 1) + number)
            train(start, part, RECIPE, seed=number, optimizer=optimizer)
        accuracy, flops = setting.tested(start), begun + left * setting.flops(start)
        yield Row(seed, LONGER, setting.factor, accuracy, accuracy, flops, count, before + process_time() - began)


def table(rows: Sequence[Row]) -> str:
    """Means and 95% intervals over the seeds, beside what was published."""
    lines = [
        "| arm | best, test % | ensemble, test % | published, % | training FLOPs | weights of M networks | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for arm in (BASE, *SEARCHES, LONGER):
        found = [row for row in rows if row.arm == arm]
        if found:
            accuracies = [
                interval([100 * getattr(row, name) for row in found], "{:.2f}") for name in ("best", "ensemble")
            ]
            flops, weights, seconds = (
                sum(getattr(row, name) for row in found) / len(found) for name in ("flops", "weights", "seconds")
            )
            cells = [arm, *accuracies, PUBLISHED.get(arm, ""), f"{flops:.3g}", f"{weights:,.0f}", f"{seconds:.0f}"]
            lines.append(f"| {' | '.join(cells)} |")
    if rows:
        seeds = len({row.seed for row in rows})
        lines.append(f"\nSteps: the published ones divided by {rows[0].factor:g}, of {BATCH} images; {seeds} seeds.")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / "rows.jsonl"
    rows = [Row(**told) for told in read_records(path)]
    if not options.report:
        data = load("cifar10")
        assert isinstance(data.validation, Split)
        data = replace(data, validation=data.validation.select(torch.arange(options.held_out)))
        setting = Setting(data, options.factor, options.rounds)
        for seed in options.seeds:
            for row in arms(setting, seed, {row.arm: row for row in rows if row.seed == seed}):
                rows.append(row)
                write_text(path, "".join(f"{json.dumps(asdict(one))}\n" for one in rows))
                print(row, flush=True)
    print(table(rows))
    print(machine_line())


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.original_setting", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--factor", type=float, default=20, help="the published steps are divided by it")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--held-out", type=int, default=1000, help="images that survivors are chosen on")
    parser.add_argument("--report", action="store_true", help="tell what is there, without training")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
