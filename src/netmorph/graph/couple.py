"""The rules, applied: every value of a recording gets its axes, call by call."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from netmorph.errors import NetmorphError
from netmorph.graph.axis import Allow, Fixed, freeze, limit, size
from netmorph.graph.contraction import Contraction
from netmorph.graph.origins import derive
from netmorph.graph.recording import Call, Recording
from netmorph.graph.rules import REARRANGING, RULES, Coupling
from netmorph.graph.unify import unify
from netmorph.graph.value import Value


class UnknownOp(NetmorphError):
    """An operator of the traced model has no rule, and the user asked for an error."""


def couple(recording: Recording, coupling: Coupling, *, strict: bool = False, training: bool = False) -> None:
    """Give axes to every value of a recording by applying each call's rule, in order.

    An operator without a rule freezes whatever goes into it.

    Raises:
        UnknownOp: where `strict`, an operator has no rule.
    """
    for values in (recording.outputs, *(call.values for call in recording.calls)):
        coupling.read.update(values)
    made: dict[Value, str] = {}  # gradients, and where they were taken
    for value in recording.inputs:
        value.axes = [(Fixed(length, "the model's input"),) for length in value.shape]
        value.from_input = True
    for call in recording.calls:
        coupling.call = call
        for value in call.values:
            _constant(value)
        _apply(call, coupling, strict)
        if call.draws and not training:  # with another width, what is drawn next is another number
            for axis in itertools.chain.from_iterable(output.axes for output in call.outputs):
                coupling.limit(axis, Allow.INEXACT, "random numbers are drawn for these channels")
        coupling.made.update((output, call) for output in call.outputs if output.name is None)
        _at_gradient(call, coupling, made)
    coupling.settle()
    for value in recording.outputs:
        _at_use(value, coupling, made)
    for found in dict.fromkeys(recording.equal):
        coupling.sizes.equate(found.left, coupling.sizes.axis(found.right, found.where), found.where)
    coupling.sizes.settle()
    for value in recording.outputs:
        _constant(value)
        for axis in value.axes:
            freeze(axis, "the model's output")


def _at_gradient(call: Call, coupling: Coupling, made: dict[Value, str]) -> None:
    """What limits channels where a gradient begins, and where it is used.

    It is summed over the channels of what is differentiated; and what a copy of a channel gets is a share of it.
    """
    if call.differentiates is None:
        for value in call.values:
            _at_use(value, coupling, made)
        return
    for root in call.differentiates:
        for axis in root.axes:
            limit(axis, Allow.INEXACT, f"a gradient is summed over these channels: {coupling.where}")
    made.update(dict.fromkeys(call.outputs, coupling.where))


def _at_use(value: Value, coupling: Coupling, made: dict[Value, str]) -> None:
    for axis in value.axes if value in made else ():
        limit(axis, Allow.INEXACT, f"a gradient with respect to these channels: {made[value]}")


def contractions_of(
    op: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Sequence[Value]
) -> list[Contraction]:
    """What an operator multiplies and sums where it is called like this, outside of any recording.

    Args:
        args: the arguments, with `Value`s for tensors.
    """
    call = Call(op, args, kwargs, tuple(outputs), module="", location="")
    coupling = Coupling()
    coupling.call = call
    for value in call.values:
        _constant(value)
    _apply(call, coupling, strict=False)
    return call.contractions


def _unknown(call: Call, coupling: Coupling, strict: bool) -> None:
    advice = f"no rule for operator {call.op}; register one with @netmorph.rule(torch.ops.{call.op})"
    if strict:
        raise UnknownOp(
            f"{advice}, see docs/op-rules.md. It is called in module {call.module or '(the model itself)'!r} at "
            f"{call.location}. netmorph does not guess how an operator couples channels"
        )
    for value in call.values:
        for axis in value.axes:
            coupling.freeze(axis, advice)
    for output in call.outputs:
        _constant(output, f"{advice}: {coupling.where}")


def _apply(call: Call, coupling: Coupling, strict: bool) -> None:
    function = RULES.get(call.op)
    if function is None:
        _unknown(call, coupling, strict)
        return
    axes = function(coupling, *call.args, **call.kwargs)
    several = len(call.outputs) != 1 or (axes and isinstance(axes[0], list))
    for output, made in zip(call.outputs, axes if several else [axes], strict=True):
        if tuple(size(axis) for axis in made) != output.shape:
            raise NetmorphError(
                f"the rule of {coupling.where} gave axes of sizes {tuple(size(axis) for axis in made)} "
                f"to a result of shape {output.shape}; the rule is wrong"
            )
        if output.axes:  # an in-place change of a parameter or buffer
            for old, new in zip(output.axes, made, strict=True):
                unify(old, new, coupling.where)
        else:
            output.axes = made
    derive(call, call.op in REARRANGING)


def _constant(value: Value, reason: str = "a constant tensor that the forward makes or captures") -> None:
    """A tensor that no operator with a rule made: its sizes are fixed."""
    if not value.axes:
        value.axes = [(Fixed(length, reason),) for length in value.shape]
