"""Every op rule: what it allows is exact, narrowing is masking, and it allows as much as it can."""

import functools
import itertools

import pytest
import torch
from rule_cases import ADVICE, CASES, DRAWN, FAMILY, TOGETHER, case, side_by_side

from netmorph.graph import RULES, Allow
from netmorph.testing import CheckError, check_rule

pytestmark = [pytest.mark.filterwarnings(advice) for advice in ADVICE]

# Free where the op keeps channels apart; what else the rules say of the channels of either map.
LIMITS = {
    Allow.UNIFORM: """
        layer_norm, layer_norm of all, rms_norm, group_norm, group_norm of one, group_norm of each, mean of channels,
        amax of channels, amin of channels, min of channels, any of channels, baddbmm, attention of heads,
        _assert_async, _assert_async with a message, mean of all, max of all, min of all, all of all, any of all,
        median of channels, nanmedian of channels, median of all, nanmedian of all, cosine_similarity of channels,
        baddbmm_, product with a weight summed up, aminmax of channels, nanmean of channels, column_stack of vectors,
        mse_loss averaged, l1_loss averaged, smooth_l1_loss averaged, huber_loss averaged,
        binary_cross_entropy averaged, binary_cross_entropy_with_logits averaged, kl_div averaged,
        native_layer_norm, is all true, is any true
    """,
    Allow.INEXACT: """
        linear, conv2d of activations, matmul, einsum, einsum implicit, attention with a scale,
        softmax, log_softmax, sum of channels, var of channels, std of channels, logsumexp of
        channels, var_mean correction, vector_norm of channels, _weight_norm, _weight_norm of all, item,
        sum of all, std of all, norm of all,
        is_nonzero, fused observed fake_quant,
        cdist of channels, pairwise_distance of channels, renorm_, embedding shortened,
        count_nonzero of all, prod of all, var plain, std plain, var_mean plain, std_mean plain,
        mse_loss summed up, l1_loss summed up, smooth_l1_loss summed up, huber_loss summed up,
        binary_cross_entropy summed up, binary_cross_entropy_with_logits summed up, kl_div summed up,
        _softmax, _log_softmax, _softmax_backward_data, _log_softmax_backward_data
    """,
    Allow.FROZEN: """
        attention, arange of channels, pixel_shuffle of few, chunk in unequal pieces, chunk that
        leaves a rest, split by a number, split_with_sizes of channels, tensor_split at, slice from the end,
        slice in steps, narrow of channels, select a channel, index channels, gather of channels,
        gather of the first channels, take_along_dim flat, index_select of channels, scatter_add of channels,
        index_add along channels, index_fill of channels, index_put of samples, index_put_,
        masked_scatter over channels, masked_select, nonzero, where alone, argwhere, take, bincount, unique,
        unique_consecutive,
        repeat_interleave flat by a tensor, argmax of all, roll of all, diagonal of channels, diag_embed of channels,
        fft of channels, inverse of channels, addmv, addmv_, cross_entropy, nll_loss, nll_loss of vectors,
        nll_loss of maps, ctc_loss, ctc_loss of lists, cosine_embedding_loss,
        sort of channels, sort places of channels, sort.stable of channels, topk of channels, topk places of channels,
        kthvalue of channels, mode of channels, median places of channels, argsort of channels,
        argsort.stable of channels, argmax of channels, argmin of channels, quantile of channels,
        nanquantile of channels,
        cumsum of channels, cumsum_ of channels, cumprod of channels, cumprod_ of channels, logcumsumexp of channels,
        cummax of channels, cummin of channels, diff of channels, trapezoid of channels, trapz of channels,
        cumulative_trapezoid of channels, flip of channels, roll of channels, rot90 of channels,
        multinomial, native_layer_norm_backward, convolution transposed, convolution_backward
    """,
}
ALLOWED = {" ".join(name.split()): allow for allow, names in LIMITS.items() for name in names.split(",")}
ALLOWED |= dict.fromkeys(DRAWN, Allow.INEXACT)


@functools.cache
def ran(name: str) -> frozenset[torch._ops.OpOverload]:
    """The operators of a case, whose rules hold."""
    call, maps, parameters = case(name)
    graph = check_rule(call, *maps, parameters=parameters, allow=ALLOWED.get(name, Allow.ANY))
    return frozenset(one.op for one in graph.recording.calls if one.module.startswith("call"))


@functools.cache
def ran_together(chunk: str) -> frozenset[torch._ops.OpOverload]:
    """The same of operators in one network. A number that is not finite, or a large one, would hide the others."""
    call, maps = side_by_side(TOGETHER[chunk])
    try:
        graph = check_rule(call, *maps, allow=Allow.ANY)
    except CheckError:
        for name in TOGETHER[chunk]:
            ran(name)  # says which one it is
        raise
    made = graph.model(*graph.inputs)
    assert bool(made.abs().max() < 1e6), f"one of {TOGETHER[chunk]} gives too large numbers: let it run alone"
    return frozenset(one.op for one in graph.recording.calls if one.module.startswith("call"))


@pytest.mark.parametrize("name", [name for name in CASES if name not in itertools.chain(*TOGETHER.values())])
def test_rule(name: str) -> None:
    assert ran(name)


@pytest.mark.parametrize("chunk", TOGETHER)
def test_rules_with_arguments_of_the_same_kinds(chunk: str) -> None:
    assert set(map(FAMILY.get, TOGETHER[chunk])) <= ran_together(chunk)


def test_every_rule_is_exercised() -> None:
    together = set(itertools.chain(*TOGETHER.values()))
    found = set().union(*(ran(name) for name in CASES if name not in together), *map(ran_together, TOGETHER))
    # That one takes neither float64 nor widths that fill no 16 bytes: tests/graph/test_decided.py.
    assert set(RULES) - found == {torch.ops.aten._grouped_mm.default}
    assert set(ALLOWED) <= set(CASES)
    assert not together & set(ALLOWED)
