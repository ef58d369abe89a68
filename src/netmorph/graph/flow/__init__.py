"""What new channels of a group would hold at every place of a forward, and who decides it.

Where a norm averages over channels, new ones must not change what the old ones are divided by. Two fillings allow that
(LEMON, arXiv 2310.07999), and they are all there is below twice the width:

- `MEAN`: each new channel is the mean of the old ones. Then so is the mean of all, and a variance of `v` becomes
  `v * n / m`, at every place alike.
- `ZERO`: each new channel is zero. A mean `a` becomes `a * n / m`, a sum of squares stays.

`Flow` follows a recorded forward and finds for each tensor that has the channels what its new ones would hold, with
which factor the old ones come out (`scale`), and the rows of which parameters decide it (`Maker`). What a norm needs is
demanded of these rows; a factor that a norm leaves is taken up by the next gain or reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from netmorph.graph.axis import Atom
from netmorph.graph.flow import elementwise as _elementwise  # noqa: F401  (these fill the table)
from netmorph.graph.flow import norms as _norms  # noqa: F401
from netmorph.graph.flow.layers import ATTENTION, contraction
from netmorph.graph.flow.passes import PASSES
from netmorph.graph.flow.state import Holds, Maker, Place, State
from netmorph.graph.flow.walk import Flow, place_of
from netmorph.graph.recording import Recording
from netmorph.graph.rules import REARRANGING

__all__ = ["ATTENTION", "Flow", "Holds", "Maker", "Place", "State", "followed", "place_of"]


def followed(recording: Recording, channels: Set[Atom], sizes: Mapping[Atom, int], to: int) -> Flow:
    """Walk along a recording; see `Flow`."""
    flow = Flow(recording, channels, sizes, to)
    for call in recording.calls:
        flow.call = call
        if not any(value in flow.states for value in call.values) and not call.contractions:
            continue
        if call.op in PASSES:
            PASSES[call.op](flow, call)
        elif len(call.contractions) == 1:
            contraction(flow, call)
        elif call.op in REARRANGING:
            flow.rearranged(call)
        else:
            flow.unknown(call)
        flow.note_ends(call)
    flow.finish()
    return flow
