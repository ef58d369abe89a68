"""Does a hypernetwork that draws the weights of new channels, or of a new layer, save training steps?

    python -m benchmarks.hypernetwork [--tasks 24] [--updates 250] [--seed 0]

A task is an edit of our own runs: a perceptron on digits of two hidden layers with 5 to 12 units each, which has learnt
for 20 to 200 steps, and one of these layers, which gets half as many units more, up to twice as many; or a further
layer of the same width. A small graph network over the channels says how new ones mix the weights of old ones, and how
large the noise beside it is. New channels are told as a draw (`netmorph.draws`), as any widening takes one, and a new
layer as a draw of `netmorph.edit.redraw`. The network begins as `layer_spread`, and learns by the loss in the steps
after an edit, differentiated through the steps and, for channels, through the edit's plan.

Then it draws for networks that it has not seen, and so do other starts, on the same batches. Told is the validation
loss after some steps: of the reference, and of the others less that; and the steps until the loss that the reference
comes to in the end. Means and 95% intervals over the networks. One thread.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import count, islice
from typing import NamedTuple

import torch
from rich.progress import track
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.optim import SGD, Adam

import netmorph
from benchmarks._hypernetwork import Hypernetwork
from benchmarks._intervals import interval
from benchmarks.engine import machine_line, used
from netmorph.data import Part, load
from netmorph.draws import Draw, fan_in, layer_spread, quiet
from netmorph.edit import Edit, gradmax, redraw, stack
from netmorph.errors import EditError
from netmorph.graph import Graph
from netmorph.widenings import Widening, copied_pairs, net2net, r2r, random_pad

RATE, MOMENTUM, BATCH = 0.05, 0.9, 64
UNROLLED = 6  # steps that a hypernetwork's loss looks ahead
STEPS = 60  # after an edit, on which it is judged
EVERY = 4  # steps between two validations
AT = (0, 4, 20, 60)
SMALL, LARGE = 5, 12  # units
TAUGHT = 60  # tasks to learn on
BLOCK, NEW = "2", "3"  # the layer that is copied, and where the new one comes


# -- tasks ------------------------------------------------------------------------------------------------------------


class Batches(NamedTuple):
    """Images as numbers `[images, pixels]`, and their classes."""

    images: Tensor
    labels: Tensor

    def drawn(self, steps: int, generator: torch.Generator) -> list[Batches]:
        """Some at random for each step."""
        found = [torch.randint(len(self.labels), (BATCH,), generator=generator) for _ in range(steps)]
        return [Batches(self.images[index], self.labels[index]) for index in found]


class Task(NamedTuple):
    """A network in training, and a layer of it that is to grow."""

    graph: Graph
    optimizer: SGD
    group: str
    to: int
    batches: list[Batches]  # of the steps that follow


def loss_of(model: nn.Module, batch: Batches) -> Tensor:
    return functional.cross_entropy(model(batch.images), batch.labels)


def learn(model: nn.Module, optimizer: SGD, batches: Sequence[Batches]) -> None:
    for batch in batches:
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step()


def by_gradmax(given: Task, seed: int) -> Edit:
    return gradmax(given.graph, given.group, given.to, given.batches[:4], loss_of)


def has_all_starts(given: Task) -> bool:
    """Whether its gradient gives as many directions as it is to get channels: dead units can leave too few."""
    try:
        by_gradmax(given, 0)
    except EditError:
        return False
    return True


def perceptron(pixels: int, units: int, classes: int = 10) -> nn.Sequential:
    block = nn.Sequential(nn.Linear(units, units), nn.ReLU())
    return nn.Sequential(nn.Linear(pixels, units), nn.ReLU(), block, nn.Linear(units, classes))


def task(train: Batches, seed: int) -> Task:
    """A perceptron of random width that has learnt for a random number of steps."""
    generator = torch.Generator().manual_seed(seed)

    def between(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    units = between(SMALL, LARGE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = perceptron(train.images.shape[1], units)
    optimizer = SGD(model.parameters(), RATE, MOMENTUM)
    learn(model, optimizer, train.drawn(between(20, 200), generator))
    group = ("0", f"{BLOCK}.0")[between(0, 1)]
    more = between((units + 1) // 2, min(units, 2 * SMALL))  # GradMax goes no further
    return Task(netmorph.trace(model, train.images[:4]), optimizer, group, units + more, train.drawn(STEPS, generator))


# -- learning to draw -------------------------------------------------------------------------------------------------

# The model that an edit makes of a task's, and its weights, as functions of those of a hypernetwork.
Grown = Callable[[Hypernetwork, Task, int], tuple[nn.Module, Mapping[str, Tensor]]]


def wider(method: Widening) -> Grown:
    def grown(network: Hypernetwork, given: Task, seed: int) -> tuple[nn.Module, Mapping[str, Tensor]]:
        graph = given.graph
        draw = network.draw(graph, given.group, given.to, method, seed)
        plan = netmorph.widen(graph, given.group, given.to, method, seed, draw).plan(graph)
        return graph.model, dict(graph.model.named_parameters()) | dict(plan.tensors)

    return grown


def deeper(network: Hypernetwork, given: Task, seed: int) -> tuple[nn.Module, Mapping[str, Tensor]]:
    before = given.graph.model
    weight, bias = (before.get_parameter(f"{BLOCK}.0.{name}").detach() for name in ("weight", "bias"))
    made = network.layer(weight, bias, torch.Generator().manual_seed(seed))
    layers = [*before.children()]
    layers.insert(int(NEW), copy.deepcopy(layers[int(BLOCK)]))
    model = nn.Sequential(*layers)
    return model, dict(model.named_parameters()) | dict(zip((f"{NEW}.0.weight", f"{NEW}.0.bias"), made, strict=True))


def ahead(model: nn.Module, weights: Mapping[str, Tensor], batches: Sequence[Batches]) -> Tensor:
    """The mean loss behind each of some steps of training, differentiable through the steps."""
    now = {name: held if held.grad_fn else held.detach().requires_grad_() for name, held in weights.items()}
    speeds = {name: torch.zeros_like(held) for name, held in now.items()}
    losses = []
    for batch in batches:
        losses.append(functional.cross_entropy(functional_call(model, now, (batch.images,)), batch.labels))
        slopes = torch.autograd.grad(losses[-1], [*now.values()], create_graph=True)
        speeds = {name: MOMENTUM * speeds[name] + slope for name, slope in zip(now, slopes, strict=True)}
        now = {name: held - RATE * speeds[name] for name, held in now.items()}
    return torch.stack(losses[1:]).mean()


def taught(tasks: Sequence[Task], grown: Grown, updates: int, seed: int, mixing: bool = True) -> Hypernetwork:
    """A hypernetwork that has learnt on tasks, four for each update; without `mixing` only how large the noise is."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Hypernetwork()
    network.mixed.requires_grad_(mixing)
    optimizer = Adam([weight for weight in network.parameters() if weight.requires_grad], 5e-3)
    for update in track(range(updates), "learning to draw", transient=True):
        optimizer.zero_grad()
        for number in torch.randint(len(tasks), (4,), generator=generator).tolist():
            model, weights = grown(network, tasks[number], update)
            (ahead(model, weights, tasks[number].batches[: UNROLLED + 1]) / 4).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return network.requires_grad_(False)


