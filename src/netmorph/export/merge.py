"""One forward from several recordings: which integers follow the batch size, and what differs while training.

A recording holds numbers. Recorded again with another batch size, the numbers that follow it show themselves; recorded
again in training mode, so do dropout, batch statistics and whatever else only one mode does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from netmorph.export.errors import ExportError
from netmorph.export.watching import watched
from netmorph.graph import Graph, TraceError
from netmorph.graph.provenance import plain
from netmorph.graph.record import tensors_in
from netmorph.graph.recording import Call, Recording
from netmorph.graph.running import Inputs
from netmorph.graph.value import Value


@dataclass(frozen=True)
class PerBatch:
    """The integer `factor * batch + offset`."""

    factor: int
    offset: int


@dataclass(frozen=True)
class ByMode:
    """One argument in training mode and another in eval mode."""

    training: Any
    evaluation: Any


@dataclass(frozen=True)
class Step:
    """An operator call of the merged forward.

    Attributes:
        args: all positional arguments of the operator's schema, defaults included.
        only: the mode it is left to, where the other one does not make it: "training", "eval", or None.
        grad: whether autograd follows it, perhaps by mode.
    """

    call: Call
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    only: str | None = None
    grad: bool | ByMode = True


@dataclass
class Forward:
    """What the network computes.

    Attributes:
        result: what the model returned, with a `Value` (or `ByMode` of two) for each tensor.
        batch: the batch size that was recorded; None where no input has one.
        free: whether other batch sizes give the same calls.
        trains: whether training mode was understood too.
    """

    steps: list[Step]
    inputs: list[Value]
    tensors: dict[str, Value]
    result: Any
    constants: dict[Value, Tensor]
    batch: int | None
    free: bool = False
    trains: bool = False
    note: str = ""


class _Differs(Exception):
    """Two recordings do not correspond."""


def batch_size(inputs: Any) -> int | None:
    """The first dimension of the first tensor among the inputs that has one."""
    return next((leaf.shape[0] for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.dim()), None)


def with_batch(inputs: Any, size: int) -> Any:
    """The inputs repeated or cut to another batch size."""
    batch = batch_size(inputs)

    def repeated(leaf: Any) -> Any:
        follows = isinstance(leaf, Tensor) and leaf.dim() and leaf.shape[0] == batch
        return leaf[torch.arange(size, device=leaf.device) % leaf.shape[0]] if follows else leaf

    return tree_map(repeated, inputs)


def merged(graph: Graph) -> Forward:
    """The forward of a traced model for any batch size and both modes, as far as they can be told."""
    model, inputs, batch = graph.model, graph.inputs, batch_size(graph.inputs)
    run, steps, free, note = _evaluated(model, inputs, batch)
    if batch == 1 and not free:  # PyTorch may take another way for a single sample
        several = with_batch(inputs, 2)
        if (again := _evaluated(model, several, 2))[2]:
            inputs, batch, (run, steps, free, note) = several, 2, again
    forward = Forward(steps, run.inputs, run.tensors, _result(run), run.constants, batch, free, note=note)
    sizes = (batch + 1, batch + 2) if free and batch is not None else (batch or 0,) * 2
    try:
        training = [_record(model, inputs, size, training=True) for size in dict.fromkeys(sizes)]
        _join_modes(forward, _steps(training[0], training[-1], sizes[0]), training[0])
    except (TraceError, _Differs) as error:
        forward.note = f"{forward.note} What training mode does differently is not known: {error}".strip()
    else:
        forward.trains = True
    return forward


def _record(model: nn.Module, inputs: Inputs, batch: int | None, training: bool) -> Recording:
    return watched(model, with_batch(inputs, batch) if batch else inputs, training=training)


def _evaluated(model: nn.Module, inputs: Inputs, batch: int | None) -> tuple[Recording, list[Step], bool, str]:
    run = watched(model, inputs)
    if batch is None:
        return run, _steps(run, run, 0), False, ""
    try:
        larger = _record(model, inputs, batch + 1, training=False)
        same = len(run.constants) == len(larger.constants) and all(
            torch.equal(*pair) for pair in zip(run.constants.values(), larger.constants.values(), strict=True)
        )
        if not same:
            raise _Differs("a tensor that the forward makes or captures follows the batch size")
        return run, _steps(run, larger, batch), True, ""
    except (TraceError, _Differs) as error:
        return run, _steps(run, run, batch), False, f"It takes batches of {batch} only: {error}"


def _steps(run: Recording, larger: Recording, batch: int) -> list[Step]:
    """The calls of `run`, recorded with `batch` samples; `larger` is the same with one sample more."""
    if len(run.calls) != len(larger.calls):
        raise _Differs("with other batch sizes the forward makes other calls")
    steps = []
    for one, other in zip(run.calls, larger.calls, strict=True):
        if (one.op, one.module, one.grad) != (other.op, other.module, other.grad):
            raise _Differs(f"with other batch sizes the forward makes other calls ({one.location})")
        args, kwargs = _marked(complete(one), complete(other), batch, one.location)
        steps.append(Step(one, args, kwargs, grad=one.grad))
    return steps


def complete(call: Call) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional arguments in full, as their defaults are left out of a recording."""
    positional = [entry.name for entry in call.op._schema.arguments if not entry.kwarg_only]
    return tuple(call.named[name] for name in positional), {k: v for k, v in call.kwargs.items() if k not in positional}


