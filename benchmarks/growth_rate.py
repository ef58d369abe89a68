"""Learning-rate policies after growth: the loss just after a network is widened, and the accuracy in the end.

    NETMORPH_DATA=... python -m benchmarks.growth_rate [--schedule constant] [--seeds 0 1 2]

A small convolutional network learns from 20,000 images of CIFAR-10 at 16x16 pixels, is doubled in width in the middle
of its schedule, and goes on under each policy for as many steps. All runs of one seed start from the same trained
network and see the same batches. Beside them: no growth, growth by random padding, and the wide network from scratch
for the same FLOPs.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR

import netmorph
from netmorph.data import load
from netmorph.measure.cost import cost
from netmorph.policy.learning_rate import POLICIES, unchanged
from netmorph.run.machine import machine, versions
from netmorph.train.pace import LearningRatePolicy, Pace
from netmorph.widenings import Widening

STEPS = 300  # before growth, and after it
BATCH = 64
IMAGES = 20_000
SIDE = 16  # pixels
HELD_OUT = 5_000
PROBED = 1_000  # of these
CHANNELS = (8, 16, 32)
PROBES = (0, 1, 2, 4, 8, 16, 32, 64)  # steps after growth at which the loss on held-out images is looked at
OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "SGD": lambda model: SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4, fused=True),
    "Adam": lambda model: Adam(model.parameters(), 2e-3, fused=True),
}
SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda progress: (1 + math.cos(math.pi * progress)) / 2,
    "constant": lambda progress: 1.0,
}


class Growth(NamedTuple):
    widening: Widening
    policy: LearningRatePolicy


GROWTHS = {
    f"{widening.__name__}, {name}": Growth(widening, policy)
    for widening in (netmorph.widenings.r2r, netmorph.widenings.net2net)
    for name, policy in POLICIES.items()
} | {"random_pad, unchanged": Growth(netmorph.widenings.random_pad, unchanged), "no growth": None}
SCRATCH = "from scratch, equal FLOPs"


class Outcome(NamedTuple):
    accuracy: float
    spike: float | None  # the largest loss of the probes, minus that before growth


@dataclass
class Run:
    """A network in training."""

    model: nn.Module
    optimizer: Optimizer
    schedule: LambdaLR

    def step(self, images: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        functional.cross_entropy(self.model(images), labels).backward()
        self.optimizer.step()
        self.schedule.step()


class Task(NamedTuple):
    """Normalized images and labels, to learn from and held out."""

    images: Tensor
    labels: Tensor
    held_out: Tensor
    truth: Tensor

    def batches(self, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Without end, each image mirrored at random."""
        generator = torch.Generator().manual_seed(seed)
        while True:
            for chosen in torch.randperm(len(self.labels), generator=generator).split(BATCH)[
                : len(self.labels) // BATCH
            ]:
                images = self.images[chosen]
                mirrored = torch.rand(len(chosen), 1, 1, 1, generator=generator) < 0.5
                yield torch.where(mirrored, images.flip(3), images), self.labels[chosen]

    @torch.no_grad()
    def measure(self, model: nn.Module, count: int) -> tuple[float, float]:
        """Loss and accuracy on the first `count` held-out images."""
        model.eval()
        logits = torch.cat([model(part) for part in self.held_out[:count].split(500)])
        model.train()
        truth = self.truth[:count]
        return functional.cross_entropy(logits, truth).item(), (logits.argmax(1) == truth).float().mean().item()


def main(arguments: Sequence[str] = ()) -> None:
    options = _options(arguments)
    torch.set_num_threads(1)
    started = time.perf_counter()
    data = load("cifar10", train_size=IMAGES, size=(SIDE, SIDE))
    held_out = data.validation.select(torch.arange(HELD_OUT))
    images, others = (data.preparation(part.inputs, torch.empty(0)) for part in (data.train, held_out))
    task = Task(images, data.train.targets, others, held_out.targets)
    outcomes: dict[tuple[str, str], list[Outcome]] = {}
    for optimizer in OPTIMIZERS:
        for seed in options.seeds:
            for name, outcome in compare(task, optimizer, SCHEDULES[options.schedule], seed, options.steps).items():
                outcomes.setdefault((name, optimizer), []).append(outcome)
    show(outcomes)
    print(
        f"{options.steps} + {options.steps} steps of {BATCH} images, {options.schedule} rate, seeds {options.seeds}\n"
        f"Accuracy: % of {HELD_OUT} held-out images, mean (lowest to highest). Loss: the worst within {PROBES[-1]} "
        f"steps after growth minus that before, of {PROBED} held-out images, mean (highest).\n"
        f"{time.perf_counter() - started:.0f} s on {machine()}, 1 thread, {versions()}"
    )


