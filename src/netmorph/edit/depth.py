"""Depth edits: put a layer that changes nothing behind a module, or take a module out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from netmorph.edit.blocks import IDEMPOTENT, Spec, start_identity, start_r2r
from netmorph.edit.channel_map import WidthError
from netmorph.edit.plan import EditError, Plan
from netmorph.errors import suggest
from netmorph.graph import Allow, Graph
from netmorph.graph.axis import atoms, size


@dataclass(frozen=True)
class DeepenEdit:
    """A new block behind module `after`; `start` sets its weights so that it passes its input on."""

    after: str
    spec: Spec
    start: Callable[[nn.Module, torch.Generator], None]
    seed: int = 0

    def plan(self, graph: Graph) -> Plan:
        """See `Edit`."""
        old = _module(graph, self.after)
        block = self.spec.build()
        like = next(graph.model.parameters(), torch.empty(0))
        block.to(like.device, torch.float64)  # drawn in float64, rounded once
        self.start(block, torch.Generator().manual_seed(self.seed))
        block.to(like.dtype)
        return Plan(
            exact=True,
            modules={self.after: nn.Sequential(old, block).train(old.training)},
            specs={self.after: {"behind": True, **self.spec.as_json()}},
        )

    def describe(self) -> dict[str, Any]:
        """See `Edit`."""
        return {
            "kind": "deepen",
            "method": self.spec.kind,
            "layer": self.after,
            "before": 0,
            "after": self.spec.hidden or self.spec.channels,
        }


@dataclass(frozen=True)
class ShallowEdit:
    """Module `path` is replaced by nothing: its input passes through."""

    path: str

    def plan(self, graph: Graph) -> Plan:
        """See `Edit`."""
        _module(graph, self.path)
        spec = Spec("nothing")
        return Plan(
            exact=False,
            modules={self.path: spec.build()},
            specs={self.path: {"behind": False, **spec.as_json()}},
        )

    def describe(self) -> dict[str, Any]:
        """See `Edit`."""
        return {"kind": "shallow", "method": "take out", "layer": self.path, "before": 1, "after": 0}


def residual(graph: Graph, after: str, hidden: int | None = None, kernel: int = 3, seed: int = 0) -> DeepenEdit:
    """A residual block `x + W2 relu(W1 x)` behind a module, exact from the start (R2R deepen, arXiv 2410.11038).

    Args:
        after: path of a module that returns one tensor.
        hidden: the width inside, even; the width of the features by default (rounded up to even).
        kernel: odd kernel size, where the features have height and width.

    Raises:
        EditError: no such module, or its output is not a tensor of features.
        WidthError: `hidden` is not a positive even number.
    """
    channels, spatial = _features(graph, after)
    hidden = channels + channels % 2 if hidden is None else hidden
    if hidden < 2 or hidden % 2:
        raise WidthError(f"the hidden width of an R2R block must be even and at least 2, got {hidden}")
    _check_kernel(kernel)
    return DeepenEdit(after, Spec("residual", channels, hidden, spatial, kernel), start_r2r, seed)


def identity(graph: Graph, after: str, kernel: int = 3) -> DeepenEdit:
    """An identity layer behind a module (Net2Net deepen, arXiv 1511.05641).

    Behind an idempotent activation (ReLU, ReLU6) the new layer ends in the same activation; elsewhere it is
    linear.

    Raises:
        EditError: no such module, or its output is not a tensor of features.
    """
    channels, spatial = _features(graph, after)
    _check_kernel(kernel)
    last = _module(graph, after)
    while type(last) is nn.Sequential and len(last):  # a subclass may do more in its forward
        last = last[-1]
    activation = next((name for name, kind in IDEMPOTENT.items() if type(last) is kind), None)
    return DeepenEdit(after, Spec("identity", channels, 0, spatial, kernel, activation), start_identity)


def shallow(graph: Graph, path: str) -> ShallowEdit:
    """Take a module out that keeps its input's shape: a residual block, a layer added by deepening.

    Not exact, unless the module passes its input on. `apply` refuses if the shapes no longer fit.

    Raises:
        EditError: no such module.
    """
    _module(graph, path)
    return ShallowEdit(path)


Deepening = Callable[[Graph, str], DeepenEdit]
DEEPENINGS: dict[str, Deepening] = {"residual": residual, "identity": identity}


def places(graph: Graph) -> list[str]:
    """The modules behind which a layer can be put."""
    return [path for path in graph.channels if path and _feature_axis(graph, path) is not None]


def _module(graph: Graph, path: str) -> nn.Module:
    known = dict(graph.model.named_modules())
    if not path or path not in known:
        raise EditError(f"no module {path!r} to edit{suggest(path, known)}; see model.named_modules()")
    module: nn.Module = known[path]
    return module


def _features(graph: Graph, path: str) -> tuple[int, int]:
    _module(graph, path)
    found = _feature_axis(graph, path)
    if found is None:
        raise EditError(
            f"no layer can go behind {path!r}: it was not called by the traced forward, or its output is not one "
            f"tensor of features; possible places are {', '.join(places(graph)) or 'none'}"
        )
    return found


def _feature_axis(graph: Graph, path: str) -> tuple[int, int] | None:
    """(channels, spatial dimensions) of a module's output: convolutional features or those of a linear layer."""
    axes = graph.channels.get(path)
    if axes is None or len(axes) < 2:
        return None
    # Channels that could change width tell which axis holds the features; tokens beside them are frozen.
    for allow in (Allow.INEXACT, Allow.FROZEN):
        if 3 <= len(axes) <= 5 and any(atom.allow >= allow for atom in atoms(axes[1])):
            return size(axes[1]), len(axes) - 2
        if any(atom.allow >= allow for atom in atoms(axes[-1])):
            return size(axes[-1]), 0
    return None


def _check_kernel(kernel: int) -> None:
    if kernel < 1 or kernel % 2 == 0:
        raise EditError(f"the kernel of an inserted layer must be odd and at least 1, got {kernel}")
