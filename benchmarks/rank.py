"""Singular values of a network's layers: one pass beside NumPy, layer by layer; and what a monitor costs a training.

    python -m benchmarks.rank

Ratios of medians, taken in turn in one run.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks._vision import vision_model
from benchmarks.engine import machine_line
from netmorph.measure import SPECTRAL, RankMonitor, spectra, weight_matrices

REPEATS = 7
STEPS = 200


def main(arguments: object = ()) -> None:
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(machine_line())
    table = Table(
        "network", "ours, nine measures (s)", "NumPy, rank and norm", "NumPy, rank and 2-norm", "NumPy, all nine"
    )
    for name, model in networks().items():
        table.add_row(name, *compared(weight_matrices(model)))
    console.print(table)
    console.print(monitored())


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    layers = [nn.Linear(784, 784) for _ in range(5)]
    return {"five layers of 784x784": nn.Sequential(*layers), "resnet18": vision_model("resnet18")[0]}


def compared(matrices: dict[str, Tensor]) -> list[str]:
    arrays = [matrix.detach().numpy() for matrix in matrices.values()]
    ways: list[Callable[[], object]] = [
        lambda: [[of(spectrum) for of in SPECTRAL.values()] for spectrum in spectra(matrices).values()],
        lambda: [(np.linalg.matrix_rank(array), np.linalg.norm(array)) for array in arrays],
        lambda: [(np.linalg.matrix_rank(array), np.linalg.norm(array, 2)) for array in arrays],
        lambda: [_all_nine(array) for array in arrays],
    ]
    seconds = _medians(ways)
    return [f"{seconds[0]:.3f}", *(f"{other:.3f} s, {other / seconds[0]:.1f} times ours" for other in seconds[1:])]


def _all_nine(array: np.ndarray) -> object:
    """One call for each number, and one decomposition for the five that NumPy has no function for."""
    norms = [np.linalg.norm(array, kind) for kind in (2, "fro", "nuc")]
    return np.linalg.matrix_rank(array), norms, np.linalg.cond(array), np.linalg.svd(array, compute_uv=False)


def monitored() -> Table:
    """The share of a training's time that looking at its ranks takes, every 50 steps and within a share."""
    table = Table("network", "seconds a step", "seconds a look", "every 50 steps", "at_most=0.01")
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Flatten(), *(layer for _ in range(5) for layer in (nn.Linear(784, 784), nn.ReLU())))
    for name, model, x in (
        ("five layers of 784x784, batch 128", mlp, torch.randn(128, 784)),
        ("resnet18, batch 8 of 64x64", vision_model("resnet18")[0], torch.randn(8, 3, 64, 64)),
    ):
        step = statistics.median(_step(model, x) for _ in range(10))
        look = statistics.median(RankMonitor(model).look().seconds for _ in range(5))
        shares = []
        for at_most in (None, 0.01):
            monitor = RankMonitor(model, every=50, at_most=at_most)
            began = time.perf_counter()
            for _ in range(STEPS):
                _step(model, x)
                monitor.step()
            spent = sum(reading.seconds for reading in monitor.readings)
            whole = time.perf_counter() - began
            shares.append(f"{spent / whole:.2%} ({len(monitor.readings)} looks)")
        table.add_row(name, f"{step:.4f}", f"{look:.3f}", *shares)
    return table


def _step(model: nn.Module, x: Tensor) -> float:
    began = time.perf_counter()
    model(x).square().mean().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 1e-4 * parameter.grad
                parameter.grad = None
    return time.perf_counter() - began


def _medians(ways: list[Callable[[], object]]) -> list[float]:
    found: list[list[float]] = [[] for _ in ways]
    for repeat in range(REPEATS + 1):
        for way, seconds in zip(ways, found, strict=True):
            began = time.perf_counter()
            way()
            if repeat:  # the first prepares kernels
                seconds.append(time.perf_counter() - began)
    return [statistics.median(seconds) for seconds in found]


if __name__ == "__main__":
    main(sys.argv[1:])
