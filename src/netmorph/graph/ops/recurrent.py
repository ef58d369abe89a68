"""Recurrent layers and cells: what a cell writes in one step it reads in the next, all gates of a unit at once.

A weight holds a row for each gate of each unit, `gates * hidden`. PyTorch keeps one `hidden_size` (and one `proj_size`)
for all layers and directions of a module and stacks their last states, so their units are one set of channels: one
channel map changes all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from netmorph.graph.axis import Allow, Axis, Fixed, concat, size
from netmorph.graph.contraction import Contraction
from netmorph.graph.rules import Coupling, rule
from netmorph.graph.uses import Fill, Role
from netmorph.graph.value import Value

aten = torch.ops.aten


@dataclass(frozen=True)
class Cell:
    """The weights of one layer in one direction.

    Attributes:
        inputs: `[gates * hidden, in]`.
        state: `[gates * hidden, out]`.
        biases: `[gates * hidden]` each, of either matrix, where there are any.
        projection: `[out, hidden]`; without it the hidden units come out themselves.
    """

    inputs: Value
    state: Value
    biases: Sequence[Value | None]
    projection: Value | None = None

    @property
    def out(self) -> Axis:
        """What comes out of the cell, and what it reads in the next step."""
        return self.state.axes[1]

    @property
    def hidden(self) -> Axis:
        """Its units."""
        return self.out if self.projection is None else self.projection.axes[1]


@rule(aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input)
@rule(aten.lstm.data, aten.gru.data, aten.rnn_tanh.data, aten.rnn_relu.data)
def layers(couple: Coupling, x: Value, *args: Any, **kwargs: Any) -> list[list[Axis]]:
    """`[length, batch, width]`, the other way round, or of packed sequences `[steps of all, width]`."""
    given = couple.call.named
    states, directions = _states(given["hx"]), 2 if given["bidirectional"] else 1
    cells = _cells(given["params"], int(given["num_layers"]) * directions)
    out, hidden, batch = cells[0].out, cells[0].hidden, states[0].axes[1]
    *steps, features = x.axes
    if "batch_sizes" in given:
        couple.freeze(batch, "packed sequences")
    else:
        couple.unify(steps.pop(0 if given["batch_first"] else 1), batch)
    couple.freeze(steps[0], "a recurrence runs along this axis")
    for state, axis in zip(states, (out, hidden), strict=False):
        couple.freeze(state.axes[0], "one state for each layer and direction")
        couple.unify(state.axes[2], axis)
    both, read = concat(*[out] * directions), cells[0].inputs.axes[1]
    couple.unify(read, features)
    for place, cell in enumerate(cells):
        couple.unify(cell.out, out)
        couple.unify(cell.hidden, hidden)
        couple.unify(cell.inputs.axes[1], read if place < directions else both)
        # What the last layer shows to its next step is also what comes out, where there is one direction.
        seen = couple.call.outputs[0] if place == len(cells) - 1 and directions == 1 else None
        _couple(couple, cell, x.axes[:-1], x if place < directions else None, seen)
    ends = [[state.axes[0], batch, axis] for state, axis in zip(states, (out, hidden), strict=False)]
    return [[*x.axes[:-1], both], *ends]


def _cells(params: Sequence[Value], count: int) -> list[Cell]:
    each = len(params) // count  # a projection makes the number odd
    groups = [params[at : at + each] for at in range(0, len(params), each)]
    return [Cell(w[0], w[1], w[2 : each - each % 2] or (None, None), w[-1] if each % 2 else None) for w in groups]


@rule(aten.lstm_cell.default, aten.gru_cell.default, aten.rnn_tanh_cell.default, aten.rnn_relu_cell.default)
def one_step(
    couple: Coupling,
    x: Value,
    given: Any,
    inputs: Value,
    state: Value,
    input_bias: Value | None = None,
    state_bias: Value | None = None,
) -> Any:
    """`[batch, width]`, and the states that come out."""
    cell = Cell(inputs, state, (input_bias, state_bias))
    couple.unify(cell.inputs.axes[1], x.axes[-1])
    for held in _states(given):
        couple.unify(held.axes[0], x.axes[0])
        couple.unify(held.axes[1], cell.hidden)
    _couple(couple, cell, x.axes[:-1], x, _states(given)[0])
    made = [[x.axes[0], cell.hidden] for _ in _states(given)]
    return made if len(made) > 1 else made[0]


@rule(aten._pack_padded_sequence.default)
def packed(couple: Coupling, x: Value, lengths: Value, *args: Any) -> list[list[Axis]]:
    """`[length, batch, ...]` -> `[steps of all, ...]`, and how many sequences each step has."""
    for axis in (*x.axes[:2], *lengths.axes):
        couple.freeze(axis, "packed by the lengths of sequences")
    return [[couple.fixed(0, "steps of packed sequences"), *x.axes[2:]], _counts(couple)]


@rule(aten._pad_packed_sequence.default)
def padded(couple: Coupling, x: Value, *args: Any) -> list[list[Axis]]:
    """The way back, and the lengths."""
    couple.freeze(x.axes[0], "padded by the lengths of sequences")
    return [[couple.fixed(0), couple.fixed(1), *x.axes[1:]], _counts(couple)]


def _counts(couple: Coupling) -> list[Axis]:
    return [(Fixed(length, "counted by the lengths of sequences"),) for length in couple.call.outputs[1].shape]


def _states(given: Value | Sequence[Value]) -> Sequence[Value]:
    """What is shown to the next step, and in an LSTM what its cells hold."""
    return [given] if isinstance(given, Value) else given


def _couple(couple: Coupling, cell: Cell, steps: Sequence[Axis], x: Value | None, shown: Value | None) -> None:
    """What the weights of a cell are to its channels. In each step of each sample, every matrix is used once.

    Args:
        x: what the cell reads beside its state, where that is a tensor of its own.
        shown: what it reads of the step before, where that is.
    """
    gates = cell.inputs.shape[0] // size(cell.hidden)
    rows = (Fixed(gates, "the gates of a unit"), *cell.hidden) if gates > 1 else cell.hidden
    for weight, given, bias in zip((cell.inputs, cell.state), (x, shown), cell.biases, strict=True):
        couple.unify(weight.axes[0], rows)
        _matrix(couple, weight)
        read = ((-1, 1),) if given is not None else ()
        couple.contract(Contraction((*steps, *weight.axes), weight, given, bias, read))
        if bias is not None:
            couple.unify(bias.axes[0], rows)
            couple.use(bias, 0, Role.WRITE, Fill.MEAN)  # of each gate, so that forget gates that start open do so
    couple.attribute("hidden_size", cell.hidden)
    if x is not None:
        couple.attribute("input_size", cell.inputs.axes[1])
    if cell.projection is not None:
        couple.shorter(cell.out, cell.hidden, "PyTorch knows a projection by being narrower than the hidden units")
        couple.unify(cell.projection.axes[0], cell.out)
        _matrix(couple, cell.projection)
        couple.contract(Contraction((*steps, *cell.projection.axes), cell.projection))
        couple.attribute("proj_size", cell.out)


def _matrix(couple: Coupling, weight: Value) -> None:
    """A weight `[written, read]`."""
    if not any(weight.origins):  # it cannot be told to share what it reads between copies
        reason = "the weight that reads these channels is no parameter but computed"
        couple.limit(weight.axes[1], Allow.INEXACT, reason)
    couple.use(weight, 0, Role.WRITE)
    couple.use(weight, 1, Role.READ)
