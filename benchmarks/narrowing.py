"""Narrow a trained ResNet to half its FLOPs: the accuracy right after, and after a little training.

    make bench-narrowing
    python -m benchmarks.narrowing --output runs/bench-narrowing

CIFAR-10. Every way to choose the channels starts from the same trained networks, one a seed, and is stopped by the same
count of FLOPs; Torch-Pruning's magnitude pruning and a random choice are the baselines. Widths are not rounded.
Results are appended to a file as they come, and trained networks are kept, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

import netmorph
from benchmarks._records import Record, read_records
from netmorph import Samples, recalibrate, reconstruct, zoo
from netmorph.data import Dataset, Split, batches, load
from netmorph.measure import flops
from netmorph.measure.cost import parameters
from netmorph.run.machine import machine, versions
from netmorph.scores import SCORES, Score
from netmorph.train.evaluation import evaluate
from netmorph.train.inputs import examples, prepare, reference
from netmorph.train.loop import train
from netmorph.train.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 0.25  # of ResNet-9: 412,944 parameters and 48 MFLOPs a sample
SHARE = 0.5  # of the FLOPs is left
CALIBRATION = 2048  # training images that scores, least squares and batch norms are computed on
STEPS = 400  # of Torch-Pruning, which is asked again after each of them
TRAINING = Recipe(
    epochs=4,
    batch_size=128,
    optimizer="sgd",
    learning_rate=0.1,
    weight_decay=5e-4,
    schedule="linear",
    warmup=0.25,
    pad=4,
    flip=True,
    bf16=True,
    channels_last=True,
)
TUNING = replace(TRAINING, epochs=2, learning_rate=0.02, warmup=0.0)
COLUMNS = ("channels by", "FLOPs", "parameters", "right after", "norms recalibrated", "after tuning")
PLAIN = ("magnitude", "batch_norm", "taylor", "random")
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Task:
    """One trained network with its data; `calibration` holds normalized images and labels."""

    model: nn.Module
    dataset: Dataset
    calibration: list[Batch]
    seed: int

    @property
    def image(self) -> Tensor:
        """[1, C, H, W]."""
        return examples(self.dataset, self.model, 1)


def netmorph_narrowed(task: Task, score: Score, rebuild: bool) -> nn.Module:
    """A narrowed copy by `narrow_to`; with `rebuild`, readers make up for what is dropped."""
    graph = netmorph.trace(copy.deepcopy(task.model), task.image)
    samples = Samples(graph, task.calibration, loss, task.seed)
    edit = netmorph.narrow_to(graph, flops=SHARE, score=score, samples=samples, multiple_of=1)
    netmorph.apply(graph, reconstruct(edit, samples) if rebuild else edit)
    return graph.model


def torch_pruned(task: Task, together: bool) -> nn.Module:
    """A copy after Torch-Pruning's magnitude pruner, step by step until the FLOPs are low enough.

    All layers are ranked `together`, or each by itself. As by `narrow_to`, no layer loses more than 90%.
    """
    import torch_pruning as tp

    model = copy.deepcopy(task.model)
    enough = SHARE * flops(model, task.image)
    pruner = tp.pruner.MagnitudePruner(
        model,
        task.image,
        importance=tp.importance.MagnitudeImportance(p=2),
        global_pruning=together,
        pruning_ratio=1.0,
        max_pruning_ratio=0.9,
        iterative_steps=STEPS,
        ignored_layers=[module for module in model.modules() if isinstance(module, nn.Linear)],
    )
    for _ in range(STEPS):
        if flops(model, task.image) <= enough:
            return model
        pruner.step()
    raise RuntimeError(f"Torch-Pruning does not reach {SHARE} of the FLOPs in {STEPS} steps")


METHODS: dict[str, Callable[[Task], nn.Module]] = {
    **{name: partial(netmorph_narrowed, score=SCORES[name], rebuild=False) for name in PLAIN},
    **{
        f"{name}, reconstructed": partial(netmorph_narrowed, score=SCORES[name], rebuild=True)
        for name in (*PLAIN, "interpolative")
    },
    "Torch-Pruning magnitude, global": partial(torch_pruned, together=True),
    "Torch-Pruning magnitude, each layer": partial(torch_pruned, together=False),
}


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    console = Console(width=160, highlight=False)
    journal = options.output / "results.jsonl"
    settings = {
        "training": asdict(TRAINING),
        "tuning": asdict(TUNING),
        "tuning_images": options.tuning_images,
        "width": WIDTH,
        "share": SHARE,
    }
    records = [record for record in read_records(journal) if record["settings"] == settings]
    done = {(record["seed"], record["method"]) for record in records}
    for seed in options.seeds:
        waiting = [name for name in METHODS if (seed, name) not in done]
        if not waiting:
            continue
        task = trained(seed, options.output)
        before = accuracy(task.model, task.dataset)
        for name in waiting:
            started = time.perf_counter()
            record = {"seed": seed, "method": name, "trained": before} | measure(task, METHODS[name], settings)
            record |= {"seconds": round(time.perf_counter() - started, 1), "settings": settings}
            records.append(record)
            with journal.open("a") as file:
                file.write(json.dumps(record) + "\n")
            reached = ", ".join(f"{record[key]:.2%}" for key in ("trained", "cut", "recalibrated", "tuned"))
            console.print(f"seed {seed}, {name}: {reached}, {record['seconds']} s")
    records = [record for record in records if record["seed"] in options.seeds]
    show(console, records)
    (options.output / "results.md").write_text(markdown(records, options.tuning_images))
    console.print(f"{journal} has every figure, {options.output / 'results.md'} the table")


def trained(seed: int, folder: Path) -> Task:
    """The network of a seed, which is trained once."""
    dataset = load("cifar10", seed=seed, validation=0.1)
    torch.manual_seed(seed)
    model = zoo.build("resnet9", input_shape=dataset.input_shape, classes=len(dataset.classes), width=WIDTH)
    train(model, dataset, TRAINING, seed=seed, checkpoint=folder / f"seed{seed}.safetensors", resume=True)
    few, like = first(dataset.train, CALIBRATION), reference(model)
    calibration = [(prepare(images, dataset, like), labels) for images, labels in batches(few, TRAINING.batch_size)]
    return Task(model, dataset, calibration, seed)


def measure(task: Task, narrowed: Callable[[Task], nn.Module], settings: Record) -> Record:
    """What one way of narrowing costs and leaves.

    Training uses the statistics of its batches, not the running ones, so there is one result after tuning for both.
    """
    model = narrowed(task)
    found: Record = {
        "flops": flops(model, task.image) / flops(task.model, task.image),
        "parameters": parameters(model) / parameters(task.model),
        "widths": {name: m.out_channels for name, m in model.named_modules() if isinstance(m, nn.Conv2d)},
        "cut": accuracy(model, task.dataset),
    }
    recalibrate(model, task.calibration, loss)
    found["recalibrated"] = accuracy(model, task.dataset)
    some = first(task.dataset.train, settings["tuning_images"])
    tuning = replace(task.dataset, train=some, validation=first(task.dataset.validation, 1000))
    train(model, tuning, TUNING, seed=task.seed)
    found["tuned"] = accuracy(model, task.dataset)
    return found


def first(split: Split, count: int) -> Split:
    """Some images, which are a fair sample: CIFAR-10 is in random order."""
    return split.select(torch.arange(min(count, len(split))))


def loss(model: nn.Module, batch: Batch) -> Tensor:
    images, labels = batch
    return functional.cross_entropy(model(images), labels)


def accuracy(model: nn.Module, dataset: Dataset) -> float:
    return evaluate(model, dataset.test, dataset, bf16=TRAINING.bf16)["accuracy"]


def rows(records: Sequence[Record]) -> list[list[str]]:
    """For a table with `COLUMNS`: the mean over the seeds, and the range."""
    whole = {record["seed"]: record["trained"] for record in records}
    found = [["the trained network", "1", "1", _accuracies(whole.values()), "", ""]]
    for name in METHODS:
        mine = [record for record in records if record["method"] == name]
        if mine:
            shares = [f"{statistics.mean(r[key] for r in mine):.3f}" for key in ("flops", "parameters")]
            reached = [_accuracies(r[key] for r in mine) for key in ("cut", "recalibrated", "tuned")]
            found.append([name, *shares, *reached])
    return found


def show(console: Console, records: Sequence[Record]) -> None:
    table = Table(*COLUMNS)
    for row in rows(records):
        table.add_row(*row)
    console.print(table)
    console.print(_where())


def markdown(records: Sequence[Record], tuning_images: int) -> str:
    """The section for a page of results."""
    seeds = sorted({record["seed"] for record in records})
    lines = [
        f"`make bench-narrowing`: ResNet-9 at {WIDTH} of its width, trained for {TRAINING.epochs} epochs on 45,000 "
        f"images of CIFAR-10 and narrowed to {SHARE} of its FLOPs. Test accuracy, mean (lowest to highest) of seeds "
        f"{', '.join(map(str, seeds))}. Batch norms and least squares look at {CALIBRATION:,} training images; tuning: "
        f"{TUNING.epochs} epochs of {tuning_images:,}. {_where()}.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|" + "---|" * len(COLUMNS),
        *(f"| {' | '.join(row)} |" for row in rows(records)),
    ]
    return "\n".join(lines) + "\n"


def _accuracies(values: Any) -> str:
    values = list(values)
    return f"{statistics.mean(values):.2%} ({min(values):.2%} to {max(values):.2%})"


def _where() -> str:
    told = versions() | {"torch-pruning": version("torch-pruning")} | machine()
    return ", ".join(f"{name} {value}" for name, value in told.items()) + f", {torch.get_num_threads()} thread(s)"


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.narrowing", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")
    parser.add_argument(
        "--tuning-images", type=int, default=6_000, metavar="N", help="of the training split (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "bench-narrowing", help="folder for results")
    return parser.parse_args(list(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
