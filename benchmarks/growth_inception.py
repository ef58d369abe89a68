"""Growth of a small Inception-ResNet while it learns Tiny ImageNet, beside random padding and training from scratch.

    python -m benchmarks.growth_inception FOLDER --data path/to/tiny_imagenet_32 [--seeds 3] [--report]

Images of 32x32 pixels of some of the classes. For one seed the small network is trained once, and whatever grows
branches off from its checkpoint at half of the steps, as in `growth_images`, whose trainings, tables and picture these
are. Each training that has ended is a JSON file in FOLDER, so that a stopped run goes on; FOLDER/rows.jsonl has all of
them, a line each; `--report` tells what is there, without training. One thread.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks._growth_rows import ALONE, LONGER, MIDDLE, Row, batches_of, grown, identities, scaled_by, scratch
from benchmarks._growth_tables import picture, report
from benchmarks.engine import machine_line, used
from benchmarks.growth_images import RECIPE, once, read, size
from netmorph import edit, residual, widenings, zoo
from netmorph.data import Dataset, load
from netmorph.edit import keep_gradients
from netmorph.files import write_text
from netmorph.graph import Graph
from netmorph.policy import WAYS, Grow, Way, by_width, interleaved, to_depth, together
from netmorph.workers import keep_freed_memory

NETWORK = "inception-resnet"
CLASSES, WIDTH = 20, 0.25
LISTS = ("a", "b", "c")  # of blocks; c has one more behind it, the last
METHODS = ("r2r", "zero", "net2net", "random_pad")


def main(arguments: Sequence[str] | None = None) -> None:
    options = _options(arguments)
    torch.set_num_threads(1)
    keep_freed_memory()
    if not options.report:
        options.folder.mkdir(parents=True, exist_ok=True)
        dataset = some_classes(load(options.data), options.classes)
        recipe = replace(RECIPE, epochs=options.epochs, pad=2, bf16=True)
        build = partial(network, start=options.width)
        found = rows(dataset, build)
        wanted = [row for row in found if not options.rows or f"{row.table}: {row.name}" in options.rows]
        for row in wanted:  # what is there of a run that was stopped is whole rows
            for seed in range(options.seeds):
                once(row, NETWORK, build, dataset, recipe, seed, options.folder)
    records = read(options.folder)
    told = report(records) + f"\n{machine_line()}" + ("" if options.report else f"; {used()}")
    print(told)
    write_text(options.folder / "rows.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    write_text(options.folder / "tables.md", told)
    picture(records, options.folder / "growth-inception.png")


def network(input_shape: tuple[int, ...], classes: int, width: float, deeper: int, start: float = WIDTH) -> nn.Module:
    """A block of each kind and the last one; `width` times as wide, `deeper` more blocks of each kind.

    Args:
        start: the width where `width` is 1, as `inception_resnet_small` takes it.
    """
    blocks = (1 + deeper, 1 + deeper, 2 + deeper)
    return zoo.build("inception_resnet_small", input_shape, classes, width=start * width, blocks=blocks)


def some_classes(whole: Dataset, count: int) -> Dataset:
    """The images of so many of the classes, evenly over their names, under labels from 0 on."""
    chosen = torch.linspace(0, whole.outputs - 1, min(count, whole.outputs)).long()
    labels = torch.full((whole.outputs,), -1)
    labels[chosen] = torch.arange(len(chosen))

    def few(part: Any) -> Any:
        kept = part.select((labels[part.targets] >= 0).nonzero().flatten())
        return replace(kept, targets=labels[kept.targets])

    return replace(
        whole,
        train=few(whole.train),
        validation=few(whole.validation),
        test=few(whole.test),
        outputs=len(chosen),
        classes=tuple(whole.classes[number] for number in chosen),
    )


def rows(dataset: Dataset, build: Callable[[tuple[int, ...], int, float, int], nn.Module]) -> list[Row]:
    """All trainings of a seed, that without growth first, which the others branch off from."""

    @cache
    def cost(width: float, deeper: int) -> int:
        return size(build(dataset.input_shape, dataset.outputs, width, deeper), dataset)[0]

    data = batches_of(dataset)
    longer = MIDDLE + (1 - MIDDLE) * cost(2, 0) / cost(1, 0)
    return [
        Row("width", ALONE),
        *scratch("width", cost, 2, 0),
        *grown("width", widths(data)),
        Row("width", LONGER, length=longer),
        *scratch("depth", cost, 1, 1),
        *grown("depth", depths(data)),
    ]


def widths(data: Sequence[Any]) -> dict[str, Grow]:
    """How the network gets twice as wide."""
    return {name: by_width(2, widenings.WIDENINGS[name]) for name in METHODS} | {
        "random_pad, keep_gradients": scaled_by(keep_gradients, widenings.random_pad, data)
    }


def depths(data: Sequence[Any]) -> dict[str, Grow]:
    """How it gets a block more of each kind."""
    blocks = {"r2r": Way(interleaved, narrow_residual)} | {name: WAYS[name] for name in ("zero", "random")}
    return {name: together(*(to_depth(2, way, of) for of in LISTS)) for name, way in blocks.items()} | {
        "identity (Net2Net)": identities([f"{of}.0" for of in LISTS], 1, data)
    }


def narrow_residual(graph: Graph, block: str, after: str, seed: int) -> edit.Edit:
    """R2R's block of about as many FLOPs as an inception block: an eighth of its concatenation wide within."""
    concatenated = graph.model.get_submodule(block).linear.in_channels
    return residual(graph, after, hidden=2 * max(1, round(concatenated / 16)), seed=seed)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth_inception", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="for results; a run that was stopped goes on there")
    parser.add_argument("--data", default="tiny_imagenet_32", help="a folder of images (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="so many, from 0 on (default: %(default)s)")
    parser.add_argument("--classes", type=int, default=CLASSES, help="so many of them (default: %(default)s)")
    parser.add_argument("--width", type=float, default=WIDTH, help="of the small network (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=RECIPE.epochs, help="(default: %(default)s)")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="only these, as 'width: r2r' (default: all)")
    parser.add_argument("--report", action="store_true", help="only tell what is there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
