"""What the benchmark of growing image networks trains: the networks, and the rows of its tables."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

import netmorph
from netmorph import Samples, draws, widenings, zoo
from netmorph.data import Dataset
from netmorph.edit import keep_gradients, new_entries, same_rms, shrink_and_perturb, widen_all
from netmorph.graph import Graph
from netmorph.policy import (
    WAYS,
    Grow,
    Growth,
    Way,
    by_gradient,
    by_width,
    divide,
    freeze,
    interleaved,
    parameter_ratio,
    rise,
    to_depth,
    together,
    unchanged,
    warm_up,
)
from netmorph.train.pace import LearningRatePolicy, Pace

EARLY, MIDDLE, LATE = 0.3, 0.5, 0.7  # of all steps: when networks grow
CALIBRATION = 4  # batches that look at the network when it grows
Build = Callable[[tuple[int, ...], int, float, int], nn.Module]


class Mixed(nn.Module):
    """An inception module: 1x1, 3x3, two 3x3 and a pool side by side, with 1x1 filters before (behind the pool)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        each = outputs // 4
        self.one = unit(inputs, each, 1)
        self.three = nn.Sequential(unit(inputs, each, 1), unit(each, each, 3))
        self.five = nn.Sequential(unit(inputs, each, 1), unit(each, each, 3), unit(each, each, 3))
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), unit(inputs, each, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H, W]."""
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], 1)


def unit(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            bn=nn.BatchNorm2d(outputs),
            relu=nn.ReLU(),
        )
    )


def resnet(input_shape: tuple[int, ...], classes: int, width: float, deeper: int) -> nn.Module:
    """Two stages of two basic blocks, 8 and 16 channels wide, or wider; `deeper` more blocks in each.

    The first layer halves the images.
    """
    blocks = (2 + deeper, 2 + deeper)
    network = zoo.build("resnet", input_shape, classes, channels=(8, 16), width=width, blocks=blocks)
    network.get_submodule("conv1").stride = (2, 2)
    return network


def inception(input_shape: tuple[int, ...], classes: int, width: float, deeper: int) -> nn.Module:
    """Two stages of two inception modules, 16 and 32 channels wide, or wider; `deeper` more modules in each.

    The first layer halves the images.
    """
    first, second = (4 * round(width * each / 4) for each in (16, 32))
    stem = round(8 * width)

    def stage(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(Mixed(inputs, outputs), *(Mixed(outputs, outputs) for _ in range(1 + deeper)))

    layers = {
        "stem": unit(input_shape[0], stem, 3, stride=2),
        "stage1": stage(stem, first),
        "pool": nn.MaxPool2d(2),
        "stage2": stage(first, second),
        "mean": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(second, classes),
    }
    return nn.Sequential(OrderedDict(layers))


def wide(input_shape: tuple[int, ...], classes: int, width: float, deeper: int) -> nn.Module:
    """The ResNet at twice the width, where FLOPs are what a step takes its time for."""
    return resnet(input_shape, classes, 2 * width, deeper)


NETWORKS: dict[str, Build] = {"resnet": resnet, "inception": inception, "wide": wide}


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        table: where it is told.
        name: unique in its table.
        growths: of the network; none trains it as it is built.
        after: sets the pace after each growth.
        width, deeper: of the network at the start.
        length: epochs, as a share of those that a network has that is trained at full length.
        seeds: so many.
    """

    table: str
    name: str
    growths: tuple[Growth, ...] = ()
    after: LearningRatePolicy = unchanged
    width: float = 1
    deeper: int = 0
    length: float = 1
    seeds: int = 5

    @property
    def is_small(self) -> bool:
        """At the start, the network that most trainings of a seed share."""
        return self.width == 1 and self.deeper == 0


def batches_of(dataset: Dataset, size: int = 128) -> list[tuple[Tensor, Tensor]]:
    """A few batches of training images, as a network takes them, with their labels."""
    inputs = dataset.preparation(dataset.train.head(CALIBRATION * size), torch.empty(0))
    return list(zip(inputs.split(size), dataset.train.targets[: CALIBRATION * size].split(size), strict=True))


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return cross_entropy(model(batch[0]), batch[1])


def scaled_by(choose: Callable[[Any, Samples], Any], method: widenings.Widening, data: Sequence[Any]) -> Grow:
    """Twice the width, where the scale of what is new is chosen by data: `same_rms` or `keep_gradients`."""

    def grow(graph: Graph, optimizer: Any, seed: int) -> Graph:
        edit = widen_all(graph, {group.name: 2 * group.size for group in graph.editable()}, method, seed)
        return netmorph.apply(graph, choose(edit, Samples(graph, data, loss)), optimizer)

    return grow


