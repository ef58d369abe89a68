"""Make an edit: all of it, checked, or nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.edit.carry import averages, prepare
from netmorph.edit.copies import edited, graph_of
from netmorph.edit.journal import entry_of
from netmorph.edit.plan import Edit, Plan
from netmorph.edit.replace import Undo, change, forget_kept, undone_on_error
from netmorph.edit.snapshot import Before, Parts, before_of, remember
from netmorph.edit.wrapped import all_or_none, renew
from netmorph.errors import EditError
from netmorph.graph import Graph
from netmorph.graph.axis import atoms
from netmorph.graph.group import traced
from netmorph.graph.journal import Description
from netmorph.graph.kept import outdated
from netmorph.graph.predict import disagreement
from netmorph.graph.record import tensors_in
from netmorph.graph.running import run
from netmorph.graph.state import Kept

# The largest relative difference of outputs that rounding may explain, with room for deep networks.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 5e-2, torch.bfloat16: 5e-2}


def apply(
    graph: Graph,
    edit: Edit,
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] = (),
) -> Graph:
    """Make an edit on the graph's model, in place, and return the graph of the edited model.

    The edited model is run on the example inputs. Where the edit is exact, its outputs must be those of the model
    before; always they must have the same shapes. Otherwise everything is put back and `EditError` raised.

    Args:
        graph: the current graph of the model.
        edit: from `widen`, `narrow`, `narrow_to`, `residual`, `factorize`, `undo` or any other function that makes one.
        optimizer: one or several optimizers that train the model. Each stays the same object and goes on with its
            state; without it, a new optimizer is needed after every edit.

    The graph's copies get the same edit; where it is exact, it is checked on them, too.

    Where `graph` was traced from a `DistributedDataParallel`, every process makes the same call. All of them make the
    edit, or none does, and the wrapper exchanges the new gradients from then on.

    Returns:
        The new graph; the old one can no longer be edited. The measured error is in `graph.journal[-1].error`; that of
        an inexact edit is taken from the outputs when the graph was traced.

    Raises:
        EditError: the edit does not fit; the message tells why. Model, copies and optimizers are as they were.
    """
    if not isinstance(graph, Graph) or not isinstance(edit, Edit):
        raise EditError(
            f"apply takes a graph (from trace or the last apply) and an edit (from widen, say), "
            f"not {type(graph).__name__} and {type(edit).__name__}"
        )
    # Parameters that are made in a user's inference mode could never be trained.
    with torch.inference_mode(False), torch.no_grad():
        optimizers = [optimizer] if isinstance(optimizer, torch.optim.Optimizer) else list(optimizer)
        if any(isinstance(entry, Tensor) for entry in optimizers):
            raise EditError(
                "optimizer= takes the optimizer that trains the model, or a list of them, not its parameters"
            )
        return _apply(graph, edit, optimizers)


def _apply(graph: Graph, edit: Edit, optimizers: list[torch.optim.Optimizer]) -> Graph:
    model = graph.model
    with undone_on_error() as undo, all_or_none(graph.wrapper) as tell:
        check_current(graph)
        others = [graph_of(graph, copy) for copy in graph.copies]
        plan = edit.plan(graph)
        _check_description(edit)
        _check_hooks(model, plan)
        old = dict(model.named_parameters(remove_duplicate=False))
        names = {id(parameter): name for name, parameter in reversed(old.items())}
        averaged = {key: edited(graph, edit, mean) for key, mean in averages(optimizers, names).items()}
        # Without a claim to check, the shapes of the outputs suffice; a claim is about the weights as they are now.
        before = run(model, graph.inputs, kept=graph.recording.kept) if plan.exact else graph.recording.result
        parts = [Parts.of(model, plan)]
        replaced = before_of(plan.undoes) if plan.undoes is not None else None
        finish = replaced.returning() if replaced is not None and replaced.parts[0].model is model else None
        change(model, plan.modules, plan.tensors, plan.attributes, undo)
        after = _trace_again(graph, edit)
        _check_predicted(graph, after, plan, edit)
        error = difference(before, after.recording.result)
        if plan.exact:
            _check_exact(edit, error, graph, before)
        gone = outdated(graph.recording.kept, after.recording.kept)
        forget_kept(model, gone, undo)
        for other in others:
            parts.append(_change_copy(other, edit, gone, undo))
        new = dict(model.named_parameters(remove_duplicate=False))
        carried = {name for name, tensor in plan.tensors.items() if not isinstance(tensor, nn.Parameter)}
        commit = prepare(optimizers, old, new, carried, plan.moments, averaged)
        remembered = remember(optimizers, old, new)
        commit(undo)
        sealed = _sealed(parts, optimizers)
        tell(entry_of(plan, edit.describe(), 0.0))
    if finish is not None:
        finish(optimizers)
    if graph.wrapper is not None:
        renew(graph.wrapper)
        sealed = _sealed(parts, optimizers)  # the parameters are those of the first process now
    entry = entry_of(plan, edit.describe(), error, Before(edit, plan.exact, sealed, remembered))
    journal = (*graph.journal, entry) if plan.undoes is None else graph.journal[:-1]
    return replace(after, journal=journal, wrapper=graph.wrapper, copies=graph.copies)


def _sealed(parts: Sequence[Parts], optimizers: Sequence[torch.optim.Optimizer]) -> list[Parts]:
    first, *rest = parts
    return [first.sealed(optimizers), *(part.sealed() for part in rest)]


def _change_copy(graph: Graph, edit: Edit, gone: Sequence[Kept], undo: Undo) -> Parts:
    plan, kept = edit.plan(graph), graph.recording.kept
    parts = Parts.of(graph.model, plan)
    before = run(graph.model, graph.inputs, kept=kept) if plan.exact else None
    change(graph.model, plan.modules, plan.tensors, plan.attributes, undo)
    if plan.exact:
        _check_exact(edit, difference(before, run(graph.model, graph.inputs, kept=kept)), graph, before)
    forget_kept(graph.model, gone, undo)
    return parts


def _check_description(edit: Edit) -> None:
    """A wrong one would be noticed when the journal is saved, after the training."""
    told: object = edit.describe()
    if not isinstance(told, Description):
        raise EditError(
            f"{type(edit).__name__}.describe() returned {type(told).__name__}; it returns a "
            "netmorph.edit.Description(kind, method, layer, before, after)"
        )


def _check_hooks(model: nn.Module, plan: Plan) -> None:
    for name, parameter in model.named_parameters():
        if name in plan.tensors and (parameter._backward_hooks or parameter._post_accumulate_grad_hooks):
            raise EditError(
                f"{name!r} has hooks on its gradient, which its successor would lack; remove them before the edit and "
                "register them again on the new parameter"
            )


def _check_predicted(before: Graph, after: Graph, plan: Plan, edit: Edit) -> None:
    found = disagreement(before.recording, after.recording, plan.sizes) if plan.sizes else None
    if found is not None:
        raise EditError(
            f"{_title(edit)} is not possible: in the edited forward {found}. It uses a size in a way that "
            "tracing cannot follow; compute it from the tensor. The network was put back"
        )


def _check_exact(edit: Edit, error: float, graph: Graph, before: Any) -> None:
    if not error <= _tolerance(graph, before):
        raise EditError(
            f"{_title(edit)} should keep the network's outputs, but they differ by {error:.1e} (relative). "
            "The network was put back. This is a bug in an op rule, or the forward uses a size or an index of "
            "channels in a way that tracing cannot see"
        )


def difference(before: Any, after: Any) -> float:
    """The largest difference between two results, relative to the largest value of the first.

    Raises:
        EditError: the results have different shapes.
    """
    gaps: list[float] = []
    for one, other in zip(tensors_in(before), tensors_in(after), strict=True):
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


def check_current(graph: Graph) -> None:
    """Refuse a graph whose model has changed since it was traced.

    Raises:
        EditError: it has; the message names what.
    """
    made = graph.made_by_forward  # these may have come since, or have grown
    current = {
        name: tuple(tensor.shape) for name, tensor in (*graph.model.named_parameters(), *graph.model.named_buffers())
    }
    modules = dict(graph.model.named_modules())
    changed = [
        name
        for then, now in ((graph.shapes, current), (graph.modules, modules))
        for name in then.keys() | now.keys()
        if then.get(name) != now.get(name) and name not in made
    ]
    if changed:
        raise EditError(
            f"this graph is out of date: {', '.join(sorted(changed)[:3])} changed since it was traced. "
            "Go on with the graph that the last apply returned, or trace again"
        )


def _trace_again(graph: Graph, edit: Edit) -> Graph:
    try:
        return traced(graph.model, graph.inputs, auxiliary=graph.auxiliary, kept=graph.recording.kept)
    except Exception as error:
        raise EditError(
            f"{_title(edit)} is not possible: {error}. The forward depends on a size that the edit changes; "
            "compute it from the tensor (x.flatten(1) instead of x.view(-1, 400)). The network was put back"
        ) from error


def _title(edit: Edit) -> str:
    return str(edit.describe())


def _tolerance(graph: Graph, result: Any) -> float:
    """By the coarsest type in use: a network of bfloat16 weights may well return float32, or norm in float32."""
    types = {tensor.dtype for tensor in (*tensors_in(result), *graph.model.parameters())}
    types |= {
        value.dtype
        for call in graph.recording.calls
        for value in call.outputs
        if any(True for axis in value.axes for _ in atoms(axis))
    }
    return max(TOLERANCE.get(dtype, 0.0) for dtype in types)
