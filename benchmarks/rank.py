"""Singular values of a network's layers: one pass beside NumPy, layer by layer; and what a monitor costs a training.

    python -m benchmarks.rank [cpu]

Ratios of medians in one run. With `cpu` by the processor time of one thread, which tells something on a
machine that others use, too.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks._vision import vision_model
from benchmarks.engine import machine_line
from netmorph.measure import NORMS, SPECTRAL, RankMonitor, ranks_and_norms, spectra, weight_matrices
from netmorph.measure.lanczos import Follower
from netmorph.measure.rank_monitor import USUAL

REPEATS = 5
ROUNDS = 2
PAUSE = 0.3
SETS = 6
STEPS = 200
EVERY = 50
Clock = Callable[[], float]


def main(arguments: Sequence[str] = ()) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    clock = time.process_time if "cpu" in arguments else time.perf_counter
    if "cpu" in arguments:
        torch.set_num_threads(1)
    console.print(machine_line(), f"clock: {clock.__name__}")
    for table in (whole(clock), ranks(clock), norms(clock), parts(clock), monitored(clock)):
        console.print(table)


def whole(clock: Clock) -> Table:
    """All nine measures, beside NumPy's functions."""
    table = Table("network", "ours, nine measures (s)", "rank and norm", "rank and 2-norm", "NumPy, all nine")
    for name, model in networks().items():
        matrices = weight_matrices(model)
        arrays = [matrix.detach().numpy() for matrix in matrices.values()]
        ways: list[Callable[[], object]] = [
            lambda matrices=matrices: [
                [of(spectrum) for of in SPECTRAL.values()] for spectrum in spectra(matrices).values()
            ],
            lambda arrays=arrays: [(np.linalg.matrix_rank(array), np.linalg.norm(array)) for array in arrays],
            lambda arrays=arrays: [(np.linalg.matrix_rank(array), np.linalg.norm(array, 2)) for array in arrays],
            lambda arrays=arrays: [_all_nine(array) for array in arrays],
        ]
        table.add_row(name, *beside(_medians(ways, clock)))
    return table


def ranks(clock: Clock) -> Table:
    """Rank and norms of five layers, as drawn anew each time: how many lie near the tolerance is chance."""
    table = Table("five of 784x784", "ours, rank and both norms (s)", "NumPy, rank and 2-norm", "rank and Frobenius")
    for seed in range(SETS):
        torch.manual_seed(seed)
        matrices = {str(place): nn.Linear(784, 784).weight.detach() for place in range(5)}
        arrays = [matrix.numpy() for matrix in matrices.values()]
        if [own.rank for own in ranks_and_norms(matrices).values()] != list(map(np.linalg.matrix_rank, arrays)):
            raise RuntimeError(f"seed {seed}: another rank than NumPy's")
        ways: list[Callable[[], object]] = [
            lambda matrices=matrices: ranks_and_norms(matrices),
            lambda arrays=arrays: [(np.linalg.matrix_rank(array), np.linalg.norm(array, 2)) for array in arrays],
            lambda arrays=arrays: [(np.linalg.matrix_rank(array), np.linalg.norm(array)) for array in arrays],
        ]
        table.add_row(f"drawn with seed {seed}", *beside(_medians(ways, clock)))
    return table


def norms(clock: Clock) -> Table:
    """Stable rank and both norms: a first look, the next one, and NumPy's two norms."""
    table = Table("network", "ours, from the last look (s)", "ours, first look", "ours, nine measures", "NumPy, norms")
    for name, model in networks().items():
        matrices = weight_matrices(model)
        arrays = [matrix.detach().numpy() for matrix in matrices.values()]
        follow = Follower()
        ways: list[Callable[[], object]] = [
            lambda matrices=matrices, follow=follow: follow(matrices),
            lambda matrices=matrices: Follower()(matrices),
            lambda matrices=matrices: spectra(matrices),
            lambda arrays=arrays: [(np.linalg.norm(array, 2), np.linalg.norm(array)) for array in arrays],
        ]
        table.add_row(name, *beside(_medians(ways, clock)))
    return table


