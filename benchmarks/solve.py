"""Image sets classified by solving alone, no gradient: whitened patches of the images, and a ridge regression.

    NETMORPH_DATA=path/to/data python -m benchmarks.solve [--only mnist] [--train-size 5000] [--threads 1]

All training images go through the features once, which adds up the moments. The penalty is the one that serves best on
a tenth of these images, held out by their moments; then the head is solved from all of them. The test images are looked
at once, at the end.
"""

from __future__ import annotations

import argparse
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
from netmorph.solve import Mirrored, Moments, held_out, one_hot, patch_features, ridge
from netmorph.solve.penalties import best

HELD_OUT = 0.1
PENALTIES = (1e-6, 1e-5, 1e-4, 1e-3)  # relative to the scale of the features
SOME = 5000  # images that patches are drawn from
TOGETHER = 4  # images that are compared with all patches at once: what that makes stays in a cache
ADDED = 1000  # images whose features are added up at once


@dataclass(frozen=True)
class Way:
    """A data set, what makes its features of some prepared images, and the share of right answers to reach."""

    data: str
    make: Callable[[Tensor], nn.Module]
    goal: float


WAYS = (
    Way("mnist", lambda images: patch_features(images, 300, size=7, cells=4, kept=30), 0.994),
    Way("cifar10", lambda images: Mirrored(patch_features(images, 1000, kept=50)), 0.78),
)


def main(arguments: Sequence[str] = ()) -> None:
    asked = parsed(arguments)
    torch.set_num_threads(asked.threads)
    table = Table("data", "images", "features", "penalty / scale", "right in test", "goal", "seconds, of these")
    for way in WAYS:
        if asked.only in (None, way.data):
            table.add_row(*row(way, load(way.data, validation=0, train_size=asked.train_size)))
    console = Console(width=160)
    console.print(table)
    console.print(machine_line())


@torch.no_grad()
def row(way: Way, dataset: Dataset) -> list[str]:
    """Solve one data set, from prepared images to the answers on the test part."""
    spent: dict[str, float] = {}
    began = time.perf_counter()

    def done(what: str) -> None:
        spent[what] = time.perf_counter() - began - sum(spent.values())

    features = way.make(prepared(dataset, dataset.train.head(SOME))).eval()
    order = torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(0))
    kept = len(order) - int(HELD_OUT * len(order))
    moments = Moments.of(pairs(features, dataset, dataset.train, order[:kept]))
    held = Moments.of(pairs(features, dataset, dataset.train, order[kept:]))
    moments = moments + held
    done("features")
    penalty = best(held_out(moments, held, [each * moments.scale for each in PENALTIES]))
    done("penalty")
    head = ridge(moments, penalty)
    done("head")
    tested = pairs(features, dataset, dataset.test, torch.arange(len(dataset.test)))
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


def pairs(features: nn.Module, dataset: Dataset, part: Part, order: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Features and targets of some samples, in an order."""
    for images, labels in part.cut(ADDED, order):
        few = prepared(dataset, images).split(TOGETHER)
        yield torch.cat([features(each) for each in few]), one_hot(labels, dataset.outputs)


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
