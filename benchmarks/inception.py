"""Surgery on the whole Inception-ResNet-v2, in float64: seconds, memory, and by how much the answers change.

    python -m benchmarks.inception [--pixels 299] [--width 1] [--blocks 10 20 10]

Random weights (of full width: timm's, loaded by their names), two random images, one thread. Each step goes on from the
network of the one before; what is exact is held against what that gave. Seconds are of the step without this check;
memory is the highest of the process until then.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import netmorph
from benchmarks.engine import machine_line, used
from netmorph import zoo
from netmorph.edit import narrow_all, widen_all
from netmorph.export import write_code
from netmorph.graph import Graph
from netmorph.memory import highest
from netmorph.policy import WAYS, to_depth
from netmorph.zoo.vision import vision_library

NAME = "inception_resnet_v2"
STREAM = "stem.mixed.branches.0.0.conv"  # a slice of a concatenation that all later blocks read
BLOCKS = [10, 20, 10]
WIDER = 1.125


def slice_widened(graph: Graph) -> Graph:
    return netmorph.apply(graph, netmorph.widen(graph, STREAM, 2 * graph.group(STREAM).size))


def all_widened(graph: Graph) -> Graph:
    widths = {group.name: round(WIDER * group.size) + 1 for group in graph.editable()}
    return netmorph.apply(graph, widen_all(graph, widths))


def deepened(graph: Graph) -> Graph:
    for of in ("a", "b", "c"):
        graph = to_depth(len(graph.model.get_submodule(of)) + 1, WAYS["zero"], of)(graph, (), 0)
    return graph


def undone(graph: Graph) -> Graph:
    while graph.journal:
        graph = netmorph.apply(graph, netmorph.undo(graph))
    return graph


def halved(graph: Graph) -> Graph:
    return netmorph.apply(graph, narrow_all(graph, {g.name: range((g.size + 1) // 2) for g in graph.editable()}))


# Each with whether it keeps what the network computes.
STEPS: dict[str, tuple[Callable[[Graph], Graph], bool]] = {
    "widen a slice of a concatenation, twice as wide": (slice_widened, True),
    "widen all free groups by an eighth, in one edit": (all_widened, True),
    "deepen: one more block A, B and C": (deepened, True),
    "undo all of that": (undone, True),
    "narrow all free groups to half": (halved, False),
}


def main(arguments: Sequence[str] | None = ()) -> None:
    options = _options(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = (3, options.pixels, options.pixels)
    images = torch.randn(2, *shape, dtype=torch.float64)
    table = Table("step", "seconds", "memory, GB", "change", "parameters")

    def told(name: str, started: float, expected: Tensor | None = None) -> None:
        seconds = time.perf_counter() - started
        change = "" if expected is None else f"{gap(expected, answer(model, images)):.0e}"
        count = sum(parameter.numel() for parameter in model.parameters())
        table.add_row(name, f"{seconds:.1f}", f"{highest() / 1e9:.2f}", change, f"{count:,}")

    started = time.perf_counter()
    model = zoo.build(NAME, shape, 1000, width=options.width, blocks=options.blocks).double().eval()
    told("build", started)
    if options.width == 1 and options.blocks == BLOCKS:
        theirs = vision_library("timm").create_model(NAME).double().eval()
        started = time.perf_counter()
        zoo.load_timm_inception(model, theirs.state_dict())
        told("load timm's weights; beside timm's network", started, answer(theirs, images))
        del theirs
    started = time.perf_counter()
    graph = netmorph.trace(model, images)
    told(f"trace: {len(graph.editable())} of {len(graph.groups)} groups are free", started)
    for name, (step, is_exact) in STEPS.items():
        before = answer(model, images) if is_exact else None
        started = time.perf_counter()
        graph = step(graph)
        told(name, started, before)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        write_code(graph, Path(folder, "inception.py"))
    told("write as plain PyTorch", started)
    Console(width=120, highlight=False).print(table, machine_line(), used())


@torch.no_grad()
def answer(model: nn.Module, images: Tensor) -> Tensor:
    found: Tensor = model.eval()(images)
    return found


def gap(expected: Tensor, found: Tensor) -> float:
    """The largest difference, as a share of the largest answer."""
    return float((expected - found).abs().max() / expected.abs().max())


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inception", description=__doc__.partition("\n")[0])
    parser.add_argument("--pixels", type=int, default=299, help="of a side, at least 75 (default: %(default)s)")
    parser.add_argument("--width", type=float, default=1, help="(default: %(default)s)")
    parser.add_argument("--blocks", type=int, nargs=3, default=BLOCKS, help="A, B and C (default: as published)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(None)
