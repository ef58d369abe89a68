"""A trained ResNet-56 of CIFAR-10 at half its FLOPs, untuned and tuned, beside its peers.

    NETMORPH_DATA=path/to/data python -m benchmarks.shrink_resnet56 --weights cifar10-resnet56.safetensors --output DIR

The network is tuned on the data first, once. A seed draws the training images on which scores, least squares and batch
norms are computed, and the order of tuning. The peers: magnitude and random channels at netmorph's widths,
Torch-Pruning at the same FLOPs, and netmorph's widths trained from scratch with as many training FLOPs as all tuning
before took. Whatever is chosen is chosen on training images. Results are appended to a file as they come; a run that
was stopped goes on.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import netmorph
from benchmarks._records import Record, read_records
from benchmarks._shrinking import Ignored, applied, at_widths, pruned, pruned_at_once, spread, where, write_table
from benchmarks.narrowing import Batch, loss
from benchmarks.refit import ResNet
from netmorph import Samples, recalibrate, reconstruct
from netmorph.data import Dataset, Split, batches, load
from netmorph.edit import WidthEdit
from netmorph.files import atomic_write
from netmorph.graph import Graph
from netmorph.measure import flops
from netmorph.measure.cost import parameters
from netmorph.scores import Score, contribution, magnitude, random
from netmorph.train.evaluation import evaluate
from netmorph.train.inputs import prepare, reference
from netmorph.train.loop import train
from netmorph.train.recipe import Recipe
from netmorph.workers.allocator import keep_freed_memory

SHARE = 0.5  # of the FLOPs is left
CALIBRATION = 2000  # training images that scores, least squares and batch norms are computed on
CHOOSING = 1000  # held-out training images on which our way chooses
STEPS = 200  # of Torch-Pruning's iterative pruner
TRIES = 12  # of the share of channels that Torch-Pruning drops at one go
WHOLE_TUNING = Recipe(
    epochs=1,
    batch_size=128,
    optimizer="sgd",
    learning_rate=0.02,
    weight_decay=5e-4,
    schedule="linear",
    warmup=0.1,
    pad=4,
    flip=True,
    bf16=True,
    channels_last=True,
)
TUNING = replace(WHOLE_TUNING, learning_rate=0.01)
SCRATCH = replace(WHOLE_TUNING, learning_rate=0.1, warmup=0.25)
COLUMNS = ("channels by", "FLOPs", "parameters", "untuned", "untuned, norms recalibrated", "tuned")
OURS = "netmorph"
SCRATCH_NAME = "netmorph's widths, from scratch"
Widths = Mapping[str, int]


@dataclass(frozen=True)
class Task:
    """The tuned network and its data; `calibration` and `choosing` hold normalized training images and labels."""

    model: nn.Module
    dataset: Dataset
    calibration: list[Batch]
    choosing: list[Batch]
    seed: int
    folder: Path

    @property
    def image(self) -> Tensor:
        """[2, 3, H, W]."""
        return self.calibration[0][0][:2]


def narrowed_by_netmorph(task: Task, score: Score = contribution) -> nn.Module:
    """Inside the blocks: streams stay whole, because a channel of theirs is missed by every block behind it."""
    graph = netmorph.trace(copy.deepcopy(task.model), task.image)
    samples = Samples(graph, task.calibration, loss, task.seed)
    edit = netmorph.narrow_to(
        graph, flops=SHARE, score=score, samples=samples, multiple_of=1, groups=inner_groups(graph)
    )
    _keep_widths(task, edit)
    outputs = netmorph.kept_outputs(edit, samples)
    netmorph.apply(graph, reconstruct(edit, samples))
    netmorph.refit(graph.model, outputs)
    again = copy.deepcopy(graph.model)
    recalibrate(again, task.calibration, loss)
    return max(graph.model, again, key=lambda model: accuracy_on(model, task.choosing))


def narrowed_at_our_widths(task: Task, score: Score) -> nn.Module:
    """The channels of the highest scores, nothing made up for."""
    samples = Samples(netmorph.trace(copy.deepcopy(task.model), task.image), task.calibration, loss, task.seed)
    return applied(task.model, task.image, at_widths(our_widths(task), score, samples)).model


def from_scratch(task: Task) -> nn.Module:
    """Our widths with fresh weights, not trained yet."""
    model = narrowed_at_our_widths(task, magnitude)
    torch.manual_seed(task.seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            module.reset_parameters()
    return model


def torch_pruned(task: Task, ignored: Ignored) -> nn.Module:
    """By Torch-Pruning, all layers ranked together, in steps."""
    return pruned(task.model, task.image, SHARE, STEPS, True, ignored)


def torch_pruned_at_once(task: Task) -> nn.Module:
    """By Torch-Pruning in one step, each layer by itself."""
    return pruned_at_once(task.model, task.image, SHARE, TRIES, classifier)


def classifier(name: str, module: nn.Module) -> bool:
    return isinstance(module, nn.Linear)


def classifier_and_streams(name: str, module: nn.Module) -> bool:
    """All but what is inside the blocks."""
    return classifier(name, module) or name == "conv1" or name.endswith(".conv2")


METHODS: dict[str, Callable[[Task], nn.Module]] = {
    OURS: narrowed_by_netmorph,
    "Torch-Pruning, iterative": partial(torch_pruned, ignored=classifier),
    "Torch-Pruning, iterative, inside blocks": partial(torch_pruned, ignored=classifier_and_streams),
    "magnitude, netmorph's widths": partial(narrowed_at_our_widths, score=magnitude),
    "random, netmorph's widths": partial(narrowed_at_our_widths, score=random),
    SCRATCH_NAME: from_scratch,
    "Torch-Pruning, one shot": torch_pruned_at_once,
}


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    keep_freed_memory()
    options.output.mkdir(parents=True, exist_ok=True)
    console = Console(width=160, highlight=False)
    journal = options.output / "results.jsonl"
    settings = {"whole": asdict(WHOLE_TUNING), "tuning": asdict(TUNING), "scratch": asdict(SCRATCH)}
    settings |= {"share": SHARE, "tuning_images": options.tuning_images}
    records = [record for record in read_records(journal) if record["settings"] == settings]
    done = {(record["seed"], record["method"]) for record in records}
    dataset = load("cifar10", seed=0, validation=0.1)
    model = tuned(options.weights, dataset, options.output)
    before = accuracy(model, dataset)
    console.print(f"the whole network, tuned: {before:.2%}")
    for name in options.only or METHODS:
        for seed in options.seeds:
            if (seed, name) in done:
                continue
            started = time.perf_counter()
            task = task_of(model, dataset, seed, options.output)
            record = {"seed": seed, "method": name, "whole": before}
            record |= measure(task, name, options.tuning_images)
            record |= {"seconds": round(time.perf_counter() - started, 1), "settings": settings}
            records.append(record)
            with journal.open("a") as file:
                file.write(json.dumps(record) + "\n")
            reached = ", ".join(f"{key} {record[key]:.2%}" for key in ("untuned", "recalibrated", "tuned"))
            console.print(f"seed {seed}, {name}: {reached}, {record['seconds']} s")
    records = [record for record in records if record["seed"] in options.seeds]
    table = Table(*COLUMNS)
    for row in rows(records):
        table.add_row(*row)
    console.print(table, where())
    write_table(options.output / "results.md", COLUMNS, rows(records), where())


def tuned(weights: Path, dataset: Dataset, folder: Path) -> nn.Module:
    """The trained network after one epoch on this copy of the data; its file in the folder is made once."""
    model, path = ResNet(), folder / "whole.safetensors"
    if path.is_file():
        model.load_state_dict(load_file(path))
        return model.eval()
    model.load_state_dict(load_file(weights))
    train(model, dataset, WHOLE_TUNING)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    atomic_write(path, lambda temporary: save_file(tensors, temporary))
    return model.eval()


def task_of(model: nn.Module, dataset: Dataset, seed: int, folder: Path) -> Task:
    """The task of a seed, which draws the training images to look at."""
    some = torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(seed))[:CALIBRATION]
    calibration = _prepared(dataset, dataset.train.select(some.sort().values), model)
    choosing = _prepared(dataset, first(dataset.validation, CHOOSING), model)
    return Task(model, dataset, calibration, choosing, seed, folder)


def measure(task: Task, name: str, tuning_images: int) -> Record:
    """What one way of narrowing costs and leaves, before tuning and after it."""
    model = METHODS[name](task)
    whole = flops(task.model, task.image)
    found: Record = {
        "flops": flops(model, task.image) / whole,
        "parameters": parameters(model) / parameters(task.model),
        "widths": {name: m.out_channels for name, m in model.named_modules() if isinstance(m, nn.Conv2d)},
        "untuned": accuracy(model, task.dataset),
    }
    images, recipe, again = tuning_images, TUNING, copy.deepcopy(model)
    if name == SCRATCH_NAME:  # gets what tuning the whole network and tuning the narrow one cost together
        images += int(len(task.dataset.train) * WHOLE_TUNING.epochs / found["flops"])
        epochs = -(-images // len(task.dataset.train))
        images, recipe = images // epochs, replace(SCRATCH, epochs=epochs)
    recalibrate(again, task.calibration, loss)
    found["recalibrated"] = accuracy(again, task.dataset)
    tuning = replace(
        task.dataset, train=first(task.dataset.train, images), validation=first(task.dataset.validation, CHOOSING)
    )
    train(model, tuning, recipe, seed=task.seed)
    return found | {"images": images, "epochs": recipe.epochs, "tuned": accuracy(model, task.dataset)}


def inner_groups(graph: Graph) -> list[str]:
    """Those between the two convolutions of a block."""
    return [group.name for group in graph.editable() if group.name.endswith(".conv1")]


def our_widths(task: Task) -> Widths:
    """Those that `narrowed_by_netmorph` has chosen for the seed."""
    path = _widths_path(task)
    if not path.is_file():
        narrowed_by_netmorph(task)
    found: dict[str, int] = json.loads(path.read_text())
    return found


def accuracy(model: nn.Module, dataset: Dataset) -> float:
    """On the test images."""
    return evaluate(model, dataset.test, dataset, bf16=TUNING.bf16)["accuracy"]


def accuracy_on(model: nn.Module, some: Iterable[Batch]) -> float:
    """On normalized images with labels."""
    model.eval()
    with torch.inference_mode():
        return statistics.mean(float((model(x).argmax(1) == y).float().mean()) for x, y in some)


def first(split: Split, count: int) -> Split:
    """Some images, which are a fair sample: CIFAR-10 is in random order."""
    return split.select(torch.arange(min(count, len(split))))


def rows(records: Sequence[Record]) -> list[list[str]]:
    """For a table with `COLUMNS`: the mean over the seeds, and the range."""
    found = [["the whole network", "1", "1", f"{records[0]['whole']:.2%}", "", ""]] if records else []
    for name in METHODS:
        mine = [record for record in records if record["method"] == name]
        if mine:
            shares = [f"{statistics.mean(r[key] for r in mine):.3f}" for key in ("flops", "parameters")]
            reached = [spread([r[key] for r in mine], 2) for key in ("untuned", "recalibrated", "tuned")]
            found.append([name, *shares, *reached])
    return found


def _keep_widths(task: Task, edit: WidthEdit) -> None:
    text = json.dumps({name: channels.m for name, channels in edit.changes.items()})
    atomic_write(_widths_path(task), lambda path: path.write_text(text) and None)


def _widths_path(task: Task) -> Path:
    return task.folder / f"widths{task.seed}.json"


def _prepared(dataset: Dataset, split: Split, model: nn.Module) -> list[Batch]:
    return [(prepare(x, dataset, reference(model)), y) for x, y in batches(split, 125)]


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shrink_resnet56", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--weights", type=Path, required=True, help="a file of the network's weights")
    parser.add_argument("--output", type=Path, required=True, help="folder for results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")
    parser.add_argument("--only", nargs="+", choices=METHODS, metavar="NAME", help="these ways (default: all)")
    parser.add_argument(
        "--tuning-images", type=int, default=20_000, metavar="N", help="of the training split (default: %(default)s)"
    )
    return parser.parse_args(list(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
