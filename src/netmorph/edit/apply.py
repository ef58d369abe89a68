"""Make an edit: all of it, checked, or nothing."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from netmorph.edit.carry import averages, prepare
from netmorph.edit.compiled import forget_compiled
from netmorph.edit.copies import edited, graph_of
from netmorph.edit.decisions import Decisions
from netmorph.edit.difference import difference, tolerance
from netmorph.edit.fused import as_used, check_called, step_by_step, trains
from netmorph.edit.journal import entry_of
from netmorph.edit.moved import kept_now, names_now, paths_now
from netmorph.edit.plan import Edit, Plan
from netmorph.edit.replace import Undo, forget_kept, make, undone_on_error
from netmorph.edit.snapshot import Before, Parts, before_of, remember
from netmorph.edit.wrapped import all_or_none, renew
from netmorph.errors import EditError, NetmorphError
from netmorph.graph import Graph, trace
from netmorph.graph.decided import decided, decides_by_rounding
from netmorph.graph.journal import Description
from netmorph.graph.kept import outdated
from netmorph.graph.predict import disagreement
from netmorph.graph.running import check_default_device, collector_paused, drawing_from, one_at_a_time, run
from netmorph.graph.slots import Kept
from netmorph.graph.tracing import traced


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
    with one_at_a_time(), collector_paused(), torch.inference_mode(False), torch.no_grad():
        check_default_device(EditError)
        optimizers = _optimizers(optimizer)
        try:
            found = _apply(graph, edit, optimizers)
        except OutputsDiffer:
            if not _is_rounding(graph, edit):
                raise
            found = _apply(graph, edit, optimizers, trusted=True)
    forget_compiled(graph.wrapper, graph.model, *graph.copies)
    return found


def _optimizers(given: Any) -> list[torch.optim.Optimizer]:
    several: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    for entry in several:
        if not isinstance(entry, torch.optim.Optimizer):
            hint = "; a scheduler follows its optimizer by itself" if hasattr(entry, "optimizer") else ""
            raise EditError(
                f"optimizer= takes the optimizer that trains the model, or a list of them, not {type(entry).__name__}; "
                f"leave it out where none does{hint}"
            )
    return several


class OutputsDiffer(EditError):
    """An edit that should keep the outputs did not."""


def _is_rounding(graph: Graph, edit: Edit) -> bool:
    """Whether an exact edit changed outputs only because rounding turned a decision of the forward over.

    A copy in float64, where two scores are rarely as close, keeps them then, once it decides as it did before.
    """
    if graph.wrapper is not None or not decides_by_rounding(graph.recording):
        return False
    inputs = tree_map(_finer, graph.inputs)
    try:
        finer = trace(copy.deepcopy(graph.model).double(), inputs, graph.journal, auxiliary=graph.auxiliary)
        with drawing_from(finer.recording.streams):
            first = Decisions()
            before = run(finer.model, inputs, following=lambda: first, kept=finer.recording.kept)
            after = _apply(finer, edit, [], trusted=True)
            second = Decisions(first.taken)
            now = run(finer.model, inputs, following=lambda: second, kept=after.recording.kept)
        return difference(before, now) <= tolerance(finer, before)
    except Exception:  # whatever fails there: the edit was not found to be right
        return False


def _finer(leaf: Any) -> Any:
    return leaf.double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def _apply(graph: Graph, edit: Edit, optimizers: list[torch.optim.Optimizer], trusted: bool = False) -> Graph:
    """Args: trusted: that the edit is exact was checked elsewhere."""
    model = graph.model
    with undone_on_error() as undo, all_or_none(graph.wrapper) as tell, contextlib.ExitStack() as stack:
        check_current(graph)
        others = [graph_of(graph, copy) for copy in graph.copies]
        asked = edit.plan(graph)
        plan = step_by_step(model, asked)
        _check_description(edit)
        _check_hooks(model, plan)
        old = dict(model.named_parameters(remove_duplicate=False))
        names = {id(parameter): name for name, parameter in reversed(old.items())}
        averaged = {key: edited(graph, edit, mean) for key, mean in averages(optimizers, names).items()}
        # From here on all draw what the graph's own forward drew: the lengths of what it made may depend on that.
        stack.enter_context(drawing_from(graph.recording.streams))
        # Without a claim to check, the shapes of the outputs suffice; a claim is about the weights as they are now.
        kept = graph.recording.kept
        before = run(model, graph.inputs, kept=kept) if plan.exact else graph.recording.result
        fused = as_used(model, graph.inputs, kept) if plan is not asked and plan.exact else None
        training = bool(plan.new_modules) and graph.auxiliary and trains(graph)
        parts = [Parts.of(model, plan)]
        replaced = before_of(plan.undoes) if plan.undoes is not None else None
        finish = replaced.returning() if replaced is not None and replaced.parts[0].model is model else None
        modules = dict(model.named_modules())
        make(model, plan, undo)
        paths = paths_now(modules, model)
        kept = kept_now(kept, paths)
        after = _trace_again(graph, edit, paths)
        _check_predicted(graph, after, plan, edit)
        if plan.new_modules and plan.undoes is None:
            check_called(after, plan, _title(edit), training=training)
        if plan.exact:
            error = difference(before, after.recording.result, _decided_outputs(graph) if trusted else None)
            if not trusted:
                _check_exact(edit, error, graph, before, kept)
            if fused is not None:
                _check_unfused(edit, difference(fused, as_used(model, graph.inputs, kept)), graph, fused)
        else:
            error = difference(before, after.recording.result, _decided_outputs(graph))
        gone = outdated(kept, after.recording.kept)
        forget_kept(model, gone, undo)
        for other in others:
            parts.append(_change_copy(other, edit, plan, gone, undo, trusted))
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


def refusal(graph: Graph, edit: Edit) -> str | None:
    """Why `apply` would refuse an edit whatever the weights are, or None. The network is as it was afterwards."""
    undo: Undo = []
    try:
        with torch.inference_mode(False), torch.no_grad(), contextlib.ExitStack() as stack:
            check_current(graph)
            plan = edit.plan(graph)
            stack.enter_context(drawing_from(graph.recording.streams))
            modules = dict(graph.model.named_modules())
            make(graph.model, plan, undo)
            after = _trace_again(graph, edit, paths_now(modules, graph.model))
            _check_predicted(graph, after, plan, edit)
            difference(graph.recording.result, after.recording.result)
    except NetmorphError as error:
        return str(error)
    finally:
        for step in reversed(undo):
            step()
    return None


def _sealed(parts: Sequence[Parts], optimizers: Sequence[torch.optim.Optimizer]) -> list[Parts]:
    first, *rest = parts
    return [first.sealed(optimizers), *(part.sealed() for part in rest)]


def _change_copy(graph: Graph, edit: Edit, first: Plan, gone: Sequence[Kept], undo: Undo, trusted: bool) -> Parts:
    plan, kept = step_by_step(graph.model, edit.plan(graph)), graph.recording.kept
    if (plan.specs, plan.removed) != (first.specs, first.removed):
        raise EditError(
            f"{_title(edit)} is not possible: a copy of the model runs its lists of modules in another way than the "
            "model does, so the two would no longer have the same modules. The network was put back"
        )
    parts = Parts.of(graph.model, plan)
    before = run(graph.model, graph.inputs, kept=kept) if plan.exact else None
    modules = dict(graph.model.named_modules())
    make(graph.model, plan, undo)
    if plan.exact and not trusted:
        kept = kept_now(kept, paths_now(modules, graph.model))
        _check_exact(edit, difference(before, run(graph.model, graph.inputs, kept=kept)), graph, before, kept)
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
    found = None
    if plan.sizes:
        found = disagreement(before.recording, after.recording, plan.sizes, plan.numbers, exact=plan.exact)
    if found is not None:
        _check_repeats(after, edit, after.recording.kept)
        raise EditError(
            f"{_title(edit)} is not possible: in the edited forward {found}. It uses a size in a way that "
            "tracing cannot follow; compute it from the tensor. The network was put back"
        )


def _check_exact(edit: Edit, error: float, graph: Graph, before: Any, kept: Sequence[Kept]) -> None:
    if not error <= tolerance(graph, before):
        _check_repeats(graph, edit, kept)
        raise OutputsDiffer(
            f"{_title(edit)} should keep the network's outputs, but they differ by {error:.1e} (relative). "
            "The network was put back. This is a bug in an op rule, or the forward uses a size or an index of "
            "channels in a way that tracing cannot see"
        )


def _check_unfused(edit: Edit, error: float, graph: Graph, before: Any) -> None:
    if not error <= tolerance(graph, before):
        raise EditError(
            f"{_title(edit)} is not possible: PyTorch computes the layers around it by fused operators in eval mode "
            f"without gradients, and step by step they give other outputs ({error:.1e}, relative), where something is "
            "padded, say. Turn the fused path off (enable_nested_tensor=False, or "
            "torch.backends.mha.set_fastpath_enabled(False)), so that the network computes the same in both modes. The "
            "network was put back"
        )


def _check_repeats(graph: Graph, edit: Edit, kept: Sequence[Kept]) -> None:
    """Tell a forward that never gives the same twice from a wrong rule."""
    one, other = (run(graph.model, graph.inputs, kept=kept) for _ in range(2))
    error = difference(one, other)
    if not error <= tolerance(graph, one):
        raise EditError(
            f"{_title(edit)} cannot be checked: two runs of the same network on the same inputs differ by {error:.1e} "
            "(relative), though all random states that netmorph knows of were the same. The forward looks at a clock, "
            "say, or draws from a stream of random numbers that no module holds: hold it in an attribute of the "
            "module, or draw from PyTorch's, NumPy's or Python's own. The network was put back"
        )


def _decided_outputs(graph: Graph) -> list[frozenset[int]] | None:
    """For each output the dimensions whose length data decides; None where it decides nothing."""
    found = decided(graph.recording, graph.recording.calls)
    return None if found.start is None else [found.loose.get(value, frozenset()) for value in graph.recording.outputs]


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


def _trace_again(graph: Graph, edit: Edit, paths: Mapping[str, str]) -> Graph:
    """Args: paths: that modules have now, by those that they have in the graph."""
    try:
        return traced(
            graph.model,
            graph.inputs,
            auxiliary=graph.auxiliary,
            kept=kept_now(graph.recording.kept, paths),
            unreached=names_now(graph.unreached, paths),
        )
    except Exception as error:
        raise EditError(
            f"{_title(edit)} is not possible: {error}. The forward depends on a size that the edit changes; "
            "compute it from the tensor (x.flatten(1) instead of x.view(-1, 400)). The network was put back"
        ) from error


def _title(edit: Edit) -> str:
    return str(edit.describe())
