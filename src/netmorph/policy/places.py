"""Where a layer can go behind an activation: one that is a module, or one that is called as a function."""

from __future__ import annotations

from netmorph.edit.blocks import IDEMPOTENT
from netmorph.edit.depth import places
from netmorph.graph import Graph
from netmorph.graph.value import Value

ACTIVATIONS = frozenset(
    """
    relu relu6 gelu silu mish sigmoid tanh hardswish hardsigmoid hardtanh leaky_relu elu selu celu softplus log_sigmoid
    threshold rrelu hardshrink softshrink prelu _prelu_kernel
    """.split()
)


def behind_activations(graph: Graph) -> dict[str, bool]:
    """The modules behind which a layer stands at an activation, and whether that changes nothing the second time.

    That is the module that gave what the activation gave. Where none did, the activation was called as a function, and
    it is the module whose output it read: what is put behind that stands in front of the activation.
    """
    possible, found = frozenset(places(graph)), dict[str, bool]()
    innermost: dict[Value, str] = {}
    for path, value in sorted(graph.recording.module_outputs.items(), key=lambda item: item[0].count(".")):
        if path in possible:
            innermost[value] = path
    for call in graph.recording.calls:
        name = call.op.overloadpacket.__name__.removesuffix("_")
        if name in ACTIVATIONS:
            at = next((innermost[value] for value in (*call.outputs, *call.values) if value in innermost), None)
            if at is not None:
                found[at] = found.get(at, False) or name in IDEMPOTENT
    return found
