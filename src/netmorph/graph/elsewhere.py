"""Parameters that only some data reaches: a layer that the example inputs do not come to, but others would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from netmorph.graph.axis import freeze
from netmorph.graph.decided import decided
from netmorph.graph.record import record
from netmorph.graph.recording import Recording
from netmorph.graph.running import Inputs, TraceError
from netmorph.graph.value import Value

TRIES = 16  # inputs that are tried
IN_VAIN = 4  # of them in a row


def reached(run: Recording) -> set[str]:
    """The names of the parameters and buffers that a forward used."""
    leaves = tree_leaves([(call.args, call.kwargs) for call in run.calls])
    return {leaf.name for leaf in leaves if isinstance(leaf, Value) and leaf.name}


def elsewhere(model: nn.Module, inputs: Inputs, run: Recording, missing: set[str]) -> Iterator[Recording]:
    """Where data decides what runs: recordings on other inputs that reach parameters which none has reached yet.

    An expert that no token of the example was sent to would else keep its width when others change theirs.
    """
    generator = torch.Generator().manual_seed(0)

    def mixed(leaf: Any) -> Any:
        """The numbers of a tensor in another order; of floating ones the sizes and signs vary as well."""
        if not isinstance(leaf, Tensor):
            return leaf
        order = torch.randperm(leaf.numel(), generator=generator)
        changed = leaf.flatten()[order.to(leaf.device)].view(leaf.shape)
        return (
            changed * 2 * torch.randn(leaf.shape, generator=generator).to(leaf) if leaf.is_floating_point() else changed
        )

    if not beside(run.tensors, missing) or decided(run, run.calls).start is None:
        return
    vain = 0
    for _ in range(TRIES):
        try:
            other = record(model, tree_map(mixed, inputs), kept=run.kept)
        except TraceError:  # the numbers in another order are no valid input
            return
        if found := missing & reached(other):
            yield other
        missing, vain = missing - found, 0 if found else vain + 1
        if vain == IN_VAIN or not beside(run.tensors, missing):
            return


def beside(tensors: dict[str, Value], missing: set[str]) -> dict[str, str]:
    """For each reached tensor that stands beside a missing one, as one expert beside another, that one's name."""
    places: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for name, value in tensors.items():
        places.setdefault((re.sub(r"\d+", "#", name), value.shape), []).append(name)
    found = [(names, min(unreached)) for names in places.values() if (unreached := missing.intersection(names))]
    return {name: unreached for names, unreached in found for name in names if name not in missing}


def freeze_beside(tensors: dict[str, Value], missing: set[str]) -> None:
    """What other experts share with one that no input reached stays as it is: nothing says how that one follows."""
    for name, unreached in beside(tensors, missing).items():
        for axis in tensors[name].axes:
            freeze(
                axis,
                f"{unreached!r} stands beside {name!r}, but data decided that the forward does not reach it; "
                "trace with inputs that reach all (more of them, say)",
            )
