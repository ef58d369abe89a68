"""Inside a forward that takes gradients: operators of PyTorch's backward, and what it makes of composite ones.

A network that is differentiated while it runs arrives in smaller pieces. A gradient itself is no rule's business (see
`Coupling.is_gradient`): these rules say what meets what.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from netmorph.graph.axis import Axis, Fixed
from netmorph.graph.contraction import Contraction
from netmorph.graph.ops.elementwise import overloads, pointwise
from netmorph.graph.ops.norms import layer_norm, softmax
from netmorph.graph.ops.shapes import view
from netmorph.graph.ops.sums import convolution
from netmorph.graph.rules import Coupling, rule
from netmorph.graph.value import Value

aten = torch.ops.aten

SLOPES = """
    tanh_backward sigmoid_backward threshold_backward gelu_backward silu_backward elu_backward softplus_backward
    leaky_relu_backward hardtanh_backward mish_backward hardswish_backward hardsigmoid_backward
""".split()

rule(*overloads(SLOPES))(pointwise)
rule(aten._unsafe_view.default, rearranges=True)(view)
rule(aten._softmax.default, aten._log_softmax.default)(softmax)


@rule(aten._softmax_backward_data.default, aten._log_softmax_backward_data.default)
def softmax_slope(couple: Coupling, gradient: Value, result: Value, dim: int, *args: Any) -> list[Axis]:
    """Each gradient depends on all channels of the dimension, as each result does."""
    axes: list[Axis] = softmax(couple, Value(result.shape, result.dtype, axes=couple.broadcast(gradient, result)), dim)
    return axes


@rule(aten.native_layer_norm.default)
def native_layer_norm(couple: Coupling, x: Value, shape: Sequence[int], *args: Any) -> list[list[Axis]]:
    """The result, and the statistics that it was normalized by."""
    result: list[Axis] = layer_norm(couple, x, shape, *args)
    apart = [*x.axes[: -len(shape)], *([(Fixed(1),)] * len(shape))]
    return [result, apart, apart]


@rule(aten.native_layer_norm_backward.default)
def layer_norm_slope(couple: Coupling, gradient: Value, x: Value, shape: Any, *args: Any) -> list[list[Axis]]:
    """The gradients of the input, the weight and the bias, as far as they are asked for."""
    *_, asked = args
    axes = couple.broadcast(gradient, x)
    normalized = axes[-len(shape) :]
    if not couple.is_gradient:
        _freeze(couple, normalized)
    return [*itertools.compress((axes, normalized, normalized), asked)]


@rule(aten.convolution.default)
def any_convolution(
    couple: Coupling,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> list[Axis]:
    """A convolution of any number of dimensions."""
    if not transposed:
        axes: list[Axis] = convolution(couple, x, weight, bias, stride, padding, dilation, groups)
        return axes
    _freeze(couple, (*x.axes, *weight.axes, *(bias.axes if bias else ())))
    couple.contract(Contraction((*x.axes, *weight.axes[1:]), weight))
    return [couple.fixed(dim, "a transposed convolution in pieces") for dim in range(len(couple.shape))]


@rule(aten.convolution_backward.default)
def convolution_slope(couple: Coupling, gradient: Value, x: Value, weight: Value, *args: Any) -> list[list[Axis]]:
    """The gradients of the input, the weight and the bias, as far as they are asked for."""
    *_, transposed, _, groups, asked = args
    if transposed or groups > 1 or not couple.is_gradient:
        _freeze(couple, (*gradient.axes, *x.axes, *weight.axes))
    else:
        couple.unify(gradient.axes[1], weight.axes[0])
        couple.unify(x.axes[1], weight.axes[1])
    for _ in range(sum(asked[:2])):
        couple.contract(Contraction((*gradient.axes, *weight.axes[1:]), weight))
    return [*itertools.compress((x.axes, weight.axes, weight.axes[:1]), asked)]


def _freeze(couple: Coupling, axes: Sequence[Axis]) -> None:
    for axis in axes:
        couple.freeze(axis, "a gradient is taken through these channels")
