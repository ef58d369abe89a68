"""What recorded operators are called in pictures, and what of their arguments is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from netmorph.draw.boxes import CONCATENATION, PRODUCT, SUM
from netmorph.graph.recording import Call

aten = torch.ops.aten

# What only shows the same numbers under another shape, or a part of them: an edge goes through.
PASSING = {
    *(aten.view, aten.reshape, aten.flatten, aten.unflatten, aten._unsafe_view, aten.view_as, aten.reshape_as),
    *(aten.permute, aten.transpose, aten.t, aten.movedim, aten.swapaxes, aten.squeeze, aten.unsqueeze),
    *(aten.contiguous, aten.clone, aten.alias, aten.detach, aten.to, aten._to_copy, aten.type_as, aten.lift_fresh),
    *(aten.expand, aten.expand_as, aten.repeat, aten.select, aten.slice, aten.narrow, aten.index),
    *(aten.split, aten.split_with_sizes, aten.chunk, aten.unbind, aten.tensor_split, aten.unsafe_chunk),
    *(aten.dropout, aten.feature_dropout, aten.alpha_dropout, aten.feature_alpha_dropout, aten.copy_),
    *(aten.dropout_, aten.feature_dropout_, aten.alpha_dropout_, aten.feature_alpha_dropout_),
}
# What takes no more of a tensor than its size and type.
MAKING = {
    *(aten.new_zeros, aten.new_ones, aten.new_full, aten.new_empty),
    *(aten.zeros_like, aten.ones_like, aten.full_like, aten.empty_like),
}
ADDING = {aten.add, aten.add_}
MULTIPLYING = {aten.mul, aten.mul_}
ARITHMETIC = {*ADDING, *MULTIPLYING, aten.sub, aten.sub_, aten.rsub, aten.div, aten.div_, aten.pow, aten.neg}
_NAMES = {
    "cat": CONCATENATION,
    "concat": CONCATENATION,
    "stack": "stack",
    "scaled_dot_product_attention": "attention",
    "matmul": "matrix product",
    "bmm": "matrix product",
    "mm": "matrix product",
    "linear": "Linear",
    "addmm": "Linear",
    "conv1d": "Conv1d",
    "conv2d": "Conv2d",
    "conv3d": "Conv3d",
    "layer_norm": "LayerNorm",
    "group_norm": "GroupNorm",
    "batch_norm": "BatchNorm",
    "rms_norm": "RMSNorm",
    "embedding": "Embedding",
    "relu": "ReLU",
    "gelu": "GELU",
    "silu": "SiLU",
    "relu6": "ReLU6",
    "hardtanh": "ReLU6",
    "sub": "difference",
    "div": "quotient",
    "upsample_nearest2d": "upsample",
    "upsample_bilinear2d": "upsample",
    "upsample_bicubic2d": "upsample",
}


def operator(call: Call) -> str:
    """The operator in a word or two: `sum`, `attention`, `ReLU`."""
    if call.op.overloadpacket in ADDING:
        return SUM
    if call.op.overloadpacket in MULTIPLYING:
        return PRODUCT
    name = str(call.op.overloadpacket.__name__).strip("_")
    return _NAMES.get(name, name.replace("_", " "))


def detail(calls: Iterable[Call]) -> str:
    """What tells layers of one kind apart, of the first operator that has a kernel: `3×3, stride 2, 32 groups`."""
    for call in calls:
        named = call.named
        if "kernel_size" in named:
            kernel = _for_each(named["kernel_size"], len(call.values[0].shape) - 2)
            return ", ".join([_times(kernel), *_strides(named.get("stride") or kernel)])
        if "stride" in named and "weight" in named and "groups" in named:
            kernel = list(named["weight"].shape[2:])
            return ", ".join([_times(kernel), *_strides(named["stride"]), *_groups(int(named["groups"]), call)])
    return ""


def _times(numbers: Sequence[Any]) -> str:
    return "×".join(str(int(number)) for number in numbers)


def _for_each(given: Any, dims: int) -> list[int]:
    numbers = [int(number) for number in (given if isinstance(given, list | tuple) else [given])]
    return numbers * dims if len(numbers) == 1 else numbers


def _strides(given: Any) -> list[str]:
    strides = _for_each(given, 1)
    if set(strides) == {1}:
        return []
    return [f"stride {strides[0] if len(set(strides)) == 1 else _times(strides)}"]


def _groups(groups: int, call: Call) -> list[str]:
    if groups == 1:
        return []
    return ["depthwise" if groups == call.values[0].shape[1] else f"{groups} groups"]