def _marked(one: Any, other: Any, batch: int, where: str) -> Any:
    if isinstance(one, Value) and isinstance(other, Value):
        return one
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return type(one)(_marked(*pair, batch, where) for pair in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return {key: _marked(one[key], other[key], batch, where) for key in one}
    if isinstance(one, int) and isinstance(other, int) and not isinstance(one, bool):
        first, second = plain(one), plain(other)
        return first if first == second else PerBatch(second - first, first - (second - first) * batch)
    if type(one) is type(other) and one == other:
        return one
    raise _Differs(f"with other batch sizes an operator gets other values ({where})")


def _join_modes(forward: Forward, training: list[Step], run: Recording) -> None:
    """Put what training mode does into `forward`; `training` are the steps of `run`, recorded in that mode."""
    known = dict(zip(run.inputs, forward.inputs, strict=True))
    known |= {value: forward.tensors[name] for name, value in run.tensors.items()}
    known |= _same_constants(run.constants, forward.constants)
    ours, theirs = ([(str(step.call.op), step.call.module) for step in made] for made in (forward.steps, training))
    steps: list[Step] = []
    for tag, start, end, first, last in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        if tag == "equal":
            for step, other in zip(forward.steps[start:end], training[first:last], strict=True):
                args, kwargs = _by_mode((step.args, step.kwargs), (other.args, other.kwargs), known)
                grad = step.grad if step.grad == other.grad else ByMode(other.grad, step.grad)
                steps.append(Step(step.call, args, kwargs, grad=grad))
                known |= zip(other.call.outputs, step.call.outputs, strict=True)
            continue
        steps.extend(replace(step, only="eval") for step in forward.steps[start:end])
        for step in training[first:last]:
            args, kwargs = _translated((step.args, step.kwargs), known)
            steps.append(replace(step, args=args, kwargs=kwargs, only="training"))
    forward.constants = forward.constants | {v: t for v, t in run.constants.items() if v not in known}
    forward.steps, forward.result = steps, _by_mode(forward.result, _result(run), known)


def _same_constants(new: dict[Value, Tensor], known: dict[Value, Tensor]) -> dict[Value, Value]:
    same: dict[Value, Value] = {}
    for value, tensor in new.items():
        for candidate, other in known.items():
            if tensor.dtype == other.dtype and candidate not in same.values() and torch.equal(tensor, other):
                same[value] = candidate
                break
    return same


def _by_mode(evaluation: Any, training: Any, known: dict[Value, Value]) -> Any:
    if isinstance(training, Value):
        training = known.get(training, training)
        return evaluation if training is evaluation else ByMode(training, evaluation)
    pair = (evaluation, training)
    if all(isinstance(side, list | tuple) for side in pair) and len(evaluation) == len(training):
        return type(evaluation)(_by_mode(*entries, known) for entries in zip(*pair, strict=True))
    if all(isinstance(side, dict) for side in pair) and evaluation.keys() == training.keys():
        return {key: _by_mode(evaluation[key], training[key], known) for key in evaluation}
    if isinstance(training, list | tuple | dict):
        training = _translated(training, known)
    return evaluation if type(evaluation) is type(training) and evaluation == training else ByMode(training, evaluation)


def _translated(tree: Any, known: dict[Value, Value]) -> Any:
    return tree_map(lambda leaf: known.get(leaf, leaf) if isinstance(leaf, Value) else leaf, tree)


def _result(run: Recording) -> Any:
    """What the model returned in plain containers, with values for tensors."""
    values = {id(tensor): value for tensor, value in zip(tensors_in(run.result), run.outputs, strict=True)}
    return _plain(run.result, values)


def _plain(result: Any, values: dict[int, Value]) -> Any:
    if isinstance(result, Tensor):
        return values[id(result)]
    if isinstance(result, dict):  # and its subclasses: the outputs of transformers
        return {key: _plain(entry, values) for key, entry in result.items()}
    if isinstance(result, tuple | list):
        entries: Sequence[Any] = [_plain(entry, values) for entry in result]
        return entries if isinstance(result, list) else tuple(entries)
    if result is None or isinstance(result, bool | int | float | str):
        return int(result) if type(result) not in (bool, float, str) and isinstance(result, int) else result
    raise ExportError(
        f"the model returns {type(result).__name__}, which cannot be written as plain code; let it return tensors in "
        "tuples, lists or dicts"
    )
