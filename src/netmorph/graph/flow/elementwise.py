"""Element by element, and each channel on its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from netmorph.graph.flow.passes import bent_state, follow, passes, settle, stretched, together
from netmorph.graph.flow.state import Holds, State
from netmorph.graph.flow.walk import Flow
from netmorph.graph.ops.elementwise import KEEPING, overloads
from netmorph.graph.ops.space import POOLING, RESIZING
from netmorph.graph.recording import Call
from netmorph.graph.value import Value

aten = torch.ops.aten
# Zero stays zero, and a factor does not pass.
BENT = """
    gelu gelu_ silu silu_ mish mish_ tanh tanh_ hardswish hardswish_ elu elu_ selu selu_ celu celu_ hardtanh hardtanh_
    relu6 relu6_ hardshrink softshrink sin sin_ tan sinh asin atan erf erfinv expm1 log1p sign sgn floor floor_ ceil
    round trunc nan_to_num nan_to_num_
""".split()
# A positive factor passes as it is; zero stays zero.
HOMOGENEOUS = "relu relu_ leaky_relu leaky_relu_ abs abs_".split()
# Each channel is moved about or averaged on its own.
ALONE = (
    """
    dropout dropout_ feature_dropout feature_dropout_ alpha_dropout alpha_dropout_ feature_alpha_dropout neg
