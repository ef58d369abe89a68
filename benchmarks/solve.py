"""Image sets classified by solving alone, no gradient: patches, squares of class differences, a ridge regression.

    NETMORPH_DATA=path/to/data python -m benchmarks.solve [--only mnist] [--train-size 5000] [--threads 1]

All training images go through the features once, which adds up the moments. The penalty is the one that serves best on
a tenth of these images, held out by their moments; then the head is solved from all of them. The test images are looked
at once, at the end.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.engine import machine_line
from netmorph.data import Dataset, Part, load
from netmorph.solve import Mirrored, Moments, class_squares, held_out, one_hot, patch_features, ridge
from netmorph.solve.penalties import best

HELD_OUT = 0.1
PENALTIES = (1e-4, 3e-4, 1e-3, 3e-3)  # relative to the scale of the features, above what float32 rounds
SOME = 5000  # images that patches and differences are drawn from
TOGETHER = 4  # images that are compared with all patches at once: what that makes stays in a cache
ADDED = 1000  # images whose features are added up at once


@dataclass(frozen=True)
class Way:
    """A data set, how it is solved, and what is to be reached.

    Attributes:
        data: its name.
        compare: some prepared images -> the module that compares images with patches of them.
        squares: how many of class differences are added.
        goal: the share of right answers.
    """

    data: str
    compare: Callable[[Tensor], nn.Module]
    squares: int
    goal: float


WAYS = (
    Way("mnist", lambda images: patch_features(images, 200, size=7, cells=3, kept=30, floor=0.1), 6000, 0.994),
    Way("cifar10", lambda images: Mirrored(patch_features(images, 800, size=8, kept=50, noise=0.05)), 6000, 0.78),
)


def main(arguments: Sequence[str] = ()) -> None:
    asked = parsed(arguments)
    torch.set_num_threads(asked.threads)
    console = Console(width=160)
    table = Table("data", "images", "features", "penalty / scale", "right in test", "goal", "seconds, of these")
    for way in WAYS:
        if asked.only in (None, way.data):
            found = row(way, load(way.data, validation=0, train_size=asked.train_size))
            console.print(", ".join(found))
            table.add_row(*found)
    console.print(table)
    console.print(machine_line())


@torch.no_grad()
def row(way: Way, dataset: Dataset) -> list[str]:
    """Solve one data set, from prepared images to the answers on the test part."""
    spent: dict[str, float] = {}
    began = time.perf_counter()

    def done(what: str) -> None:
        spent[what] = time.perf_counter() - began - sum(spent.values())

    some = prepared(dataset, dataset.train.head(SOME))
    compare = way.compare(some)
    squares = class_squares(in_turn(compare, some), dataset.train.targets[:SOME], way.squares)
    pairs = functools.partial(features, compare, squares, dataset)
    done("patches")
    order = torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(0))
    kept = len(order) - int(HELD_OUT * len(order))
    moments = Moments.of(pairs(dataset.train, order[:kept]))
    held = Moments.of(pairs(dataset.train, order[kept:]))
    moments = moments + held
    done("moments")
    penalty = best(held_out(moments, held, [each * moments.scale for each in PENALTIES]))
    done("penalty")
    head = ridge(moments, penalty)
    done("head")
    tested = pairs(dataset.test, torch.arange(len(dataset.test)))
    right = sum(int((head(x).argmax(1) == y.argmax(1)).sum()) for x, y in tested) / len(dataset.test)
    done("test")
    told = ", ".join(f"{what} {seconds:.0f}" for what, seconds in spent.items())
    return [
        way.data,
        f"{moments.count}",
        f"{len(moments.mean)}",
        f"{penalty / moments.scale:.0e}",
        f"{right:.2%}",
        f"{way.goal:.1%}",
        f"{sum(spent.values()):.0f}: {told}",
    ]


def features(
    compare: nn.Module, squares: nn.Module, dataset: Dataset, part: Part, order: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Features and targets of some samples, in an order."""
    for images, labels in part.cut(ADDED, order):
        yield squares(in_turn(compare, prepared(dataset, images))), one_hot(labels, dataset.outputs)


def in_turn(compare: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([compare(few) for few in images.split(TOGETHER)])


def prepared(dataset: Dataset, images: Tensor) -> Tensor:
    return dataset.preparation(images, torch.zeros(()))


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[way.data for way in WAYS], help="this data set alone")
    parser.add_argument("--train-size", type=int, help="so many training images; all by default")
    parser.add_argument("--threads", type=int, default=2, help="of PyTorch")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
