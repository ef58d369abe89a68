"""A trained ResNet-56 of CIFAR-10 at half its FLOPs, untuned: reconstructed at once, and layer after layer.

    NETMORPH_DATA=path/to/data python -m benchmarks.refit --weights cifar10-resnet56.safetensors

The file holds the weights of a ResNet with zero-padded shortcuts, named as by torchvision. A seed draws the 2,000
training images on which scores, least squares and batch norms are computed.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

import netmorph
from benchmarks.engine import machine_line
from benchmarks.narrowing import Batch, loss
from netmorph import Samples, recalibrate, reconstruct
from netmorph.data import Dataset, Split, batches, load
from netmorph.measure import flops
from netmorph.scores import SCORES
from netmorph.train.inputs import prepare, reference

CALIBRATION = 2000
WAYS = ("before", "cut", "cut, recalibrated", "reconstructed", "reconstructed, recalibrated", "refitted")
BLOCKS = 9  # in each of three stages


class Block(nn.Module):
    """`[N, channels, H, W]` -> `[N, width, H / stride, W / stride]`."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.pad = stride, (width - channels) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return functional.relu(y + x)


class ResNet(nn.Module):
    """`[N, 3, 32, 32]` -> `[N, 10]` (He et al., arXiv 1512.03385, section 4.2)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        for number, width in enumerate((16, 32, 64), 1):
            first = Block(width // 2 if number > 1 else 16, width, 2 if number > 1 else 1)
            setattr(self, f"layer{number}", nn.Sequential(first, *(Block(width, width, 1) for _ in range(BLOCKS - 1))))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        result: Tensor = self.linear(x.mean((2, 3)))
        return result


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    model = ResNet()
    model.load_state_dict(load_file(options.weights))
    model.eval()
    dataset = load("cifar10", seed=0, validation=0.1)
    test = _prepared(dataset, dataset.test, model, 500)
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(machine_line())
    found = []
    for seed in options.seeds:
        some = torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(seed))[:CALIBRATION]
        found.append(
            narrowed(model, _prepared(dataset, dataset.train.select(some.sort().values), model, 125), test, seed)
        )
        told = ", ".join(f"{way} {value:.2%}" for way, value in found[-1].items())
        console.print(f"seed {seed}: {told}")
    table = Table("way", f"test accuracy, mean (lowest to highest) of {len(found)} seeds")
    for way in WAYS:
        values = [record[way] for record in found]
        table.add_row(way, f"{statistics.mean(values):.2%} ({min(values):.2%} to {max(values):.2%})")
    console.print(table)


def narrowed(model: nn.Module, calibration: list[Batch], test: list[Batch], seed: int) -> dict[str, float]:
    """The accuracy of each way, all with the same channels left."""
    image = calibration[0][0][:2]
    graph = netmorph.trace(copy.deepcopy(model), image)
    samples = Samples(graph, calibration, loss, seed)
    edit = netmorph.narrow_to(graph, flops=0.5, score=SCORES["interpolative"], samples=samples, multiple_of=1)
    outputs, rebuilt = netmorph.kept_outputs(edit, samples), reconstruct(edit, samples)
    found = {"before": accuracy(model, test)}
    cut = netmorph.trace(copy.deepcopy(model), image)
    netmorph.apply(cut, edit)
    found["cut"] = accuracy(cut.model, test)
    recalibrate(cut.model, calibration, loss)
    found["cut, recalibrated"] = accuracy(cut.model, test)
    netmorph.apply(graph, rebuilt)
    found["reconstructed"] = accuracy(graph.model, test)
    again = copy.deepcopy(graph.model)
    recalibrate(again, calibration, loss)
    found["reconstructed, recalibrated"] = accuracy(again, test)
    netmorph.refit(graph.model, outputs)
    found["refitted"] = accuracy(graph.model, test)
    if flops(graph.model, image) > 0.5 * flops(model, image):
        raise RuntimeError("more than half of the FLOPs is left")
    return found


def accuracy(model: nn.Module, test: list[Batch]) -> float:
    model.eval()
    with torch.inference_mode():
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in test)
    return right / sum(len(y) for _, y in test)


def _prepared(dataset: Dataset, split: Split, model: nn.Module, size: int) -> list[Batch]:
    return [(prepare(x, dataset, reference(model)), y) for x, y in batches(split, size)]


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refit", description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=Path, required=True, help="a file of the network's weights")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")
    return parser.parse_args(list(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
