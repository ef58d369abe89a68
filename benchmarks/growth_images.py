"""Growing small image networks while they learn, beside the large network from scratch and random padding.

    NETMORPH_DATA=path/to/data python -m benchmarks.growth_images FOLDER [--seeds 5] [--report]

Images of CIFAR-10, made smaller; a small ResNet and a small Inception network. For one seed the small network is
trained once; whatever grows branches off from its checkpoint (network, optimizer, random numbers), so that differences
are paired by seed. *Net2Net's tests*: twice as wide, or deeper, by every method. *R2R's tests*: late growth, and what
is chosen beside it. *How often*: one, two or four growths to the same size for the same FLOPs. Each training that
has ended is a JSON file in FOLDER, so that a stopped run goes on; `--report` tells what is there, without training.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from time import process_time
from typing import Any

import torch
from torch import nn

from benchmarks._growth_rows import ALONE, EARLY, LATE, MIDDLE, NETWORKS, Build, Row, batches_of, rows
from benchmarks._growth_tables import Record, picture, report
from benchmarks.engine import machine_line
from netmorph.data import Dataset, load
from netmorph.files import write_text
from netmorph.graph import Graph
from netmorph.measure.cost import cost
from netmorph.policy import Plateau, growing
from netmorph.train import Epoch, History, Recipe, evaluate, train
from netmorph.train.editing import InLoop
from netmorph.train.inputs import examples
from netmorph.workers import keep_freed_memory

IMAGES, VALIDATED, SIDE = 10_000, 2000, 16
RECIPE = Recipe(
    epochs=10,
    batch_size=100,
    optimizer="sgd",
    learning_rate=0.1,
    weight_decay=5e-4,
    schedule="stable",
    warmup=0.05,
    decay_share=0.2,
    pad=1,
    flip=True,
    channels_last=True,
)
MOMENTS = (EARLY, MIDDLE, LATE)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    torch.set_num_threads(1)
    keep_freed_memory()
    if not options.report:
        options.folder.mkdir(parents=True, exist_ok=True)
        dataset = images(options.data, options.images)
        recipe = replace(RECIPE, epochs=options.epochs)
        plan = {network: planned(network, dataset) for network in options.networks}
        jobs = [(row, network, seed) for seed in range(options.seeds) for network in plan for row in plan[network]]
        for row, network, seed in sorted(jobs, key=lambda job: -job[0].seeds):  # what matters less comes last
            if seed < row.seeds and (not options.rows or f"{row.table}: {row.name}" in options.rows):
                once(row, network, NETWORKS[network], dataset, recipe, seed, options.folder)
    told = report(read(options.folder)) + f"\n{machine_line()}"
    print(told)
    write_text(options.folder / "tables.md", told)
    picture(read(options.folder), options.folder / "growth-images.png")


def images(source: str, count: int) -> Dataset:
    """Few training images, fewer validation images than there are, and all test images, 16x16 pixels."""
    whole = load(source, train_size=count, size=(SIDE, SIDE))
    chosen = torch.arange(min(VALIDATED, len(whole.validation)))
    return replace(whole, validation=whole.validation.select(chosen))


def planned(network: str, dataset: Dataset) -> list[Row]:
    def flops(width: float, deeper: int) -> int:
        return size(NETWORKS[network](dataset.input_shape, dataset.outputs, width, deeper), dataset)[0]

    return rows(network, batches_of(dataset), flops)


def once(row: Row, network: str, build: Build, dataset: Dataset, recipe: Recipe, seed: int, folder: Path) -> None:
    """Train a row of the network of this name, unless there is a file of it."""
    file = folder / name_of(network, row.table, row.name, seed)
    settings = json.loads(
        json.dumps({"recipe": asdict(recipe), "images": len(dataset.train), "side": dataset.input_shape[-1]})
    )
    if file.exists() and json.loads(file.read_text())["settings"] == settings:
        return
    record = trained(row, network, build, dataset, recipe, seed, folder)
    write_text(file, json.dumps(record | {"settings": settings}))
    print(f"{file.stem}: test {record['test']:.2%}, {record['cpu'][-1]:.1f} s", flush=True)


def trained(row: Row, network: str, build: Build, dataset: Dataset, recipe: Recipe, seed: int, folder: Path) -> Record:
    """One training, with what it had cost after each epoch."""
    torch.manual_seed(seed)
    model = build(dataset.input_shape, dataset.outputs, row.width, row.deeper)
    recipe = replace(recipe, epochs=max(1, round(row.length * recipe.epochs)))
    meter = Meter(model, dataset, recipe)
    shares = tuple(growth.when for growth in row.growths if not isinstance(growth.when, Plateau))
    branches = row.is_small and row.length == 1 and set(shares) <= set(MOMENTS)  # or is what the others branch off from
    grow = growing(row.growths, recipe.epochs)["edit"] if shares else unedited
    kept = {round(share * recipe.epochs): folder / f"{network}-{seed}-{share}.safetensors" for share in MOMENTS}
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = Path(temporary, "state.safetensors")
        if branches and shares:
            passed = round(shares[0] * recipe.epochs)
            shutil.copy(kept[passed], checkpoint)
            meter.go_on(json.loads((folder / name_of(network, "width", ALONE, seed)).read_text()), passed)

        def on_epoch(epoch: Epoch) -> None:
            meter.note(epoch)
            if branches and not shares and epoch.epoch in kept:
                shutil.copy(checkpoint, kept[epoch.epoch])
            if epoch.epoch == recipe.epochs:  # the last epoch's network, whichever was the best
                meter.told["test"] = evaluate(model, dataset.test, dataset)["accuracy"]

        how: dict[str, Any] = {}
        if branches:  # a checkpoint tells the moments of edits: the same for all that branch off
            how = {"checkpoint": checkpoint, "resume": bool(shares), "edit_at": MOMENTS}
        elif shares:
            how = {"edit_at": shares}
        if how:
            how |= {"edit": meter.watching(grow), "after_edit": row.after}
        train(model, dataset, recipe, seed=seed, on_epoch=on_epoch, **how)
    return {"network": network, "table": row.table, "row": row.name, "seed": seed, **meter.told}


class Meter:
    """What a training has cost and reached after each epoch; what it measures costs nothing.

    Attributes:
        told: test accuracy; parameters at the start and after each growth; how much the validation loss jumps there; by
            epoch, validation accuracy, training FLOPs and seconds of the processor.
    """

    def __init__(self, model: nn.Module, dataset: Dataset, recipe: Recipe) -> None:
        flops, parameters = size(model, dataset)
        self.told: Record = {"parameters": [parameters], "jumps": [], "validation": [], "flops": [], "cpu": []}
        self._dataset, self._batch = dataset, recipe.batch_size
        self._steps = len(dataset.train) // recipe.batch_size
        self._sizes = [(0, flops)]  # from which step on, how many FLOPs an image
        self._began = process_time()
        self._loss = math.nan

    def go_on(self, before: Record, epochs: int) -> None:
        """Begin behind so many epochs of another training."""
        for name in ("validation", "flops", "cpu"):
            self.told[name] = before[name][:epochs]
        self._began = process_time() - self.told["cpu"][-1]

    def note(self, epoch: Epoch) -> None:
        self.told["cpu"].append(process_time() - self._began)
        self.told["validation"].append(epoch.validation["accuracy"])
        done = epoch.epoch * self._steps
        ends = [*(step for step, _ in self._sizes[1:]), done]
        steps = [(end - step, flops) for (step, flops), end in zip(self._sizes, ends, strict=True)]
        self.told["flops"].append(sum(count * flops for count, flops in steps) * self._batch)

    def watching(self, grow: InLoop) -> InLoop:
        """The same edits; those that are made are looked at."""

        def edit(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
            paused = process_time()
            before = self._loss_of(graph.model)
            self._began += process_time() - paused
            grown = grow(graph, history, optimizer)
            if grown is not graph:
                paused = process_time()
                flops, parameters = size(graph.model, self._dataset)
                self._sizes.append((history.done, flops))
                self.told["parameters"].append(parameters)
                self.told["jumps"].append(self._loss_of(graph.model) - before)
                self._began += process_time() - paused
            return grown

        return edit

    def _loss_of(self, model: nn.Module) -> float:
        return evaluate(model, self._dataset.validation, self._dataset).loss


def unedited(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
    return graph


def size(model: nn.Module, dataset: Dataset) -> tuple[int, int]:
    """Training FLOPs of an image, and parameters."""
    found = cost(model, examples(dataset, model, 2))
    return found.training_flops, found.parameters


def name_of(network: str, table: str, row: str, seed: int) -> str:
    """Of the file of a training."""
    return f"{re.sub('[^a-z0-9]+', '-', f'{network} {table} {row}'.lower()).strip('-')}-seed{seed}.json"


def read(folder: Path) -> list[Record]:
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*-seed*.json"))]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth_images", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="for results; a run that was stopped goes on there")
    parser.add_argument("--seeds", type=int, default=5, help="so many, from 0 on (default: %(default)s)")
    parser.add_argument("--networks", choices=NETWORKS, nargs="+", default=list(NETWORKS), help="(default: all)")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="only these, as 'width: r2r' (default: all)")
    parser.add_argument("--data", default="cifar10", help="a name or a folder (default: %(default)s)")
    parser.add_argument("--images", type=int, default=IMAGES, help="to learn from (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs, help="(default: %(default)s)")
    parser.add_argument("--report", action="store_true", help="only tell what is there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