def compare(
    task: Task, optimizer: str, schedule: Callable[[float], float], seed: int, steps: int
) -> dict[str, Outcome]:
    """All ways on from one network that was trained for `steps` steps."""
    batches = task.batches(seed)
    start = run(CHANNELS, optimizer, schedule, 2 * steps, seed)
    for _ in range(steps):
        start.step(*next(batches))
    order = int(torch.randint(2**31, (), generator=torch.Generator().manual_seed(seed)))
    outcomes = {
        name: continued(copied(start, schedule, optimizer, 2 * steps), task, growth, order, steps, seed)
        for name, growth in GROWTHS.items()
    }
    wide = run([2 * width for width in CHANNELS], optimizer, schedule, 0, seed)
    flops = [cost(found.model, torch.zeros(2, 3, SIDE, SIDE)).training_flops for found in (start, wide)]
    equal = round(steps * sum(flops) / flops[1])
    wide = run([2 * width for width in CHANNELS], optimizer, schedule, equal, seed)
    batches = task.batches(seed)
    for _ in range(equal):
        wide.step(*next(batches))
    return outcomes | {SCRATCH: Outcome(task.measure(wide.model, HELD_OUT)[1], None)}


def continued(start: Run, task: Task, growth: Growth | None, order: int, steps: int, seed: int) -> Outcome:
    before, _ = task.measure(start.model, PROBED)
    if growth is not None:
        graph = netmorph.trace(start.model, task.images[:4])
        wider = {group.name: 2 * group.size for group in graph.editable()}
        pace = Pace(start.optimizer)
        graph = netmorph.apply(graph, netmorph.edit.widen_all(graph, wider, growth.widening, seed), start.optimizer)
        growth.policy(pace, graph)
    losses = []
    for step, (images, labels) in zip(range(steps + 1), task.batches(order), strict=False):
        if step in PROBES:
            losses.append(task.measure(start.model, PROBED)[0])
        if step < steps:
            start.step(images, labels)
    return Outcome(task.measure(start.model, HELD_OUT)[1], max(losses) - before)


def run(channels: Sequence[int], optimizer: str, schedule: Callable[[float], float], steps: int, seed: int) -> Run:
    """A new network at the start of a schedule of so many steps, of which the first 20th warms up."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(zip((3, *channels), channels, strict=False)):
        layers += [nn.Conv2d(before, after, 3, 2 if number == 0 else 1, 1), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if number else []
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear((SIDE // 8) ** 2 * channels[-1], 10))
    built = OPTIMIZERS[optimizer](model)
    return Run(model, built, scheduled(built, schedule, steps))


def scheduled(optimizer: Optimizer, schedule: Callable[[float], float], steps: int) -> LambdaLR:
    warm = max(1, steps // 20)
    return LambdaLR(optimizer, lambda step: min(1, (step + 1) / warm) * schedule(min(1, step / max(1, steps))))


def copied(start: Run, schedule: Callable[[float], float], optimizer: str, steps: int) -> Run:
    """The same moment of training, in other objects."""
    model = copy.deepcopy(start.model)
    built = OPTIMIZERS[optimizer](model)
    follows = scheduled(built, schedule, steps)
    built.load_state_dict(copy.deepcopy(start.optimizer.state_dict()))
    follows.load_state_dict(start.schedule.state_dict())
    return Run(model, built, follows)


def show(outcomes: dict[tuple[str, str], list[Outcome]]) -> None:
    print("| |" + "".join(f" {optimizer}: accuracy | {optimizer}: loss, worst - before |" for optimizer in OPTIMIZERS))
    print("|---" * (1 + 2 * len(OPTIMIZERS)) + "|")
    for name in (*GROWTHS, SCRATCH):
        cells = []
        for optimizer in OPTIMIZERS:
            found = outcomes[name, optimizer]
            accuracies = [100 * outcome.accuracy for outcome in found]
            spikes = [outcome.spike for outcome in found if outcome.spike is not None]
            cells.append(f"{statistics.mean(accuracies):.2f} ({min(accuracies):.2f} to {max(accuracies):.2f})")
            cells.append(f"{statistics.mean(spikes):+.3f} ({max(spikes):+.3f})" if spikes else "")
        print(f"| {name} | {' | '.join(cells)} |")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth_rate", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=STEPS, help="before growth, and as many after it")
    parser.add_argument("--schedule", choices=SCHEDULES, default="cosine", help="of the learning rate")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
