"""What the axes say of the forward after an edit, against what it does."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest

import torch

from netmorph.graph.axis import Atom, size
from netmorph.graph.record import Call, Recording


def disagreement(before: Recording, after: Recording, sizes: Mapping[Atom, int]) -> str | None:
    """Where the forward of a network with other widths differs from what its axes predict.

    The same operators must run in the same order, and every result must have the predicted shape. So a forward that
    reshapes by a number of its own is found out even where the number happens to fit.

    Args:
        before: a coupled recording of the network before the edit.
        after: a recording of the edited network.
        sizes: the new sizes of the atoms that changed.

    Returns:
        The first difference with its source line, or None.
    """
    known = dict(sizes)
    for one, other in zip_longest(_calls(before), _calls(after)):
        if one is None or other is None or one.op is not other.op:
            return f"{_name(other)} runs where {_name(one)} ran before ({_place(other or one)})"
        for value, made in zip(one.outputs, other.outputs, strict=True):
            predicted = tuple(size(axis, known) for axis in value.axes)
            if predicted != made.shape:
                return (
                    f"{_name(other)} gives shape {made.shape}, but the channels that it works on make it {predicted} "
                    f"({_place(other)})"
                )
    return None


def _calls(recording: Recording) -> list[Call]:
    """Those whose number does not depend on sizes: PyTorch leaves out a copy of what is contiguous already."""
    return [call for call in recording.calls if call.op is not torch.ops.aten.contiguous.default]


def _name(call: Call | None) -> str:
    return "nothing" if call is None else str(call.op).removesuffix(".default")


def _place(call: Call) -> str:
    return f"module {call.module or '(the model itself)'!r}, {call.location}"
