"""What `benchmarks.strangers` measures on one model, in a process of its own: a line of JSON whenever more is known.

    python -m benchmarks._strangers_stages LIBRARY/NAME

Widening and halving are those of the survey of classifiers; here the edited network is also saved, loaded and written
as code, whose gradients must be the network's.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

import netmorph
from benchmarks._compiled import in_plain_python
from benchmarks._vision import nothing_trivial
from benchmarks._zoo_stages import Build, Result, called, gap_of, halve, measure, outputs, tolerance, widen
from netmorph.edit import WidthEdit
from netmorph.export import write_code
from netmorph.graph import Allow
from netmorph.graph.running import Inputs
from netmorph.widenings import keep


def stranger(name: str) -> Build:
    """A model of `_strangers_models.MODELS`, the same at each call."""

    def build(dtype: torch.dtype) -> tuple[nn.Module, Inputs]:
        from benchmarks._strangers_models import MODELS

        torch.manual_seed(0)
        model, inputs = MODELS[name]()
        model = nothing_trivial(model).to(dtype).eval()
        return model, tree_map(lambda leaf: _as(leaf, dtype), inputs)

    return build


def _as(leaf: object, dtype: torch.dtype) -> object:
    return leaf.to(dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def imported(build: Build) -> Iterator[Result]:
    """What a library takes to be imported is not ours to count."""
    build(torch.float32)
    yield {}


def traced(build: Build) -> Iterator[Result]:
    """Groups, and the seconds of a trace in float32."""
    model, inputs = build(torch.float32)
    yield {"parameters": sum(parameter.numel() for parameter in model.parameters())}
    started = time.perf_counter()
    graph = netmorph.trace(model, inputs)
    allowed = [group.allow for group in graph.groups.values()]
    yield {
        "trace_seconds": time.perf_counter() - started,
        "groups": {allow.name.lower(): allowed.count(allow) for allow in Allow if allow in allowed},
        "frozen_because": [
            f"{group.name}: {group.reasons[0]}" for group in graph.groups.values() if group.allow == Allow.FROZEN
        ][:12],
    }


def _narrowed(build: Build) -> netmorph.Graph:
    """A network whose groups lost a channel each, in float64."""
    model, inputs = build(torch.float64)
    graph = netmorph.trace(model, inputs)
    changes = {
        group.name: keep(group.size, range(group.size - 1)) for group in graph.editable(Allow.INEXACT) if group.size > 2
    }
    return netmorph.apply(graph, WidthEdit(changes, "one channel less")) if changes else graph


def saved(build: Build) -> Iterator[Result]:
    """An edited network written to a file and read again: equal bit for bit."""
    graph = _narrowed(build)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.safetensors"
        netmorph.save(path, graph.model, graph.journal)
        loaded, _ = netmorph.load(path, lambda: build(torch.float64)[0])
    # What a library works out once and keeps as a plain attribute is made anew by its constructor.
    gap = gap_of(outputs(loaded.eval(), graph.inputs), outputs(graph.model, graph.inputs))
    yield {"status": "equal" if gap == 0 else "differs", "error": gap}


def written(build: Build) -> Iterator[Result]:
    """An edited network as code: the same outputs and gradients."""
    graph = _narrowed(build)
    yield {"step": "write"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.py"
        write_code(graph, path)
        yield {"step": "run"}
        spec = importlib.util.spec_from_file_location("network", path)
        if spec is None or spec.loader is None:
            raise RuntimeError(f"{path} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        other = module.load().to(torch.float64).eval()
    given = graph.inputs
    if isinstance(given, dict):  # the code takes tensors alone, in their order
        given = tuple(leaf for leaf in tree_leaves(given) if isinstance(leaf, Tensor))
    gap = _seeded(lambda: _with_gradients(graph.model, graph.inputs), lambda: _with_gradients(other, given))
    yield {"status": "equal" if gap <= tolerance(graph) else "differs", "error": gap}


def _with_gradients(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """The outputs, and all gradients as one tensor: some are zero but for rounding (of biases of keys)."""
    model.zero_grad()
    found = called(model, inputs)
    parts = [tensor for tensor in found if tensor.requires_grad]
    generator = torch.Generator().manual_seed(2)
    if parts:
        sum((part * torch.randn(part.shape, generator=generator).to(part)).sum() for part in parts).backward()
    named = sorted(model.named_parameters())
    gradients = [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for _, p in named]
    return [tensor.detach() for tensor in found] + ([torch.cat(gradients)] if gradients else [])


def _seeded(one: Callable[[], list[Tensor]], other: Callable[[], list[Tensor]]) -> float:
    torch.manual_seed(3)
    expected = one()
    torch.manual_seed(3)
    return gap_of(expected, other())


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.gettempdir())  # ultralytics writes settings when it is imported
    in_plain_python()
    measure((imported, traced, widen, halve, saved, written), stranger(sys.argv[1]))
