"""Every op rule, on a small model that uses the op: what the rule allows is exact, and narrowing is masking."""

import pytest
import torch
from checks import EXACT, assert_true_attributes, outputs, relative, widths
from rule_cases import CASES, build

from benchmarks._masked import masked_outputs
from netmorph import apply
from netmorph.edit import narrow_all, widen_all
from netmorph.graph import RULES, Allow, trace
from netmorph.graph.record import record
from netmorph.widenings import WIDENINGS, random_pad

# One of the operators tells that it would rather be called in another way.
pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")


@pytest.mark.parametrize("name", CASES)
def test_what_the_rule_allows_is_exact(name: str) -> None:
    model, x = build(name)
    before = outputs(model, x)
    graph = trace(model, x, strict=True)
    free = [group.name for group in graph.editable()]
    for method in WIDENINGS:
        exact = {place: widths(graph.group(place)) for place in free}
        wider = {place: possible[method] for place, possible in exact.items() if method in possible}
        if wider:
            graph = apply(graph, widen_all(graph, wider, WIDENINGS[method]))
            assert graph.journal[-1].error <= EXACT[torch.float64], f"{method}: {wider}"
            assert relative(before, outputs(model, x)) <= EXACT[torch.float64], f"{method}: {wider}"
    if free:
        apply(graph, widen_all(graph, {place: 2 * graph.group(place).size for place in free}, random_pad))
    assert [tuple(t.shape) for t in outputs(model, x)] == [(2, 3)]
    assert_true_attributes(model)


@pytest.mark.parametrize("name", CASES)
def test_narrowing_is_masking(name: str) -> None:
    model, x = build(name)
    graph = trace(model, x)
    kept = {group.name: range(group.size - 1) for group in graph.editable() if group.size > 1}
    if kept:
        masked = masked_outputs(graph, kept)
        apply(graph, narrow_all(graph, kept))
        assert relative(masked, outputs(model, x)) <= EXACT[torch.float64], kept
    assert_true_attributes(model)


# Free where the op keeps channels apart; what else the rules say of the convolution's channels.
LIMITS = {
    Allow.UNIFORM: """
        layer_norm, layer_norm of all, rms_norm, group_norm, group_norm of one, group_norm of each, mean of channels,
        amax of channels, amin of channels, min of channels, any of channels, baddbmm, attention of heads,
        _assert_async, _assert_async with a message
    """,
    Allow.INEXACT: """
        linear, conv2d of activations, matmul, einsum, einsum implicit, attention with a scale, grouped
        transposed, softmax, log_softmax, sum of channels, var of channels, std of channels, logsumexp of
        channels, var_mean correction, vector_norm of channels, _weight_norm, _weight_norm of all, item,
        is_nonzero
    """,
    Allow.FROZEN: """
        lstm, gru, rnn_tanh, rnn_relu, lstm packed, gru packed, rnn_tanh packed, rnn_relu packed, lstm_cell, gru_cell,
        rnn_tanh_cell, rnn_relu_cell,
        attention, arange of channels, pad channels, pixel_shuffle of few, chunk in unequal pieces, chunk that
        leaves a rest, split by a number, split_with_sizes of channels, tensor_split at, slice from the end,
        slice in steps, narrow of channels, select a channel, index channels, gather of channels,
        take_along_dim, scatter,
        scatter.src, scatter_add, index_add along channels, index_put, index_put_, roll of channels, roll of all,
        sort, topk, kthvalue, median, mode, argsort, argmax, argmin, nonzero, cumprod, one_hot,
        unique_consecutive, diagonal of channels
    """,
}
ALLOWED = {" ".join(name.split()): allow for allow, names in LIMITS.items() for name in names.split(",")}


@pytest.mark.parametrize("name", CASES)
def test_the_channels_are_as_free_as_the_op_lets_them(name: str) -> None:
    groups = [group for group in trace(*build(name)).groups.values() if group.name.startswith("left")]
    free = [group for group in groups if not group.name.startswith("left.in")]
    assert min(group.allow for group in free) == ALLOWED.get(name, Allow.ANY), [str(group) for group in free]


def test_every_rule_is_exercised() -> None:
    recorded = set()
    for name in CASES:
        model, x = build(name)
        recorded |= {call.op for call in record(model, (x,)).calls}
    assert set(RULES) - recorded == set()
    assert set(ALLOWED) <= set(CASES)
