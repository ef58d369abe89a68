"""The registry of how channels pass through operators, and what its entries share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from netmorph.graph.axis import Axis
from netmorph.graph.flow.state import Holds, Maker, State
from netmorph.graph.flow.walk import Flow
from netmorph.graph.recording import Call
from netmorph.graph.value import Value

Pass = Callable[[Flow, Call], None]
PASSES: dict[torch._ops.OpOverload, Pass] = {}


def passes(*ops: torch._ops.OpOverload) -> Callable[[Pass], Pass]:
    """Register how channels pass through operators."""

    def register(function: Pass) -> Pass:
        PASSES.update(dict.fromkeys(ops, function))
        return function

    return register


def settle(flow: Flow, call: Call, state: State) -> None:
    """Say what is known of all results of a call."""
    for output in call.outputs:
        flow.states[output] = state


def bent_state(flow: Flow, state: State) -> State:
    """Behind a function that leaves zero as it is, and nothing else."""
    zero = state.holds is Holds.ZERO or (state.holds is None and state.offset == 0)
    return state.derived(holds=state.holds if zero else Holds.ANY, averages=False, scales=False, is_mean=False)


def follow(flow: Flow, number: float, factor: float) -> None:
    """A number that the calling module computes with, an epsilon, has to be multiplied."""
    key = (flow.call.module, float(number))
    if flow.constants.setdefault(key, factor) != factor:
        flow.problem(f"the number {number} would have to follow in two ways")


def together(flow: Flow, call: Call, given: Sequence[tuple[Value, State]], like: State) -> State:
    """Tensors of the same channels: what is decided of one has to hold for all."""
    states = [state for _, state in given]
    if any(state.offset for state in states):
        return State(Holds.ANY, averages=False, scales=False)
    decided = {state.holds for state in states} - {None}
    holds = decided.pop() if decided else None
    axis = channel_axis(flow, call)
    if holds is not None and (decided or not all(flow.demand(state, holds, axis) for state in states)):
        holds = Holds.ANY
    shape = call.outputs[0].shape
    makers = tuple(stretched(maker, shape) for state in states for maker in state.makers)
    averages, scales = (all(getattr(state, name) for state in states) for name in ("averages", "scales"))
    moved = any(state.is_shifted for state in states)
    made = replace(like, holds=holds, makers=makers, averages=averages, scales=scales)
    return replace(made, is_shifted=moved, is_mean=False)


def stretched(maker: Maker, shape: tuple[int, ...]) -> Maker:
    """With the labels broadcast to a result's shape."""
    return maker if maker.labels is None else replace(maker, labels=maker.labels.expand(shape))


def channel_axis(flow: Flow, call: Call) -> Axis:
    """The axis of the (first) result that runs over the channels."""
    output = call.outputs[0]
    dims = flow.dims(output)
    return output.axes[dims[0]] if dims else ()
