"""What the benchmarks of halved networks have in common: the peers, and tables."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import netmorph
from netmorph import Samples
from netmorph.edit import WidthEdit, narrow_all
from netmorph.files import atomic_write
from netmorph.graph import Graph
from netmorph.measure import flops
from netmorph.run.machine import machine, versions
from netmorph.scores import Score, best

LARGEST_SHARE = 0.9  # of a layer's channels that Torch-Pruning may drop, as `narrow_to`
Ignored = Callable[[str, nn.Module], bool]


def applied(model: nn.Module, image: Tensor, edit: WidthEdit) -> Graph:
    """A copy of a network after an edit."""
    return netmorph.apply(netmorph.trace(copy.deepcopy(model), image), edit)


def at_widths(widths: Mapping[str, int], score: Score, samples: Samples) -> WidthEdit:
    """The channels of the highest scores, nothing made up for."""
    graph = samples.graph
    return narrow_all(graph, {name: best(score(graph.group(name), samples), width) for name, width in widths.items()})


def pruned(model: nn.Module, image: Tensor, share: float, steps: int, together: bool, ignored: Ignored) -> nn.Module:
    """A copy after Torch-Pruning's magnitude pruner, step by step until at most a share of the FLOPs is left.

    Args:
        image: `[N, C, H, W]`.
        steps: in which it would drop all that it may.
        together: whether all layers are ranked together, or each by itself.
        ignored: `(name, module)` -> whether a layer's outputs keep all channels.
    """
    whole, left = flops(model, image), copy.deepcopy(model)
    pruner = _pruner(left, image, 1.0, steps, together, ignored)
    for _ in range(steps):
        pruner.step()
        if flops(left, image) <= share * whole:
            return left
    raise RuntimeError(f"Torch-Pruning does not reach {share} of the FLOPs in {steps} steps")


def pruned_at_once(model: nn.Module, image: Tensor, share: float, tries: int, ignored: Ignored) -> nn.Module:
    """A copy after one step of Torch-Pruning, each layer without the same share: the smallest one that is enough."""
    enough, found, low, high = share * flops(model, image), None, 0.0, 1.0
    for _ in range(tries):
        left, middle = copy.deepcopy(model), (low + high) / 2
        _pruner(left, image, middle, 1, False, ignored).step()
        if flops(left, image) <= enough:
            found, high = left, middle
        else:
            low = middle
    if found is None:
        raise RuntimeError(f"Torch-Pruning does not reach {share} of the FLOPs in one step")
    return found


def spread(values: Sequence[float], digits: int) -> str:
    """The mean of shares, and the range, in percent."""
    mean, low, high = (f"{value:.{digits}%}" for value in (statistics.mean(values), min(values), max(values)))
    return f"{mean} ({low} to {high})"


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]], measured: str) -> None:
    """A table for a page, and where it was measured."""
    lines = [f"| {' | '.join(row)} |" for row in (columns, *rows)]
    text = "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:], "", measured]) + "\n"
    atomic_write(path, lambda temporary: temporary.write_text(text) and None)


def where() -> str:
    told: dict[str, Any] = versions() | {"torch-pruning": version("torch-pruning")} | machine()
    return ", ".join(f"{name} {value}" for name, value in told.items()) + f", {torch.get_num_threads()} thread(s)"


def _pruner(model: nn.Module, image: Tensor, share: float, steps: int, together: bool, ignored: Ignored) -> Any:
    import torch_pruning as tp

    return tp.pruner.MagnitudePruner(
        model,
        image,
        importance=tp.importance.MagnitudeImportance(p=2),
        global_pruning=together,
        pruning_ratio=share,
        max_pruning_ratio=LARGEST_SHARE,
        iterative_steps=steps,
        ignored_layers=[module for name, module in model.named_modules() if ignored(name, module)],
    )
