"""Edits of `small.deep` while it trains."""

from collections.abc import Callable

import torch

from netmorph import apply, factorize, narrow, residual, undo, widen
from netmorph.edit import Edit
from netmorph.graph import Graph
from netmorph.train.history import History

AFTER: dict[int, Callable[[Graph], Edit]] = {
    1: lambda graph: widen(graph, "0", 6),
    2: lambda graph: residual(graph, "2"),
    3: lambda graph: factorize(graph, "7", 2),
    4: lambda graph: narrow(graph, "0", [0, 1, 2, 4]),
}


def by_epoch(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
    """An edit of each kind, one after each epoch; one that is taken back at once, and one that is an epoch later."""
    if len(history) in AFTER:
        return apply(graph, AFTER[len(history)](graph), optimizer)
    if len(history) == 5:
        graph = apply(graph, widen(graph, "0", 7), optimizer)
        graph = apply(graph, undo(graph), optimizer)
        return apply(graph, widen(graph, "1", 6), optimizer)
    return apply(graph, undo(graph), optimizer) if len(history) == 6 else graph


def at_random(graph: Graph, history: History, optimizer: torch.optim.Optimizer) -> Graph:
    """Some edit, or none; sometimes the last one back."""
    width, kind = graph.group("0").size, int(torch.randint(6, ()))
    if kind in (0, 4) and width < 8:
        return apply(graph, widen(graph, "0", width + 1), optimizer)
    if kind == 1 and width > 2:
        return apply(graph, narrow(graph, "0", range(width - 1)), optimizer)
    if kind == 2 and len(graph.journal) < 10:
        return apply(graph, residual(graph, "3"), optimizer)
    if kind == 3 and graph.journal and graph.journal[-1].edit.kind != "narrow":
        return apply(graph, undo(graph), optimizer)
    return graph
