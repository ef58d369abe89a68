"""Every op rule: what it allows is exact, narrowing is masking, and it allows as much as it can."""

import pytest
import torch
from rule_cases import CASES, DRAWN, case, recorded

from netmorph.graph import RULES, Allow
from netmorph.testing import check_rule

# One of the operators tells that it would rather be called in another way.
pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")

# Free where the op keeps channels apart; what else the rules say of the channels of either map.
LIMITS = {
    Allow.UNIFORM: """
        layer_norm, layer_norm of all, rms_norm, group_norm, group_norm of one, group_norm of each, mean of channels,
        amax of channels, amin of channels, min of channels, any of channels, baddbmm, attention of heads,
        native_layer_norm,
        _assert_async, _assert_async with a message, mean of all, max of all, min of all, all of all, any of all,
        is all true,
        is any true
    """,
    Allow.INEXACT: """
        linear, conv2d of activations, matmul, einsum, einsum implicit, attention with a scale, grouped
        transposed, softmax, log_softmax, sum of channels, var of channels, std of channels, logsumexp of
        channels, var_mean correction, vector_norm of channels, _weight_norm, _weight_norm of all, item,
        sum of all, std of all, norm of all,
        is_nonzero, _softmax, _log_softmax, _softmax_backward_data, _log_softmax_backward_data
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
        unique_consecutive, diagonal of channels, addmv, bincount, multinomial, native_layer_norm_backward,
        convolution transposed, convolution_backward
    """,
}
ALLOWED = {" ".join(name.split()): allow for allow, names in LIMITS.items() for name in names.split(",")}
ALLOWED |= dict.fromkeys(DRAWN, Allow.INEXACT)


@pytest.mark.parametrize("name", CASES)
def test_rule(name: str) -> None:
    call, maps, parameters = case(name)
    check_rule(call, *maps, parameters=parameters, allow=ALLOWED.get(name, Allow.ANY))


def test_every_rule_is_exercised() -> None:
    ran = set().union(*map(recorded, CASES))
    # That one takes neither float64 nor widths that fill no 16 bytes: tests/graph/test_decided.py.
    assert set(RULES) - ran == {torch.ops.aten._grouped_mm.default}
    assert set(ALLOWED) <= set(CASES)
