"""Means, variances and lengths over channels, and norms made of them."""

from __future__ import annotations

from dataclasses import replace

import torch

from netmorph.graph.axis import Axis, size
from netmorph.graph.flow.elementwise import alone
from netmorph.graph.flow.passes import bent_state, follow, passes, settle, stretched
from netmorph.graph.flow.state import Holds, Maker, State
from netmorph.graph.flow.walk import Flow
from netmorph.graph.recording import Call
from netmorph.graph.value import Value

aten = torch.ops.aten


@passes(aten.mean.dim, aten.mean.default)
@passes(aten.sum.dim_IntList, aten.sum.default, aten.linalg_vector_norm.default)
@passes(aten.var.correction, aten.var.dim, aten.std.correction, aten.std.dim)
@passes(aten.var_mean.correction, aten.std_mean.correction, aten.var_mean.dim, aten.std_mean.dim)
def reduce(flow: Flow, call: Call) -> None:
    """Over other dimensions each channel is on its own; over the channels, a mean or a sum of squares changes."""
    value = call.args[0]
    state, axes = flow.states[value], value.axes
    rank = len(value.shape)
    named = call.named
    given = named.get("dim")
    dims = range(rank) if given is None or given == [] else [given] if isinstance(given, int) else given
    over = [dim % rank for dim in dims if dim % rank in flow.dims(value)]
    name = call.op._schema.name.removeprefix("aten::")
    if not over:
        if name in ("mean", "sum"):
            alone(flow, call)
        else:
            settle(flow, call, bent_state(flow, state))
        return
    (dim,) = over if len(over) == 1 else (None,)
    if dim is None:
        flow.unknown(call)
        return
    axis = axes[dim]
    ratio = flow.ratio(axis)
    made: list[State] | None = None
    after = State(makers=state.derived().makers, averages=False, scales=False)
    if name in ("sum", "linalg_vector_norm"):
        if flow.demand(state, Holds.ZERO, axis):
            made = [replace(after, scale=state.scale)]
    elif name == "mean" and flow.settled(state) is None and not state.averages:
        if flow.demand(state, Holds.ZERO, axis):
            made = [replace(after, scale=state.scale / ratio)]
    elif name == "mean" and flow.settled(state) is Holds.ZERO:
        made = [replace(after, scale=state.scale / ratio)]
    elif name == "mean" and flow.demand(state, Holds.MEAN, axis):
        made = [replace(after, scale=state.scale, is_mean=True)]
    elif name != "mean" and len(list(dims)) == 1 and flow.demand(state, Holds.MEAN, axis):
        spread = _spread(flow, call, state, axis) ** (0.5 if "std" in name else 1.0)
        made = [replace(after, scale=spread)]
        made += [replace(after, scale=state.scale, is_mean=True)] * (len(call.outputs) - 1)
    if made is None:
        flow.problem("reduced over these channels")
        made = [State(Holds.ANY, averages=False, scales=False)] * len(call.outputs)
    else:
        flow.handled.add(flow.where)
    flow.states.update(zip(call.outputs, made, strict=True))


def _spread(flow: Flow, call: Call, state: State, axis: Axis) -> float:
    """The factor of a variance of channels that are widened by their mean."""
    before, after = size(axis, dict(flow.sizes)), size(axis, dict(flow.sizes) | dict.fromkeys(flow.channels, flow.to))
    named = call.named
    correction = named.get("correction", named.get("unbiased", True))
    less = 1 if correction is None else float(correction)
    return state.scale**2 * (before - less) / (after - less)


@passes(aten.layer_norm.default, aten.rms_norm.default)
def layer_norm(flow: Flow, call: Call) -> None:
    """Behind it the new channels are zero, whatever their gain."""
    named = call.named
    value, shape = named["input"], named["normalized_shape"]
    state = flow.states.get(value)
    if state is None:
        return
    centres = call.op is aten.layer_norm.default
    over = [dim for dim in flow.dims(value) if dim >= len(value.shape) - len(shape)]
    if not over:
        flow.unknown(call)
        return
    axis = value.axes[over[0]]
    ratio = flow.ratio(axis)
    fits = len(over) == 1 and (len(shape) == 1 or not centres)
    fits = fits and flow.demand(state, Holds.MEAN if centres else Holds.ZERO, axis)
    if not fits:  # what is done about the factor is right if the new channels are near to what they ought to be
        flow.problem("a norm averages over these channels, and nothing that writes them can make new ones fit")
    flow.handled.add(flow.where)
    epsilon = named["eps"]
    if epsilon:
        follow(flow, epsilon, state.scale**2 / ratio)
    factor = ratio**-0.5
    makers: list[Maker] = []
    for key in ("weight", "bias"):
        given, is_gain = named.get(key), key == "weight"
        if isinstance(given, Value) and given in flow.states:
            maker = next(iter(flow.states[given].makers))
            makers.append(replace(stretched(maker, value.shape), is_gain=is_gain, is_offset=not is_gain))
            if is_gain:
                flow.absorb(maker, factor, flow.states[given].offset)
        elif isinstance(given, Value):
            flow.problem("a norm's weights are computed")
    scaled = any(maker.is_gain for maker in makers)
    holds = Holds.ANY if not fits else None if centres else Holds.ZERO
    flow.states[call.outputs[0]] = State(holds, tuple(makers), 1.0 if scaled else 1 / factor, scales=scaled)
