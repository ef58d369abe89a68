"""Layers, products of activations, attention, concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from netmorph.graph.contraction import Contraction
from netmorph.graph.flow.passes import passes, together
from netmorph.graph.flow.state import Holds, Maker, State
from netmorph.graph.flow.walk import Flow
from netmorph.graph.recording import Call
from netmorph.graph.value import Value

aten = torch.ops.aten
ATTENTION = aten.scaled_dot_product_attention.default


@passes(aten.cat.default, aten.concat.default)
def concatenate(flow: Flow, call: Call) -> None:
    """Beside other places, or beside other channels."""
    values, dim = call.args[0], call.kwargs.get("dim", call.args[1] if len(call.args) > 1 else 0)
    values = [value for value in values if value.shape != (0,)]
    dim = int(dim) % len(values[0].shape)
    given = [(value, flow.states[value]) for value in values if value in flow.states]
    output = call.outputs[0]
    if len({state.scale for _, state in given}) > 1 or (len(given) < len(values) and given[0][1].scale != 1):
        flow.problem("channels that come with different factors are put side by side")
    along = dim in flow.dims(output)
    bare = [(value, state.derived()) for value, state in given]
    if len(given) < len(values) and not along:
        flow.states[output] = State(Holds.ANY, averages=False, scales=False)
        return
    made = together(flow, call, bare, given[0][1].derived())
    if along:  # the mean of one part is not that of all
        mean = made.holds is Holds.MEAN or any(flow.settled(state) is Holds.MEAN for _, state in given)
        made = replace(made, holds=Holds.ANY if mean else made.holds, averages=False)
    flow.states[output] = made


def contraction(flow: Flow, call: Call) -> None:
    """A layer reads and writes; a product of two activations sums over what one of them has as zeros."""
    found = call.contractions[0]
    given, weight = found.input, found.weight
    if given is None or not found.read:
        flow.unknown(call)
    elif weight.is_weight:
        _layer(flow, call, found, given, weight)
    else:
        summed = [dim for _, dim in found.read if dim in flow.dims(weight)]
        if summed:
            _product(flow, call, given, weight)
        scale = 1.0
        states = [flow.states[v] for v in (given, weight) if v in flow.states]
        for state in states:
            scale *= state.scale
        left = [v for v, place in ((given, 0), (weight, 1)) if _beyond(flow, v, [pair[place] for pair in found.read])]
        if left and flow.dims(call.outputs[0]):
            state = flow.states[left[0]]
            flow.states[call.outputs[0]] = replace(state.derived(scales=False), scale=scale)
        elif states:  # scores: a factor on the queries is one on them
            queries = next((state for state in states if state.makers and state.scales), states[0])
            made = queries.derived(holds=None, averages=False, is_mean=False, scale=scale)
            flow.states[call.outputs[0]] = replace(made, scales=queries.scales and bool(summed))


def _beyond(flow: Flow, value: Value, summed: Sequence[int]) -> bool:
    rank = len(value.shape)
    return value in flow.states and any(dim not in [s % rank for s in summed] for dim in flow.dims(value))


def _product(flow: Flow, call: Call, query: Value, key: Value) -> None:
    """Sums over channels of both: where the new ones of either are zero, the sum stays."""
    states = [flow.states.get(value) for value in (query, key)]
    flow.products.append(all(state is not None and _is_normed(flow, state) for state in states))
    for value, state in zip((query, key), states, strict=True):
        if state is not None and (
            flow.is_zero(state) or flow.demand(state, Holds.ZERO, value.axes[flow.dims(value)[0]])
        ):
            flow.handled.add(flow.where)
            return
    flow.problem("two activations are multiplied and summed over these channels, and neither can hold zeros")


def _is_normed(flow: Flow, state: State) -> bool:
    return flow.is_zero(state) and any(maker.is_gain for maker in state.makers)


def _layer(flow: Flow, call: Call, found: Contraction, given: Value, weight: Value) -> None:
    state = flow.states.get(given)
    read = [pair for pair in found.read if pair[1] in flow.dims(weight)]
    grouped = int(call.named.get("groups", 1) or 1) > 1
    output = call.outputs[0]
    for _, dim in read:
        seen = state if state is not None else State(Holds.ANY)  # of which nothing is known
        origin = weight.origins[dim]
        if origin is None or (seen.scale != 1 and flow.place(weight, dim) is None):
            flow.problem("the weights that read these channels are computed")
            continue
        for place in origin.places:
            flow.reads.setdefault(place, []).append(seen)
            if flow.read_factors.setdefault(place, 1 / seen.scale) != 1 / seen.scale:
                flow.problem("a reader would have to take several factors")
    beside = [d for d in flow.dims(given) if d - len(given.shape) not in [dim for dim, _ in read]] if state else []
    written = [(place, dim % len(output.shape)) for place, dim in found.write if place in flow.dims(weight)]
    if written:
        if grouped and state is not None:
            flow.plain(state)
        ((row, at), *_) = written
        pairs = [(weight, row)] + ([(found.bias, len(found.bias.shape) - 1)] if found.bias is not None else [])
        makers = [_writer(flow, value, dim, output, at) for value, dim in pairs]
        known = tuple(maker for maker in makers if maker is not None)
        if len(known) == len(pairs):
            flow.states[output] = State(makers=known, averages=not grouped)
        else:
            flow.states[output] = State(Holds.ANY, averages=False, scales=False)
    elif beside and state is not None:
        constant = found.bias is not None
        held = Holds.ANY if constant and state.holds is Holds.ZERO else state.holds
        if constant:
            flow.plain(state)
        shifted = state.is_shifted or constant
        flow.states[output] = state.derived(holds=held, scales=state.scales and not constant, is_shifted=shifted)
    elif flow.dims(output):
        flow.states[output] = State(Holds.ANY, averages=False, scales=False)


@passes(aten.embedding.default)
def embedding(flow: Flow, call: Call) -> None:
    """Rows are picked; the width is written."""
    weight, output = call.args[0], call.outputs[0]
    if 1 in flow.dims(weight):
        maker = _writer(flow, weight, 1, output, len(output.shape) - 1)
        flow.states[output] = State(makers=(maker,)) if maker is not None else State(Holds.ANY, averages=False)


def _writer(flow: Flow, value: Value, dim: int, output: Value, at: int) -> Maker | None:
    """What a parameter's dimension makes of dimension `at` of a result."""
    origin = flow.place(value, dim)
    if origin is None:
        return None
    shape = [-1 if place == at else 1 for place in range(len(output.shape))]
    labels = flow.rows(value, dim, origin).reshape(shape).expand(output.shape)
    return replace(flow.maker(value, dim, origin), labels=labels)


@passes(ATTENTION)
def attention(flow: Flow, call: Call) -> None:
    """Queries meet keys in a sum; values pass."""
    query, key, value = (call.named[name] for name in ("query", "key", "value"))
    states = [flow.states.get(v) for v in (query, key, value)]
    if len(query.shape) - 1 in flow.dims(query):
        _product(flow, call, query, key)
    if (states[0] is not None and states[0].scale != 1) or (states[1] is not None and states[1].scale != 1):
        flow.problem("queries or keys come with a factor")
    output = call.outputs[0]
    if not flow.dims(output):
        return
    held = states[2]
    passing = held is not None and set(flow.dims(output)) == set(flow.dims(value))
    if passing and held is not None:
        flow.states[output] = held.derived(scales=False)
    else:
        flow.states[output] = State(Holds.ANY, averages=False, scales=False)