""".split()
    + [name for name in (*POOLING, *RESIZING) if not name.startswith("max_pool")]
)


@passes(*overloads(ALONE), *overloads([n for n in KEEPING if n in ("type_as",)]))
@passes(*(getattr(aten, name).vec for name in RESIZING))
@passes(aten.expand.default, aten.broadcast_to.default, aten.expand_as.default, aten.roll.default, aten.flip.default)
@passes(aten.repeat_interleave.self_int, aten.repeat.default)
def alone(flow: Flow, call: Call) -> None:
    """Linear, on each channel by itself."""
    state = flow.states.get(call.values[0])
    if state is None:
        return
    same = call.outputs[0].shape == call.values[0].shape and call.op in (aten.dropout.default, aten.dropout_.default)
    settle(flow, call, state if same else state.derived())


@passes(aten.pad.default, aten.constant_pad_nd.default, aten.index.Tensor, aten.index_select.default)
@passes(aten.masked_fill.Scalar)
def rearranged_or_zero(flow: Flow, call: Call) -> None:
    """Places of other dimensions are picked, or filled with zeros: both leave a mean a mean."""
    given, made = call.values[0], call.outputs[0]
    lengths = [[value.shape[dim] for dim in flow.dims(value)] for value in (given, made)]
    fill = call.named.get("value") or 0
    constant = call.named.get("mode", "constant") == "constant"
    masked = any(flow.dims(value) for value in call.values[1:])
    if given in flow.states and lengths[0] == lengths[1] and constant and fill == 0 and not masked:
        alone(flow, call)
    else:
        flow.unknown(call)


@passes(*overloads(HOMOGENEOUS))
def homogeneous(flow: Flow, call: Call) -> None:
    """`f(a * x) = a * f(x)` for positive numbers."""
    if (state := flow.states.get(call.values[0])) is not None:
        settle(flow, call, bent_state(flow, state))


@passes(*overloads(BENT))
def bent(flow: Flow, call: Call) -> None:
    """Anything that leaves zero as it is."""
    if (state := flow.states.get(call.values[0])) is not None:
        settle(flow, call, replace(bent_state(flow, state), scale=1.0) if flow.plain(state) else State(Holds.ANY))


@passes(aten.pow.Tensor_Scalar, aten.pow_.Scalar, *overloads(["square", "square_", "sqrt", "sqrt_", "rsqrt", "rsqrt_"]))
@passes(*overloads(["reciprocal", "reciprocal_"]))
def power(flow: Flow, call: Call) -> None:
    """`x ** p`: so is the factor."""
    state = flow.states.get(call.values[0])
    if state is None:
        return
    name = call.op._schema.name.removeprefix("aten::").removesuffix("_")
    exponents = {"square": 2.0, "sqrt": 0.5, "rsqrt": -0.5, "reciprocal": -1.0}
    exponent = exponents[name] if name in exponents else float(call.args[1])
    made = replace(bent_state(flow, state), scale=state.scale**exponent)
    settle(flow, call, made if exponent > 0 else replace(made, holds=Holds.ANY))


@passes(*overloads(["add", "add_", "sub", "sub_"]))
def add(flow: Flow, call: Call) -> None:
    """Two tensors, or a tensor and a number."""
    left, right = call.args[:2]
    if not isinstance(left, Value) or not isinstance(right, Value):
        _add_number(flow, call, *((left, right) if isinstance(left, Value) else (right, left)))
        return
    one, other = flow.states.get(left), flow.states.get(right)
    if one is None or other is None:
        state = one or other
        if state is not None and flow.plain(state):
            settle(flow, call, shifted(state.derived()))
        return
    one, other = (flow.level(state) if one.scale != other.scale else state for state in (one, other))
    if one.scale != other.scale:
        flow.problem("channels that come with different factors are added")
    if bool(flow.dims(left)) != bool(flow.dims(right)):
        _centred(flow, call, one if flow.dims(left) else other, other if flow.dims(left) else one)
        return
    settle(flow, call, together(flow, call, [(left, one), (right, other)], replace(one, offset=0.0)))


def shifted(state: State) -> State:
    """Something was added to all channels alike: a mean stays the mean, zeros do not."""
    holds = Holds.ANY if state.holds is Holds.ZERO else state.holds
    return replace(state, holds=holds, scales=False, is_shifted=True, is_mean=False)


def _add_number(flow: Flow, call: Call, value: Value, number: Any) -> None:
    state = flow.states[value]
    if number == 0 or isinstance(number, Value):
        settle(flow, call, state)
    elif not flow.dims(value):  # what was worked out of all channels: an epsilon has to follow
        if state.scale != 1:
            follow(flow, number, state.scale)
        settle(flow, call, state)
    elif _is_plain(flow, value) and len(state.makers) == 1:
        sign = -1 if "sub" in call.op._schema.name else 1
        settle(flow, call, replace(state, offset=state.offset + sign * number))
    elif flow.plain(state):
        settle(flow, call, shifted(state))


def _centred(flow: Flow, call: Call, state: State, reduced: State) -> None:
    """Less its mean, the mean is zero."""
    own = {maker.place for maker in state.makers} == {maker.place for maker in reduced.makers}
    if reduced.is_mean and own and "sub" in call.op._schema.name and flow.settled(state) is Holds.MEAN:
        settle(flow, call, State(Holds.ZERO, averages=False, scales=False, scale=state.scale))
    else:
        settle(flow, call, State(Holds.ANY, averages=False, scales=False, scale=state.scale))


@passes(*overloads(["mul", "mul_", "div", "div_"]))
def multiply(flow: Flow, call: Call) -> None:
    """Two tensors, or a tensor and a number; or one divided by the other."""
    left, right = call.args[:2]
    divides = "div" in call.op._schema.name
    if not isinstance(left, Value) or not isinstance(right, Value):
        value = left if isinstance(left, Value) else right
        if divides and value is right:
            flow.unknown(call)
        else:
            held = flow.states[value]
            rooted = tuple(replace(maker, is_rooted=maker.is_rooted or bool(call.roots)) for maker in held.makers)
            settle(flow, call, replace(held, makers=rooted, scales=held.offset == 0 and held.scales))
        return
    one, other = flow.states.get(left), flow.states.get(right)
    if one is not None and other is not None and flow.dims(left) and flow.dims(right):
        _times_channels(flow, call, (left, one), (right, other))
        return
    scale = (one.scale if one else 1.0) * (other.scale ** (-1 if divides else 1) if other else 1.0)
    swapped = one is None or (other is not None and not flow.dims(left) and bool(flow.dims(right)))
    state, beside = (other, one) if swapped else (one, other)
    if state is None or (divides and swapped):
        flow.unknown(call)
        return
    # A norm works out the same of channels of any size; what stands beside may come from elsewhere, too.
    scales = state.scales and (beside is None or not any(m.meets(n) for m in state.makers for n in beside.makers))
    makers = state.makers if beside is None else tuple(replace(m, labels=None) for m in state.makers)
    settle(flow, call, replace(state, scale=scale, scales=scales, makers=makers, is_mean=False))


def _times_channels(flow: Flow, call: Call, left: tuple[Value, State], right: tuple[Value, State]) -> None:
    divides = "div" in call.op._schema.name
    parameter = next((pair for pair in (right, left) if _is_plain(flow, pair[0]) or pair[1].offset), None)
    if parameter is not None and not divides and len(parameter[1].makers) == 1:
        _times_gain(flow, call, left if parameter is right else right, parameter)
        return
    (_, one), (_, other) = left, right
    scale = one.scale / other.scale if divides else one.scale * other.scale
    zero = next((state for state in (one, other) if flow.settled(state) is Holds.ZERO), None)
    if divides or (one.holds is not None and other.holds is not None and zero is None):
        settle(flow, call, State(Holds.ANY, averages=False, scales=False, scale=scale))
        return
    state = zero or (one if one.holds is None else other)
    if state.offset:
        state = State(Holds.ANY)
    apart = {maker.place for maker in one.makers}.isdisjoint(maker.place for maker in other.makers)
    settle(flow, call, replace(state, averages=False, scales=state.scales and apart, scale=scale, is_mean=False))


def _is_plain(flow: Flow, value: Value) -> bool:
    return flow.place(value, flow.dims(value)[0]) is not None


def _times_gain(flow: Flow, call: Call, given: tuple[Value, State], parameter: tuple[Value, State]) -> None:
    """A parameter with a number for each channel takes up a factor, and stands between writers and a mean."""
    (_, state), (_, gain) = given, parameter
    (maker,) = gain.makers
    if gain.scale != 1:
        flow.problem("a gain comes with a factor of its own")
    if state.scale != 1:
        flow.absorb(maker, 1 / state.scale, gain.offset)
    if flow.settled(state) is Holds.ZERO:
        gains = (replace(stretched(maker, call.outputs[0].shape), is_gain=True),)
        made = State(Holds.ZERO, gains, averages=False, scales=gain.offset == 0)
        settle(flow, call, made)
        return
    weighted = tuple(replace(m, gain=maker.place) for m in state.makers)
    averages = state.averages and gain.offset == 0 and all(m.gain is None and not m.is_gain for m in state.makers)
    settle(flow, call, replace(state, makers=weighted, averages=averages, scale=1.0, is_mean=False))
