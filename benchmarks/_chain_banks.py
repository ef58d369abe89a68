"""The banks of `benchmarks.chains`, and the data for which their layers are chained."""

from __future__ import annotations

from argparse import Namespace as Options
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from benchmarks.refit import ResNet
from netmorph import zoo
from netmorph.bank import Bank, Kind, Signature
from netmorph.data import Dataset, Split, load
from netmorph.run.names import ArmName
from netmorph.run.opening import load as load_network
from netmorph.run.ranking import ranked
from netmorph.run.records import Records
from netmorph.train.evaluation import evaluate
from netmorph.train.inputs import examples
from netmorph.train.loop import train
from netmorph.train.recipe import Recipe

LEARNT = Recipe(epochs=3, batch_size=64, learning_rate=1e-3, schedule="linear", warmup=0.1)  # of the banks' networks
RETUNED = Recipe(epochs=2, batch_size=128, optimizer="sgd", learning_rate=0.02, schedule="linear", pad=2, flip=True)


@dataclass(frozen=True)
class Case:
    """A bank, and the data for which its layers are chained.

    Attributes:
        data: what chains shall answer.
        fill: puts the layers into an empty bank, by a seed.
        scratch: the network that is trained from scratch.
        fresh: whether each seed has a bank of its own.
        longest: the most layers.
        width: the most numbers that a head reads.
        prices: of a FLOP; agents search for each.
    """

    data: Callable[[Options], Dataset]
    fill: Callable[[Bank, Options, int], None]
    scratch: Callable[[Dataset], nn.Module]
    fresh: bool = False
    longest: int = 10
    width: int = 512
    prices: tuple[float, ...] = (0.0,)


def accuracy(network: nn.Module, dataset: Dataset) -> float:
    """On the test part."""
    return evaluate(network, dataset.test, dataset).numbers["accuracy"]


# -- data --------------------------------------------------------------------------------------------------------------


def some_classes(dataset: Dataset, labels: Sequence[int]) -> Dataset:
    """The samples of some classes, with labels from 0."""

    def of(part: Any) -> Split:
        new = torch.full((dataset.outputs,), -1)
        new[list(labels)] = torch.arange(len(labels))
        split = Split(part.head(len(part)), new[part.targets])
        return split.select((split.targets >= 0).nonzero()[:, 0])

    names = tuple(dataset.classes[label] for label in labels)
    train, validation, test = map(of, (dataset.train, dataset.validation, dataset.test))
    return replace(dataset, train=train, validation=validation, test=test, outputs=len(names), classes=names)


def shortened(dataset: Dataset, images: int, test_images: int | None = None) -> Dataset:
    """The first training samples, and the first of the test part; all of it by default."""

    def first(part: Any, count: int) -> Split:
        return Split(part.head(count), part.targets[:count])

    test = dataset.test if test_images is None else first(dataset.test, test_images)
    return replace(dataset, train=first(dataset.train, images), test=test)


@cache
def halved(name: str) -> Dataset:
    """At half the resolution: a layer takes a quarter of the FLOPs, and with large images a tenth of the time."""
    dataset = load(name, seed=0, validation=0.1)

    def of(part: Any) -> Split:
        images = part.head(len(part)).split(5000)
        return Split(torch.cat([functional.avg_pool2d(one.float(), 2).round().to(one) for one in images]), part.targets)

    train, validation, test = map(of, (dataset.train, dataset.validation, dataset.test))
    return replace(dataset, train=train, validation=validation, test=test)


# -- banks -------------------------------------------------------------------------------------------------------------


def blocks(bank: Bank, options: Options, seed: int) -> None:
    """Four ResNets, each tuned on this copy of the data first: it was compressed again since, and it is smaller."""
    dataset = shortened(halved("cifar10"), options.learning_images)
    for depth in (20, 32, 44, 56):
        model = ResNet()
        for stage in ("layer1", "layer2", "layer3"):
            setattr(model, stage, getattr(model, stage)[: (depth - 2) // 6])
        model.load_state_dict(load_file(options.weights / f"cifar10-resnet{depth}.safetensors"))
        train(model, dataset, RETUNED, seed=seed)
        bank.add(model.eval(), examples(dataset, model, 2), f"resnet{depth}")


def of_other_classes(name: str, width: float, networks: int) -> Callable[[Bank, Options, int], None]:
    """ResNets that have learnt the first half of the classes."""

    def fill(bank: Bank, options: Options, seed: int) -> None:
        dataset = shortened(some_classes(halved(name), range(5)), options.learning_images)
        for number in range(networks):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(number)
                learnt = zoo.build("resnet", dataset.input_shape, dataset.outputs, width=width)
            train(learnt, dataset, LEARNT, seed=number)
            bank.add(learnt.eval(), examples(dataset, learnt, 2), f"resnet {number}")

    return fill


def random_layers(bank: Bank, options: Options, seed: int) -> None:
    """Three ways in, and layers that keep the shape behind them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for number in range(3):
            way_in = nn.Sequential(nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.ReLU())
            bank.add_whole(way_in, torch.randn(2, 1, 28, 28), f"way in {number}", Kind.RANDOM)
    bank.add_random(Signature((16, 14, 14), "float32", 0, (False,) * 3), 12, seed)


def population(bank: Bank, options: Options, seed: int) -> None:
    """The networks of an evolution, those that were best on its validation part."""
    dataset = load(options.population_data)
    with Records.open(options.run) as records:
        members = ranked(network for network in records.networks() if network.arm == ArmName.EVOLVE)
    for member in members[: options.members]:
        model, _ = load_network(f"{options.run}:{member.id}")
        bank.add(model.eval(), examples(dataset, model, 2), f"network {member.id}")


def other_half(name: str) -> Callable[[Options], Dataset]:
    """The second half of the classes."""
    return lambda options: some_classes(halved(name), range(5, 10))


def from_the_zoo(model: str, width: float = 1.0) -> Callable[[Dataset], nn.Module]:
    """A network that nobody has trained, for the data."""
    return lambda dataset: zoo.build(model, dataset.input_shape, dataset.outputs, width=width)


CASES = {
    "digits": Case(other_half("mnist"), of_other_classes("mnist", 0.5, 3), from_the_zoo("resnet", 0.5)),
    "objects": Case(other_half("cifar10"), of_other_classes("cifar10", 1.0, 2), from_the_zoo("resnet")),
    "random": Case(
        lambda options: load("mnist"), random_layers, from_the_zoo("lenet5"), fresh=True, longest=6, width=256
    ),
    "population": Case(lambda options: load(options.population_data), population, from_the_zoo("lenet5")),
    "blocks": Case(lambda options: halved("cifar10"), blocks, from_the_zoo("resnet"), width=128, prices=(0.0, 1.2e-8)),
}
