"""The narrowest place that everything in a network passes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from netmorph.errors import EditError
from netmorph.graph import Graph, Value
from netmorph.graph.axis import atoms
from netmorph.graph.running import no_fused_attention
from netmorph.measure.probing import called, float64_batches, in_float64, rank_of
from netmorph.observe.features import Batch


def narrowest_cut(graph: Graph, batches: Iterable[Batch]) -> float:
    """The least numerical rank, over the places that everything passes, of the features' correlation.

    Such a place is a tensor that lies on every path from the inputs to the outputs. Inside a residual block there is
    none, as the skip connection goes round; the sum behind it is one. (Cuts of several tensors are not looked at: a
    stream and a branch beside it.) Positions are rows, channels are columns, each centred and divided by its deviation.
    A rank is at most the number of positions less 1: flattened features need more samples than channels.

    Args:
        graph: a traced network.
        batches: what the network takes.

    Raises:
        EditError: no batch, weights that are not finite, no such place, or a forward that runs other operators on a
            batch than on the example inputs.
    """
    cuts = cut_values(graph)
    rows: dict[Value, list[Tensor]] = {}
    model = in_float64(graph)
    for inputs in float64_batches(batches):
        taking = _Taking(graph, cuts)
        with torch.inference_mode(), no_fused_attention(), taking:
            called(model, inputs)
        taking.check()
        for value, tensor in taking.taken.items():
            rows.setdefault(value, []).append(tensor)
    return float(min(rank_of(_standardized(torch.cat(parts))) for parts in rows.values()))


def cut_values(graph: Graph) -> dict[Value, int]:
    """The tensors with channels that lie on every path from inputs to outputs, and the dimension of their channels.

    In the order of the forward, a tensor is on every path if, once it is made, it is the only one that is read later.

    Raises:
        EditError: there is none.
    """
    calls, outputs = graph.recording.calls, set(graph.recording.outputs)
    depends = set(graph.recording.inputs)
    for call in calls:
        if depends.intersection(call.values):
            depends.update(call.outputs)
    last = {value: len(calls) for value in outputs}
    for number in reversed(range(len(calls))):
        if any(value in last for value in calls[number].outputs):
            for value in calls[number].values:
                last.setdefault(value, number)
    known = {group.atom for group in graph.groups.values()}
    live: set[Value] = {value for value in graph.recording.inputs if value in last}
    found: dict[Value, int] = {}
    for number, call in enumerate(calls):
        live |= {value for value in call.outputs if value in last and value in depends}
        live = {value for value in live if last[value] > number}
        if len(live) == 1:
            (value,) = live
            dims = [dim for dim, axis in enumerate(value.axes) if dim and known.intersection(atoms(axis))]
            if dims and value in call.outputs:
                found[value] = dims[0]
    if not found:
        raise EditError(
            "no tensor with channels lies on every path from the inputs to the outputs (several inputs or outputs, or "
            "streams side by side all the way), so there is no narrowest cut; take jacobian_participation"
        )
    return found


class _Taking(TorchDispatchMode):
    """Keeps some tensors of a forward that runs the recorded operators, as rows of channels."""

    def __init__(self, graph: Graph, wanted: dict[Value, int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.taken: dict[Value, Tensor] = {}
        self._calls, self._wanted = graph.recording.calls, wanted
        self._ops: list[Any] = []

    def __torch_dispatch__(self, func: torch._ops.OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        number = len(self._ops)
        self._ops.append(func)
        if number < len(self._calls) and self._calls[number].op is func:
            tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
            for value, tensor in zip(self._calls[number].outputs, tensors, strict=True):
                if value in self._wanted:
                    self.taken[value] = tensor.movedim(self._wanted[value], -1).flatten(0, -2).clone()
        return result

    def check(self) -> None:
        if self._ops != [call.op for call in self._calls]:
            raise EditError(
                "on this batch the forward runs other operators than on the example inputs, so its features are not "
                "known again; trace the network on a batch like it"
            )


def _standardized(rows: Tensor) -> Tensor:
    """Each column centred and divided by its deviation; one that does not vary is zero."""
    if not bool(rows.isfinite().all()):
        raise EditError("features hold numbers that are not finite, so they have no rank; look for NaN in the batches")
    centred = rows - rows.mean(0)
    deviation = centred.square().mean(0).sqrt()
    varies = deviation > len(rows) * torch.finfo(rows.dtype).eps * rows.abs().amax(0)
    return centred[:, varies] / deviation[varies]
