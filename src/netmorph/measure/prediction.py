"""What a network would cost at other widths, from its graph alone: nothing is built and nothing runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

import torch

from netmorph.graph import Graph
from netmorph.graph.axis import Atom, Axis, size
from netmorph.graph.record import Call

aten = torch.ops.aten
CONVOLUTIONS = {
    *(aten.conv1d.default, aten.conv2d.default, aten.conv3d.default),
    *(aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding),
}
TRANSPOSED = {aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input}
PRODUCTS = {aten.linear.default, aten.matmul.default, aten.mm.default, aten.bmm.default}


@dataclass(frozen=True)
class Prediction:
    """What is counted: for each product of axes, how often it is spent.

    Attributes:
        products: `(factor, axes)`: `factor` times the product of the axes' lengths.
    """

    products: tuple[tuple[int, tuple[Axis, ...]], ...]

    def at(self, sizes: Mapping[Atom, int] | None = None) -> int:
        """The number where some atoms have other sizes."""
        changed = dict(sizes or {})
        return sum(factor * prod(size(axis, changed) for axis in axes) for factor, axes in self.products)


def predict_parameters(graph: Graph) -> Prediction:
    """The number of scalars in all parameters; a shared one counts once."""
    names = {name for name, _ in graph.model.named_parameters()}
    tensors = graph.recording.tensors.items()
    return Prediction(tuple((1, tuple(value.axes)) for name, value in tensors if name in names))


def predict_flops(graph: Graph) -> Prediction:
    """The FLOPs of one forward on the example inputs in eval mode, as `flops` counts them.

    Matrix products, convolutions and attention; recurrent layers, which keep their widths, are left out.
    """
    return Prediction(tuple(product for call in graph.recording.calls for product in _products(call)))


def _products(call: Call) -> Iterable[tuple[int, tuple[Axis, ...]]]:
    """Per multiply-add two FLOPs: the elements of the result, times what each of them sums over."""
    result = tuple(call.outputs[0].axes) if call.outputs else ()
    if call.op in CONVOLUTIONS:
        yield 2, (*result, *call.args[1].axes[1:])
    elif call.op in TRANSPOSED:  # each element of the input meets each weight of its channel
        yield 2, (*call.args[0].axes, *call.args[1].axes[1:])
    elif call.op in PRODUCTS:
        yield 2, (*result, call.args[0].axes[-1])
    elif call.op in (aten.addmm.default, aten.baddbmm.default):
        yield 2, (*result, call.args[1].axes[-1])
    elif call.op is aten.scaled_dot_product_attention.default:
        query, key, value = (argument.axes for argument in call.args[:3])
        yield 2, (*query, key[-2])
        yield 2, (*query[:-1], key[-2], value[-1])