# -- starts -----------------------------------------------------------------------------------------------------------

Start = Callable[[Task, int], Edit]  # of a seed


def widened(method: Widening, draw: Draw = layer_spread) -> Start:
    return lambda given, seed: netmorph.widen(given.graph, given.group, given.to, method, seed, draw)


def drawn_by(network: Hypernetwork, method: Widening) -> Start:
    def start(given: Task, seed: int) -> Edit:
        draw = network.draw(given.graph, given.group, given.to, method, seed)
        return netmorph.widen(given.graph, given.group, given.to, method, seed, draw)

    return start


def layer_by(network: Hypernetwork) -> Start:
    def draw(block: nn.Module) -> None:
        weight, bias = (block.get_parameter(f"0.{name}") for name in ("weight", "bias"))
        for held, made in zip((weight, bias), network.layer(weight, bias, torch.default_generator), strict=True):
            held.copy_(made)

    return lambda given, seed: redraw(given.graph, BLOCK, draw=draw, seed=seed)


CHANNELS: dict[str, Start] = {  # the first is the reference
    "R2R": widened(r2r),
    "random padding": widened(random_pad),
    "random padding, fan_in": widened(random_pad, fan_in),
    "random padding, quiet": widened(random_pad, quiet()),
    "copied (Net2Net)": widened(net2net),
    "copied in pairs": widened(copied_pairs),
    "GradMax": by_gradmax,
}
LAYERS: dict[str, Start] = {
    "identity (Net2Net)": lambda given, seed: netmorph.identity(given.graph, BLOCK),
    "residual (R2R)": lambda given, seed: netmorph.residual(given.graph, BLOCK, seed=seed),
    "random": lambda given, seed: redraw(given.graph, BLOCK, seed=seed),
    "copied (stacking)": lambda given, seed: stack(given.graph, BLOCK),
}


