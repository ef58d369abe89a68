"""Make an edit: all of it, checked, or nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from netmorph.edit.carry import prepare
from netmorph.edit.journal import Entry
from netmorph.edit.plan import Edit, EditError
from netmorph.edit.replace import change, undone_on_error
from netmorph.graph import Graph, trace
from netmorph.graph.record import run

# The largest relative difference of outputs that rounding may explain, with room for deep networks.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 5e-2, torch.bfloat16: 5e-2}


def apply(graph: Graph, edit: Edit, optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] = ()) -> Graph:
    """Make an edit on the graph's model, in place, and return the graph of the edited model.

    The edited model is run on the example inputs. Where the edit is exact, its outputs must be those of the model
    before; always they must have the same shapes. Otherwise everything is put back and `EditError` raised.

    Args:
        graph: the current graph of the model.
        edit: from `widen`, `narrow`, `residual`, `identity`, `shallow`.
        optimizer: one or several optimizers that train the model. Each stays the same object and goes on with its
            state; without it, a new optimizer is needed after every edit.

    Returns:
        The new graph; the old one can no longer be edited. The measured error is in `graph.journal[-1].error`.

    Raises:
        EditError: the edit does not fit; the message tells why. Model and optimizer are as they were.
    """
    # Parameters that are made in a user's inference mode could never be trained.
    with torch.inference_mode(False), torch.no_grad():
        return _apply(graph, edit, [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else list(optimizer))


def _apply(graph: Graph, edit: Edit, optimizers: list[torch.optim.Optimizer]) -> Graph:
    model = graph.model
    _check_current(graph)
    plan = edit.plan(graph)
    before = run(model, graph.inputs)
    old = dict(model.named_parameters(remove_duplicate=False))
    with undone_on_error() as undo:
        change(model, plan.modules, plan.tensors, plan.attributes, undo)
        after = _trace_again(graph, edit)
        error = difference(before, after.recording.result)
        if plan.exact and not error <= _tolerance(model, before):
            raise EditError(
                f"{_title(edit)} should keep the network's outputs, but they differ by {error:.1e} (relative). "
                "The network was put back. This is a bug in an op rule, or the forward uses a size or an index of "
                "channels in a way that tracing cannot see"
            )
        new = dict(model.named_parameters(remove_duplicate=False))
        commit = prepare(optimizers, old, new, plan.moments)
    commit()
    entry = Entry.of(plan, edit.describe(), error)
    return Graph(**(vars(after) | {"journal": (*graph.journal, entry)}))


def difference(before: Any, after: Any) -> float:
    """The largest difference between two results, relative to the largest value of the first.

    Raises:
        EditError: the results have different shapes.
    """
    gaps: list[float] = []
    for one, other in zip(_tensors(before), _tensors(after), strict=True):
        if one.shape != other.shape:
            raise EditError(
                f"the edit would change an output's shape from {tuple(one.shape)} to {tuple(other.shape)}: the "
                "forward reshapes by a fixed size, or the module taken out changes shapes. The network was put back"
            )
        if not one.dtype.is_floating_point:
            gaps.append(0.0 if torch.equal(one, other) else math.inf)
        elif bool(one.isfinite().any()):
            one, other = one.double(), other.double()
            equal = (one == other) | (one.isnan() & other.isnan())  # infinities as well
            scale = one.nan_to_num(0, 0, 0).abs().max().clamp_min(torch.finfo(torch.float64).tiny)
            gaps.append(float(torch.where(equal, 0.0, (one - other).abs() / scale).max()))
    if not gaps:
        raise EditError(
            "the model's outputs on the example inputs are empty, NaN or infinite, so no edit can be checked on them; "
            "trace with inputs that give finite outputs"
        )
    return math.nan if any(map(math.isnan, gaps)) else max(gaps)


def _check_current(graph: Graph) -> None:
    current = {
        name: tuple(tensor.shape) for name, tensor in (*graph.model.named_parameters(), *graph.model.named_buffers())
    }
    modules = dict(graph.model.named_modules())
    changed = [
        name
        for then, now in ((graph.shapes, current), (graph.modules, modules))
        for name in then.keys() | now.keys()
        if then.get(name) != now.get(name)
    ]
    if changed:
        raise EditError(
            f"this graph is out of date: {', '.join(sorted(changed)[:3])} changed since it was traced. "
            "Go on with the graph that the last apply returned, or trace again"
        )


def _trace_again(graph: Graph, edit: Edit) -> Graph:
    try:
        return trace(graph.model, graph.inputs, auxiliary=graph.auxiliary)
    except Exception as error:
        raise EditError(
            f"{_title(edit)} is not possible: {error}. The forward depends on a size that the edit changes; "
            "compute it from the tensor (x.flatten(1) instead of x.view(-1, 400)). The network was put back"
        ) from error


def _title(edit: Edit) -> str:
    told = edit.describe()
    return f"{told['kind']} ({told['method']}) of {told['layer']!r} from {told['before']} to {told['after']}"


def _tensors(result: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


def _tolerance(model: torch.nn.Module, result: Any) -> float:
    """By the coarsest type in use: a network of bfloat16 weights may well return float32."""
    types = {tensor.dtype for tensor in (*_tensors(result), *model.parameters())}
    return max(TOLERANCE.get(dtype, 0.0) for dtype in types)
