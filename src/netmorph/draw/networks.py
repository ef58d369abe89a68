"""Pictures of one network: from its traced graph, or from its modules where it cannot be traced."""

from __future__ import annotations

import re

from torch import nn

from netmorph.draw.boxes import Box, Channels
from netmorph.draw.diagram import Diagram
from netmorph.draw.reading import read
from netmorph.graph import Allow, Graph
from netmorph.measure.cost import parameters
from netmorph.wording import listed

# A picture is shown to others: of the line of code that freezes a group the file is told, and not where it lies.
_FOLDERS = re.compile(r"\([^()]*[/\\](?=[^()/\\]+:\d+\))")
_MAY = {
    Allow.ANY: "may change exactly",
    Allow.UNIFORM: "may change, exactly by equal copies",
    Allow.INEXACT: "may change, not exactly",
    Allow.FROZEN: "frozen",
}


def architecture(graph: Graph, title: str = "") -> Diagram:
    """The picture of a traced network: modules in each other, what flows between them, what it costs.

    Args:
        graph: of `netmorph.trace`. One from before an edit shows the network of before.
        title: what stands above; the class of the model if there is none.
    """
    whole = read(graph)
    notes = []
    if graph.unreached:
        notes.append(f"Not reached by this forward, and not drawn: {listed(sorted(graph.unreached), limit=4)}")
    return Diagram.of(title or whole.kind, whole, groups_of(graph), notes)


def groups_of(graph: Graph) -> dict[str, Channels]:
    """What is told of each channel group."""
    found = {}
    for name, group in graph.groups.items():
        reason = _FOLDERS.sub("(", next(iter(group.reasons), ""))
        found[name] = Channels(group.size, _MAY[group.allow], group.allow == Allow.FROZEN, reason)
    return found


def module_tree(model: nn.Module, why: str, title: str = "") -> Diagram:
    """The modules of a network that cannot be traced, in the order in which they were made, with nothing between them.

    Args:
        why: the reason, which stands above the picture.
    """
    notes = (f"Modules only, as this network cannot be traced: {why}",)
    return Diagram.of(title or type(model).__name__, _tree("", model), {}, notes)


def _tree(path: str, module: nn.Module) -> Box:
    inside = tuple(_tree(f"{path}.{name}".lstrip("."), child) for name, child in module.named_children())
    return Box(path, type(module).__name__, parameters=parameters(module), inside=inside)
