"""What only backward sees, in a recording: calls without gradient, functions with a backward of their own, hooks.

`watching.py` finds it; here it is put into the recording, for which all of this did not happen: it is made below
autograd.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import CodeType
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.utils._pytree import tree_leaves, tree_map

from netmorph.export.errors import ExportError
from netmorph.graph.recording import Call, Recording
from netmorph.graph.value import Value

WRITABLE = (Tensor, int, float, complex, str, torch.dtype, torch.device, type(None))


@dataclass(frozen=True)
class Applied:
    """A custom `autograd.Function`; stands in a call where otherwise the operator stands.

    Attributes:
        arguments: how many it gets.
        results: how many it returns; None for one that is not in a tuple.
        changed: the arguments that it changes in place.
    """

    function: type[Function]
    arguments: int
    results: int | None
    changed: frozenset[int]

    @functools.cached_property
    def _schema(self) -> torch.FunctionSchema:
        names = [f"{'Tensor(a!)' if n in self.changed else 'Any'} a{n}" for n in range(self.arguments)]
        results = {None: "Tensor", 1: "Tensor[]"}.get(self.results, f"({', '.join(['Tensor'] * (self.results or 0))})")
        return torch._C.parse_schema(f"autograd::applied({', '.join(names)}) -> {results}")


@dataclass(frozen=True)
class Hooked:
    """A hook that is put on a tensor, the first argument; the others are the tensors that the hook uses.

    Attributes:
        code: of the hook; the same line of a forward makes a new function each time.
        free: the names of the tensors that it uses.
    """

    hook: Callable[..., Any] = field(compare=False, repr=False)
    code: CodeType | None
    free: tuple[str, ...]

    @functools.cached_property
    def _schema(self) -> torch.FunctionSchema:
        names = "".join(f", Any a{n}" for n, _ in enumerate(self.free))
        return torch._C.parse_schema(f"autograd::hooked(Tensor(a!) self{names}) -> ()")


@dataclass
class Event:
    """A call that takes the place of the recorded calls from `start` to `end`."""

    start: int
    end: int
    call: Call


def differentiable(trained: set[Value], calls: Sequence[Call]) -> set[Value]:
    """The values whose gradient reaches one of `trained`."""
    reached = set(trained)
    for call in calls:
        if call.grad and not call.op._schema.name.startswith("aten::detach") and not reached.isdisjoint(call.values):
            reached.update(value for value in call.outputs if is_continuous(value))
    return reached


def noted(recording: Recording, calls: Sequence[Call], events: Sequence[Event]) -> Recording:
    """The recording with what autograd would do: calls without gradient say so, custom functions are single calls.

    Args:
        calls: of the recording; those that ran with gradients switched off say so.

    Raises:
        ExportError: a custom function gets or leaves behind what cannot be told.
    """
    trained = {value for value in (*recording.inputs, *recording.tensors.values()) if is_continuous(value)}
    reached = differentiable(trained, calls)
    whole: list[Call] = []
    for grad, run in itertools.groupby(calls, key=lambda call: call.grad):
        part = list(run)
        matters = not grad and any(not reached.isdisjoint(call.values) for call in part)
        whole += part if grad or matters else [replace(call, grad=True) for call in part]
    return replace(recording, calls=_collapsed(whole, events))


def _collapsed(calls: list[Call], events: Sequence[Event]) -> list[Call]:
    left: list[Call] = []
    place = 0
    same: dict[Value, Value] = {}  # what is changed in place inside stays under the name that it has outside
    inside: dict[Value, Call] = {}
    for event in events:
        left += calls[place : event.start]
        place = max(place, event.end)
        for call in calls[event.start : event.end]:
            inside.update(dict.fromkeys(call.outputs, event.call))
            if call.op._schema.is_mutable and call.values:
                source = same.get(call.values[0], call.values[0])
                same.update((output, source) for output in call.outputs if source not in inside)
        for value in event.call.outputs:
            inside.pop(value, None)
            same.pop(value, None)
        grad = calls[event.start].grad if event.start < len(calls) else True
        left.append(replace(event.call, grad=grad))
    left += calls[place:]
    renamed = [
        replace(call, args=_renamed(call.args, same), kwargs=_renamed(call.kwargs, same))
        if not same.keys().isdisjoint(call.values)
        else call
        for call in left
    ]
    for call in renamed:
        for value in call.values:
            if value in inside:
                raise ExportError(
                    f"{told(inside[value])} leaves a tensor to the forward that it does not return; let it return that"
                )
        for leaf in tree_leaves(call.args) if isinstance(custom(call), Applied) else ():
            if not isinstance(leaf, (*WRITABLE, Value)):
                raise ExportError(
                    f"{told(call)} gets an argument of type {type(leaf).__name__}, which cannot be "
                    "written as code; give it tensors and numbers"
                )
    return renamed


def custom(call: Call) -> Applied | Hooked | None:
    """What stands in a call in the place of an operator."""
    op: Any = call.op
    return op if isinstance(op, Applied | Hooked) else None


def told(call: Call) -> str:
    """The custom function or hook of a call, and where the forward uses it."""
    op = custom(call)
    if isinstance(op, Applied):
        return f"the custom function {op.function.__qualname__} (applied at {call.location})"
    return f"the hook on a tensor (registered at {call.location})"


def _renamed(tree: Any, same: dict[Value, Value]) -> Any:
    return tree_map(lambda leaf: same.get(leaf, leaf) if isinstance(leaf, Value) else leaf, tree)


def is_continuous(value: Value | Tensor) -> bool:
    """Whether a tensor of this type may have a gradient."""
    return value.dtype.is_floating_point or value.dtype.is_complex
