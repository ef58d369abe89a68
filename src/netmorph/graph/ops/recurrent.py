"""Recurrent layers: opaque."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from netmorph.graph.axis import Axis, Fixed
from netmorph.graph.contraction import Contraction
from netmorph.graph.rules import Coupling, rule
from netmorph.graph.value import Value

aten = torch.ops.aten

REASON = "recurrent layers are opaque, their widths stay"


@rule(aten.lstm.input, aten.lstm.data, aten.gru.input, aten.gru.data)
@rule(aten.rnn_tanh.input, aten.rnn_tanh.data, aten.rnn_relu.input, aten.rnn_relu.data)
def layers(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> Any:
    """`[length, batch, width]` or the other way round, or of packed sequences `[steps of all, width]`."""
    return recurrent(couple, x, couple.call.named["params"])


@rule(aten.lstm_cell.default, aten.gru_cell.default, aten.rnn_tanh_cell.default, aten.rnn_relu_cell.default)
def cell(couple: Coupling, x: Value, state: Any, *weights: Value | None, **kwargs: Any) -> Any:
    """One step."""
    return recurrent(couple, x, weights)


@rule(aten._pack_padded_sequence.default, aten._pad_packed_sequence.default)
def packed(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> Any:
    """What goes into a recurrent layer, or comes out."""
    return recurrent(couple, x, ())


def recurrent(couple: Coupling, x: Value, weights: Sequence[Value | None]) -> Any:
    """Gates of a cell are segments of its weights, and its state meets itself: no width of it can change.

    In each step of each sample, every matrix (input to gates, state to gates, projection) is used once.
    """
    for value in couple.call.values:
        for axis in value.axes:
            couple.freeze(axis, REASON)
    for weight in weights:
        if weight is not None and len(weight.shape) == 2:
            couple.contract(Contraction((*x.axes[:-1], *weight.axes), weight))
    made: list[list[Axis]] = [[(Fixed(length, REASON),) for length in output.shape] for output in couple.call.outputs]
    return made if len(made) > 1 else made[0]