def perturbed(shrink: float, perturb: float) -> Grow:
    return lambda graph, optimizer, seed: netmorph.apply(
        graph, shrink_and_perturb(graph, shrink, perturb, seed=seed), optimizer
    )


def forgetting(grow: Grow) -> Grow:
    """The same, and the optimizer starts anew."""

    def anew(graph: Graph, optimizer: Any, seed: int) -> Graph:
        grown = grow(graph, optimizer, seed)
        if isinstance(optimizer, Optimizer):
            optimizer.state.clear()
        return grown

    return anew


def undecayed(pace: Pace, graph: Graph) -> None:
    """Policy: what the last edits made has no weight decay, which SGD adds to the gradients."""
    parameters = dict(graph.model.named_parameters())
    masks = {parameters[name]: mask for name, mask in new_entries(graph, pace.edits).items()}

    @torch.no_grad()
    def take_off(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter in masks and parameter.grad is not None:
                    parameter.grad -= group["weight_decay"] * masks[parameter] * parameter

    for optimizer in pace.optimizers:
        optimizer.register_step_pre_hook(take_off)


def narrow_residual(graph: Graph, block: str, after: str, seed: int) -> netmorph.edit.Edit:
    """R2R's block behind a concatenation: at its full width 3x3 filters would cost as much as several modules."""
    return netmorph.residual(graph, after, hidden=graph.model.get_submodule(block).one.conv.out_channels, seed=seed)


def identities(behind: Sequence[str], kernel: int, data: Sequence[Any]) -> Grow:
    """Net2Net's deepening: a layer that is an identity, with batch norm, behind each of these modules."""

    def grow(graph: Graph, optimizer: Any, seed: int) -> Graph:
        for path in behind:
            inputs = [batch[0] for batch in data]
            graph = netmorph.apply(graph, netmorph.identity(graph, path, kernel, norm=True, data=inputs), optimizer)
        return graph

    return grow


def deepened(way: Way) -> Grow:
    """One more block in each of the two stages."""
    return together(to_depth(3, way, of="stage1"), to_depth(3, way, of="stage2"))


def ways(network: str, data: Sequence[Any]) -> dict[str, Grow]:
    """How a network gets deeper."""
    if network == "inception":
        found = {"r2r": Way(interleaved, narrow_residual)} | {n: WAYS[n] for n in ("copied", "stacked", "random")}
        deepenings = {"identity (Net2Net)": identities(["stage1.1", "stage2.1"], 1, data)}
    else:
        found = dict(WAYS)
        deepenings = {"identity (Net2Net)": identities(["stage1.1.relu2", "stage2.1.relu2"], 3, data)}
    return {name: deepened(way) for name, way in found.items()} | deepenings


def widths(data: Sequence[Any]) -> dict[str, Grow]:
    """How a network gets twice as wide."""
    methods = {name: method for name, method in widenings.WIDENINGS.items() if name not in ("lemon", "approximate")}
    return {name: by_width(2, method) for name, method in methods.items()} | {
        "gradmax": by_gradient(2, data, loss),
        "net2net, then 5% noise": together(by_width(2, widenings.net2net), perturbed(1.0, 0.05)),
        "r2r, fan_in": by_width(2, widenings.r2r, draw=draws.fan_in),
        "r2r, quiet(0.1)": by_width(2, widenings.r2r, draw=draws.quiet(0.1)),
        "r2r, same_rms": scaled_by(same_rms, widenings.r2r, data),
        "random_pad, fan_in": by_width(2, widenings.random_pad, draw=draws.fan_in),
        "random_pad, keep_gradients": scaled_by(keep_gradients, widenings.random_pad, data),
        "shrink and perturb, then r2r": together(perturbed(0.4, 0.1), by_width(2, widenings.r2r)),
    }


DEFAULT = "rate kept, state carried, decay as usual"


def choices(grow: Grow) -> dict[str, tuple[Grow, LearningRatePolicy]]:
    """What may be chosen beside the edit itself: what grows, and what sets the pace then."""
    return {
        DEFAULT: (grow, unchanged),
        "rate / 5": (grow, divide(5)),
        "rate x old / new parameters": (grow, parameter_ratio),
        "new weights warm up, 100 steps": (grow, warm_up(100)),
        "whole rate rises again, 100 steps": (grow, rise(100)),
        "no weight decay on new weights": (grow, undecayed),
        "optimizer starts anew": (forgetting(grow), unchanged),
        "old weights frozen, 100 steps": (grow, freeze(100)),
        "old weights frozen for good": (grow, freeze()),
    }


Cost = Callable[[float, int], int]  # training FLOPs of an image, by width and blocks more
ALONE, LONGER = "no growth", "no growth, FLOPs of growth at 50%"
SCRATCH, SAME, SHORTER = "from scratch", "from scratch, FLOPs of growth at 50%", "from scratch, shorter still"


def rows(network: str, data: Sequence[Any], cost: Cost, few: int = 3) -> list[Row]:
    """All trainings of a network, that without growth first, which the others branch off from.

    Args:
        data: batches of inputs and labels that some ways to grow look at.
        few: seeds of what matters less; the others have five.
    """
    longer = MIDDLE + (1 - MIDDLE) * cost(2, 0) / cost(1, 0)
    found = [Row("width", ALONE), Row("width", LONGER, length=longer, seeds=few), *scratch("width", cost, 2, 0)]
    if network == "wide":
        methods = {name: widths(data)[name] for name in ("r2r", "zero", "net2net", "random_pad")}
        found += grown("width", methods)
        return found + [Row("when", f"{name} at {LATE:.0%}", (Growth(LATE, grow),)) for name, grow in methods.items()]
    seeds = few if network == "inception" else 5
    found += [replace(row, seeds=5 if row.name in MAIN else seeds) for row in grown("width", widths(data))]
    deeper = [*scratch("depth", cost, 1, 1), *grown("depth", ways(network, data))]
    found += [replace(row, seeds=few) for row in deeper]
    return found if network == "inception" else [*found, *when(few), *chosen(few), *several(cost, few)]


# The ways to widen that both networks try with all seeds.
MAIN = ("r2r", "net2net", "copied_pairs", "zero", "gradmax", "random_pad", "net2net, then 5% noise", "r2r, fan_in")


def grown(table: str, grows: Mapping[str, Grow]) -> list[Row]:
    return [Row(table, name, (Growth(MIDDLE, grow),)) for name, grow in grows.items()]


def scratch(table: str, cost: Cost, width: float, deeper: int) -> list[Row]:
    """The large network from the start, at three lengths: between them lies what accuracy costs without growth."""
    share = MIDDLE * cost(1, 0) / cost(width, deeper) + 1 - MIDDLE
    lengths = {SCRATCH: 1.0, SAME: share, SHORTER: share**2}
    return [Row(table, name, width=width, deeper=deeper, length=length) for name, length in lengths.items()]


def when(few: int) -> list[Row]:
    """Growth earlier and later than in the middle. R2R late is the default of the choices."""
    methods = {name: by_width(2, widenings.WIDENINGS[name]) for name in ("net2net", "copied_pairs", "random_pad")}
    found = [Row("when", f"{name} at {LATE:.0%}", (Growth(LATE, grow),)) for name, grow in methods.items()]
    early = {"r2r": by_width(2, widenings.r2r), "random_pad": methods["random_pad"]}
    found += [Row("when", f"{name} at {EARLY:.0%}", (Growth(EARLY, grow),)) for name, grow in early.items()]
    deeper = {name: deepened(WAYS[name]) for name in ("zero", "random")}
    return found + [
        Row("when", f"depth, {name} at {LATE:.0%}", (Growth(LATE, grow),), seeds=few) for name, grow in deeper.items()
    ]


def chosen(few: int) -> list[Row]:
    """R2R late, with one thing or another chosen beside it; of depth with few seeds."""
    kinds = {"choices, width": (by_width(2, widenings.r2r), 5), "choices, depth": (deepened(WAYS["r2r"]), few)}
    return [
        Row(table, name, (Growth(LATE, each),), policy, seeds=5 if name == DEFAULT else seeds)
        for table, (grow, seeds) in kinds.items()
        for name, (each, policy) in choices(grow).items()
    ]


# How a quarter of the width becomes all of it: in one growth, in two, in four.
STEPS: dict[int, Sequence[float]] = {1: (4,), 2: (2, 2), 4: (3 / 2, 4 / 3, 3 / 2, 4 / 3)}
NARROWEST = 0.5


def several(cost: Cost, few: int, spent: float = 0.5) -> list[Row]:
    """From a quarter of the width, in growths at equal distances, the last one where the FLOPs come out equal.

    Args:
        spent: FLOPs, as a share of those of the large network at full length.
    """
    found = [Row("times", SCRATCH, width=2, length=spent)]
    for method, seeds in ((widenings.r2r, 5), (widenings.random_pad, few)):
        for count, factors in STEPS.items():
            sizes = [NARROWEST * math.prod(factors[:number]) for number in range(count)]
            small = sum(cost(width, 0) for width in sizes) / count / cost(2, 0)
            last = (1 - spent) / (1 - small)
            growths = [Growth(last * (n + 1) / count, by_width(factor, method)) for n, factor in enumerate(factors)]
            name = f"{method.__name__}, {count} growth{'s' * (count > 1)}"
            found.append(Row("times", name, tuple(growths), width=NARROWEST, seeds=seeds))
    return found
