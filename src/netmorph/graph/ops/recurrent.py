"""Recurrent layers: opaque."""

from __future__ import annotations

from typing import Any

import torch

from netmorph.graph.axis import Axis, Fixed
from netmorph.graph.rules import Coupling, rule

aten = torch.ops.aten

REASON = "recurrent layers are opaque, their widths stay"


@rule(aten.lstm.input, aten.lstm.data, aten.gru.input, aten.gru.data)
@rule(aten.rnn_tanh.input, aten.rnn_tanh.data, aten.rnn_relu.input, aten.rnn_relu.data)
@rule(aten._pack_padded_sequence.default, aten._pad_packed_sequence.default)
@rule(aten.lstm_cell.default, aten.gru_cell.default, aten.rnn_tanh_cell.default, aten.rnn_relu_cell.default)
def recurrent(couple: Coupling, *args: Any, **kwargs: Any) -> Any:
    """Gates of a cell are segments of its weights, and its state meets itself: no width of it can change."""
    for value in couple.call.values:
        for axis in value.axes:
            couple.freeze(axis, REASON)
    made: list[list[Axis]] = [[(Fixed(length, REASON),) for length in output.shape] for output in couple.call.outputs]
    return made if len(made) > 1 else made[0]
