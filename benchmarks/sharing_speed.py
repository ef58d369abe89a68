"""What a step costs more whose network is composed of shared segments, beside the same step with weights of its own.

    python -m benchmarks.sharing_speed [--steps 200]

Networks that were widened and deepened by R2R four times, so that their parameters consist of many segments; AdamW,
forward and backward passes and the optimizer's step on the same random batch. The two take turns, step by step.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.engine import machine_line
from netmorph import zoo
from netmorph.graph import trace
from netmorph.policy import Mutation, mutate
from netmorph.sharing import Composition, Origins, Pool, assembled, born, founded
from netmorph.train import Recipe
from netmorph.train.optimizers import build_optimizer

CASES = {
    "LeNet-5, 64 of 28 x 28": ("lenet5", (1, 28, 28), 64),
    "LeNet-5, 64 of 32 x 32 x 3": ("lenet5", (3, 32, 32), 64),
    "ResNet, width 0.25, 32 of 32 x 32 x 3": ("resnet", (3, 32, 32), 32),
}
OPTIONS = {"resnet": {"width": 0.25}}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sharing_speed")
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args(arguments).steps
    torch.set_num_threads(1)
    print("| network, batch | parameters | segments | ms a step, own weights | shared | times |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, (network, shape, batch) in CASES.items():
        torch.manual_seed(0)
        start = zoo.build(network, shape, 10, **OPTIONS.get(network, {}))
        model, pool = grown(start, shape)
        inputs, labels = torch.randn(batch, *shape), torch.arange(batch) % 10
        segments = {number: nn.Parameter(value.clone()) for number, value in pool.segments.items()}
        kinds = [own(copy.deepcopy(model), inputs, labels), composed(model, segments, pool.networks[1], inputs, labels)]
        found: list[list[float]] = [[], []]
        for number in range(steps + 10):
            for step, seconds in zip(kinds, found, strict=True):
                began = perf_counter()
                step()
                if number >= 10:
                    seconds.append(perf_counter() - began)
        alone, together = (1000 * statistics.median(seconds) for seconds in found)
        count = sum(parameter.numel() for parameter in model.parameters())
        print(f"| {name} | {count:,} | {len(segments)} | {alone:.2f} | {together:.2f} | {together / alone:.2f} |")
    print(f"\nMedians of {steps} steps. {machine_line()}")


def grown(start: nn.Module, shape: tuple[int, ...], children: int = 4) -> tuple[nn.Module, Pool]:
    """The last of a line of children, and a pool in which it is network 1, beside network 0 from which it came."""
    model = start
    pool = founded(Pool(), 0, dict(start.named_parameters()))
    for number in range(children):
        model = copy.deepcopy(model)
        origins = Origins(model)
        graph = trace(model, torch.randn(2, *shape))
        mutate(graph, np.random.default_rng(number), Mutation(edits=2), optimizer=origins)
        pool = born(pool, 1, min(number, 1), origins.kept(model), dict(model.named_parameters()))
    return model, pool


def own(model: nn.Module, inputs: Tensor, labels: Tensor) -> Callable[[], None]:
    """A step of a network with weights of its own."""
    optimizer = build_optimizer(model, Recipe())

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(model(inputs), labels).backward()
        optimizer.step()

    return step


def composed(
    model: nn.Module, segments: Mapping[int, nn.Parameter], composition: Composition, inputs: Tensor, labels: Tensor
) -> Callable[[], None]:
    """A step of the same network, composed of segments."""
    holder = nn.ParameterList(segments.values())
    optimizer = build_optimizer(holder, Recipe())
    call = partial(torch.func.functional_call, model)

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(call(assembled(segments, composition), (inputs,)), labels).backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