# -- what they come to ------------------------------------------------------------------------------------------------


def copied(given: Task) -> Task:
    """The same network, which may be edited, and its optimizer."""
    model = copy.deepcopy(given.graph.model)
    optimizer = SGD(model.parameters(), RATE, MOMENTUM)
    optimizer.load_state_dict(given.optimizer.state_dict())
    return given._replace(graph=netmorph.trace(model, given.graph.inputs), optimizer=optimizer)


def curve(given: Task, start: Start, held_out: Batches, seed: int) -> dict[int, float]:
    """Validation losses by steps after the edit."""
    mine = copied(given)
    model = netmorph.apply(mine.graph, start(mine, seed), mine.optimizer).model
    losses = {}
    for step in range(0, STEPS + 1, EVERY):
        with torch.no_grad():
            losses[step] = float(loss_of(model, held_out))
        learn(model, mine.optimizer, given.batches[step : step + EVERY])
    return losses


def steps_to(loss: float, losses: Mapping[int, float]) -> int:
    """The first validation that is as good; the step behind the last one where none is."""
    return next((step for step, value in losses.items() if value <= loss), STEPS + EVERY)


def lines(starts: Mapping[str, Start], tasks: Sequence[Task], held_out: Batches, seed: int) -> list[str]:
    """A table: the first start, and the others beside it."""
    rows = [["start", *(f"loss, {step}" for step in AT), f"steps to its loss at {STEPS}"], ["---"] * (len(AT) + 2)]
    reference: list[dict[int, float]] = []
    for name, start in starts.items():
        curves = [curve(given, start, held_out, seed + number) for number, given in enumerate(tasks)]
        reference = reference or curves
        form, own = ("{:.3f}", 0.0) if curves is reference else ("{:+.3f}", 1.0)
        pairs = [*zip(curves, reference, strict=True)]
        told = [interval([one[step] - own * other[step] for one, other in pairs], form) for step in AT]
        rows.append([name, *told, interval([float(steps_to(other[STEPS], one)) for one, other in pairs], "{:.1f}")])
    return [f"| {' | '.join(row)} |" for row in rows]


def flat(part: Part) -> Batches:
    return Batches(part.head(len(part)).flatten(1).float() / 255, part.targets)


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hypernetwork", description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=24, metavar="N", help="to judge on (default: %(default)s)")
    parser.add_argument("--updates", type=int, default=250, metavar="N", help="of each network (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
    options = parser.parse_args(list(arguments))
    torch.set_num_threads(1)
    data = load("digits")
    train, held_out = flat(data.train), flat(data.validation)
    known = [task(train, 1000 * options.seed + number) for number in range(TAUGHT)]
    further = (task(train, 1000 * options.seed + 500 + number) for number in count())
    unseen = [*islice(filter(has_all_starts, further), options.tasks)]
    print(f"digits, {options.tasks} tasks, {options.updates} updates; {machine_line()}", "", sep="\n")

    def teach(grown: Grown, mixing: bool = True) -> Hypernetwork:
        return taught(known, grown, options.updates, options.seed, mixing)

    channels = CHANNELS | {
        "hypernetwork": drawn_by(teach(wider(random_pad)), random_pad),
        "hypernetwork, noise only": drawn_by(teach(wider(random_pad), mixing=False), random_pad),
        "hypernetwork, in pairs": drawn_by(teach(wider(r2r)), r2r),
    }
    print(*lines(channels, unseen, held_out, options.seed), "", sep="\n", flush=True)
    layers = LAYERS | {"hypernetwork": layer_by(teach(deeper))}
    print(*lines(layers, unseen, held_out, options.seed), "", used(), sep="\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
