"""Time to trace a model into channel groups and to widen one of them, beside torch.export and a plain forward pass.

torchvision models with random weights, at 64x64 (Inception-v3: 299x299), one image, median of three, in milliseconds.
"""

import statistics
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import netmorph
from benchmarks._vision import vision_model

MODELS = ["resnet18", "resnet50", "densenet121", "mobilenet_v2", "inception_v3"]


def main() -> None:
    table = Table("model", "forward", "trace", "trace / forward", "torch.export", "export / trace", "widen and check")
    for name in MODELS:
        model, images = vision_model(name)
        graph = netmorph.trace(model, images)
        group = graph.editable(netmorph.Allow.ANY)[0]
        forward = _milliseconds(lambda model=model, images=images: _forward(model, images))
        traced = _milliseconds(lambda model=model, images=images: netmorph.trace(model, images))
        exported = _milliseconds(lambda model=model, images=images: torch.export.export(model.eval(), (images,)))
        started = time.perf_counter()
        netmorph.apply(graph, netmorph.widen(graph, group.name, group.size + 8))
        edited = 1e3 * (time.perf_counter() - started)
        table.add_row(
            name,
            *(f"{value:.0f}" for value in (forward, traced)),
            f"{traced / forward:.1f}",
            f"{exported:.0f}",
            f"{exported / traced:.1f}",
            f"{edited:.0f}",
        )
    Console().print(table)


def _forward(model: nn.Module, images: torch.Tensor) -> None:
    with torch.inference_mode():
        model.eval()(images)


def _milliseconds(function: Callable[[], object]) -> float:
    function()
    times = []
    for _ in range(3):
        started = time.perf_counter()
        function()
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)