def parts(clock: Clock) -> Table:
    """What the exact rank of one 784x784 matrix needs, and what a proof of full rank would, beside NumPy's rank."""
    matrix = nn.Linear(784, 784).weight.detach()
    wide = matrix.double()
    gram = wide @ wide.mT + torch.eye(784)
    ways: dict[str, Callable[[], object]] = {
        "NumPy, rank and norm (s)": lambda: (np.linalg.matrix_rank(matrix.numpy()), np.linalg.norm(matrix.numpy())),
        "product, float64": lambda: wide @ wide.mT,
        "its eigenvalues": lambda: torch.linalg.eigvalsh(gram),
        "its Cholesky factor": lambda: torch.linalg.cholesky_ex(gram),
        "LU, float32": lambda: torch.linalg.lu_factor_ex(matrix),
    }
    table = Table("one of 784x784", *ways)
    table.add_row("less than NumPy", *beside(_medians(list(ways.values()), clock), faster=True))
    return table


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    layers = [nn.Linear(784, 784) for _ in range(5)]
    return {"five layers of 784x784": nn.Sequential(*layers), "resnet18": vision_model("resnet18")[0]}


def beside(seconds: list[float], faster: bool = False) -> list[str]:
    """The first in seconds, the others as multiples of it, or it as multiples of the others."""
    ratios = [seconds[0] / other if faster else other / seconds[0] for other in seconds[1:]]
    return [
        f"{seconds[0]:.4f}",
        *(f"{other:.4f} s, {ratio:.1f} times" for other, ratio in zip(seconds[1:], ratios, strict=True)),
    ]


def _all_nine(array: np.ndarray) -> object:
    """One call for each number, and one decomposition for the five that NumPy has no function for."""
    norms = [np.linalg.norm(array, kind) for kind in (2, "fro", "nuc")]
    return np.linalg.matrix_rank(array), norms, np.linalg.cond(array), np.linalg.svd(array, compute_uv=False)


def monitored(clock: Clock) -> Table:
    """The share of a training's time that looking at its ranks takes, every 50 steps and within a share."""
    table = Table("network", "measures", "a step (s)", "a look", "every 50 steps", "later looks", "at_most=0.01")
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Flatten(), *(layer for _ in range(5) for layer in (nn.Linear(784, 784), nn.ReLU())))
    both: dict[str, Mapping[str, Callable[..., float]]] = {"usual": USUAL, "NORMS": NORMS}
    small, large = torch.randn(8, 3, 64, 64), torch.randn(32, 3, 224, 224)
    for name, model, x, titles, ways in (
        ("five layers of 784x784, batch 128", mlp, torch.randn(128, 784), both, (None, 0.01)),
        ("resnet18, batch 8 of 64x64", vision_model("resnet18")[0], small, both, (None, 0.01)),
        ("resnet18, batch 32 of 224x224", vision_model("resnet18")[0], large, ["usual"], (None,)),
    ):
        for title in titles:
            measures, shares, step, look = both[title], [], 0.0, 0.0
            for at_most in ways:
                monitor = RankMonitor(model, every=EVERY, at_most=at_most, measures=measures)
                steps, looks = [], []
                for _ in range(STEPS):
                    steps.append(_timed(lambda model=model, x=x: _step(model, x), clock))
                    seen = len(monitor.readings)
                    took = _timed(monitor.step, clock)
                    looks += [took] * (len(monitor.readings) - seen)
                shares.append(f"{sum(looks) / (sum(steps) + sum(looks)):.2%} ({len(looks)} looks)")
                if at_most is None:
                    step, look = statistics.median(steps), statistics.median(looks[1:])
                    shares.append(f"{look / (EVERY * step + look):.2%}")
            table.add_row(name, title, f"{step:.4f}", f"{look:.4f}", *shares)
    return table


def _step(model: nn.Module, x: Tensor) -> None:
    model(x).square().mean().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 1e-4 * parameter.grad
                parameter.grad = None


def _timed(way: Callable[[], object], clock: Clock) -> float:
    began = clock()
    way()
    return clock() - began


def _medians(ways: list[Callable[[], object]], clock: Clock) -> list[float]:
    """Each way by itself, and all of them once more.

    Not call by call in turn: the threads of NumPy's library wait for more work for a while, and take the processor from
    those of torch.
    """
    found: list[list[float]] = [[] for _ in ways]
    for _ in range(ROUNDS):
        for way, seconds in zip(ways, found, strict=True):
            time.sleep(PAUSE)
            way()  # prepares kernels
            seconds += [_timed(way, clock) for _ in range(REPEATS)]
    return [statistics.median(seconds) for seconds in found]


if __name__ == "__main__":
    main(sys.argv[1:])
