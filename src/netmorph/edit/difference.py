"""How far apart two results of a network are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from netmorph.edit.tensors import finest
from netmorph.errors import EditError
from netmorph.graph import Graph
from netmorph.graph.axis import atoms
from netmorph.graph.record import tensors_in

# The largest relative difference of outputs that rounding may explain, with room for deep networks.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 5e-2, torch.bfloat16: 5e-2}


def difference(before: Any, after: Any, free: Sequence[frozenset[int]] | None = None) -> float:
    """The largest difference between two results, relative to the largest value of the first.

    Args:
        free: where data decides how the forward goes: for each output the dimensions whose length follows from it.
            There outputs may be longer or shorter, more or fewer, and are not compared then.

    Returns:
        NaN where an output has become NaN, or where nothing is left to compare.

    Raises:
        EditError: the results have different shapes.
    """
    ones, others = tensors_in(before), tensors_in(after)
    if len(ones) != len(others) and free is None:
        raise EditError(
            f"the edit would change how many tensors the network returns, from {len(ones)} to {len(others)}. "
            "The network was put back"
        )
    gaps: list[float] = []
    for number, (one, other) in enumerate(zip(ones, others, strict=False)):
        differing = {dim for dim, pair in enumerate(zip(one.shape, other.shape, strict=False)) if len({*pair}) > 1}
        if free is not None and one.dim() == other.dim() and differing and differing <= free[number]:
            continue
        if one.shape != other.shape:
            raise EditError(
                f"the edit would change an output's shape from {tuple(one.shape)} to {tuple(other.shape)}: the "
                "forward reshapes by a fixed size, or the module taken out changes shapes. The network was put back"
            )
        if not (one.is_floating_point() or one.is_complex()):
            gaps.append(0.0 if torch.equal(one, other) else math.inf)
        elif bool(one.isfinite().any()):
            gaps.append(gap(one, other))
    if not gaps and free is None:
        raise EditError(
            "the model's outputs on the example inputs are empty, NaN or infinite, so no edit can be checked on them; "
            "trace with inputs that give finite outputs"
        )
    return math.nan if not gaps or any(map(math.isnan, gaps)) else max(gaps)


def gap(one: Tensor, other: Tensor) -> float:
    """The largest difference of two tensors of one shape, relative to the largest value of the first; or NaN."""
    one, other = finest(one), finest(other)
    if not one.numel():
        return 0.0
    equal = (one == other) | (one.isnan() & other.isnan())  # infinities as well
    scale = torch.where(one.isfinite(), one, 0).abs().max().clamp_min(torch.finfo(torch.float64).tiny)
    return float(torch.where(equal, 0.0, (one - other).abs() / scale).max())


def tolerance(graph: Graph, result: Any) -> float:
    """By the coarsest type in use: a network of bfloat16 weights may well return float32, or norm in float32."""
    types = {tensor.dtype for tensor in (*tensors_in(result), *graph.model.parameters())}
    types |= {
        value.dtype
        for call in graph.recording.calls
        for value in call.outputs
        if any(True for axis in value.axes for _ in atoms(axis))
    }
    return max(TOLERANCE.get(dtype.to_real(), 0.0) for dtype in types)
