"""The old network out of the grown one: train small, grow, train on, and have both."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from netmorph.edit.apply import apply, check_current
from netmorph.edit.undo import forget, undo
from netmorph.errors import EditError
from netmorph.graph import Graph, trace
from netmorph.graph.journal import Entry
from netmorph.widenings import FRESH


def old_network(graph: Graph, before: Entry | None = None) -> Graph:
    """The network as it was before an edit, out of the weights of now: a module of its own, and its graph.

    Where an edit leaves what is there untouched (`r2r`, `copied_pairs`, `zero`, `random_pad`, `gradmax`, `lemon`, and
    blocks that are put in), the old network is still inside: the new channels are dropped, the blocks go. If the old
    weights were frozen since (`netmorph.train.Frozen`, or `freeze` where no norm has running statistics), it is the old
    one, bit for bit; else the old network as it has learnt on, without what the new channels did for it. Gains that
    `lemon` has multiplied under a norm are divided again, up to rounding.

    Args:
        graph: the current graph; its model stays as it is.
        before: an entry of its journal; the last one, if None.

    Returns:
        The graph of a copy, with the journal up to that edit.

    Raises:
        EditError: there is no such edit; or one since then changed what was there, so that it is not inside any more.
    """
    if not graph.journal:
        raise EditError("there is no network of before: the graph's journal is empty")
    check_current(graph)
    wanted = graph.journal[-1] if before is None else before
    place = next((place for place, entry in enumerate(graph.journal) if entry is wanted), None)
    if place is None:
        raise EditError(
            f"before= takes an entry of the graph's journal (graph.journal[2], say), and {before!r} is none of its "
            f"{len(graph.journal)}"
        )
    for entry in graph.journal[place:]:
        why = _why_not(entry)
        if why:
            raise EditError(
                f"the network before {wanted.edit} is not inside of this one: {entry.edit} {why}. As long as nothing "
                "was trained since, undo gives it back; else keep a copy before such an edit"
            )
    model = copy.deepcopy(graph.model)
    model.zero_grad(set_to_none=True)
    journal = tuple(replace(entry, before=None, inverse=_dropping(entry.inverse)) for entry in graph.journal)
    found = trace(model, graph.inputs, journal, auxiliary=graph.auxiliary)
    while len(found.journal) > place:
        found = apply(found, undo(found))
    return replace(found, journal=forget(graph).journal[:place])


def _why_not(entry: Entry) -> str:
    inverse = entry.inverse or {"kind": "none"}
    match inverse["kind"]:
        case "width" if inverse.get("keeps_old"):
            return ""
        case "width" if "keeps_old" in inverse:
            return "changed the weights with which channels are read (shares of copies, say)"
        case "width":
            return "was written by an earlier version, which did not tell whether it did"
        case "deepen" | "entry":
            return ""
        case _:
            return "changed or took out what was there"


def _dropping(inverse: dict[str, Any] | None) -> dict[str, Any] | None:
    """An inverse that drops new channels, also copies with readers of their own, whose weights an undo would add up."""
    if not inverse or not inverse.get("keeps_old"):
        return inverse
    sources = {
        name: [old if place == old else FRESH for place, old in enumerate(found)]
        for name, found in inverse["sources"].items()
    }
    return inverse | {"sources": sources}
