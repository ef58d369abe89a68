"""Widenings of different places made as one: one trace and one check of the outputs, and the journal tells each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from netmorph.edit.apply import apply
from netmorph.edit.plan import Edit, Plan
from netmorph.edit.width_edit import WidthEdit
from netmorph.graph import Graph
from netmorph.graph.journal import Entry

Shapes = dict[str, list[int]]  # of parameters and buffers, by canonical name


@dataclass(frozen=True, eq=False)
class Planned:
    """An edit, and what it plans on one graph."""

    edit: Edit
    plan: Plan

    @property
    def is_plain(self) -> bool:
        """Whether it is an exact change of widths that draws all new weights, and leaves everything else as it is."""
        inverse = self.plan.inverse
        return (
            isinstance(self.edit, WidthEdit)
            and not (self.edit.fresh or self.edit.readings or self.plan.numbers)
            and self.plan.exact
            and inverse is not None
            and not inverse["multiplied"]  # what makes up for a width depends on the others there
        )

    def goes_with(self, graph: Graph, other: Planned) -> bool:
        """Whether both are plain and have no group, attribute or dimension of a tensor in common.

        Args:
            graph: that both were planned on.
        """
        if not (self.is_plain and other.is_plain) or self.plan.sizes.keys() & other.plan.sizes.keys():
            return False
        own, theirs = ({entry[:2] for entry in one.plan.attributes} for one in (self, other))
        return not own & theirs and not _dimensions(graph, self.plan) & _dimensions(graph, other.plan)


def shapes_with(graph: Graph, plans: Sequence[Plan]) -> Shapes:
    """The shapes after edits that go with each other, of all tensors that were there before."""
    shapes = {name: list(shape) for name, shape in graph.shapes.items()}
    for plan in plans:
        shapes |= _changed(graph, shapes, plan)
    return shapes


def apply_together(
    graph: Graph,
    planned: Sequence[Planned],
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] = (),
) -> Graph:
    """Make edits that go with each other in one step, see `netmorph.apply`.

    The weights of fresh channels are drawn by the first one's seed.

    Returns:
        The new graph. Its journal has an entry for each edit, with the error of all together. As in a journal from a
        file, what they replaced is not kept: `undo` takes them back by their inverses.

    Raises:
        EditError: together they do not fit, or the outputs differ; not one was made.
    """
    edits = [one.edit for one in planned if isinstance(one.edit, WidthEdit)]
    changes = {name: channels for edit in edits for name, channels in edit.changes.items()}
    methods = " and ".join(dict.fromkeys(edit.method for edit in edits))
    after = apply(graph, WidthEdit(changes, methods, edits[0].seed, draw=edits[0].draw), optimizer)
    shapes, entries = shapes_with(graph, ()), list[Entry]()
    for one in planned:
        new = _changed(graph, shapes, one.plan)
        replaced = {name: shapes[name] for name in new}
        told = one.edit.describe()
        error = after.journal[-1].error
        # Undone in their order, each finds those before it still made: shapes are those of then, not of the plan.
        inverse = one.plan.inverse and one.plan.inverse | {"shapes": replaced}
        entries.append(Entry(told, error, [], new, list(one.plan.attributes), replaced, inverse))
        shapes |= new
    return replace(after, journal=(*graph.journal, *entries))


def _changed(graph: Graph, shapes: Mapping[str, list[int]], plan: Plan) -> Shapes:
    """The shapes of the tensors that a plan on the graph changes, where others have changed them before."""
    return {
        name: [
            now if new == old else new
            for new, old, now in zip(tensor.shape, graph.shapes[name], shapes[name], strict=True)
        ]
        for name, tensor in plan.tensors.items()
    }


def _dimensions(graph: Graph, plan: Plan) -> set[tuple[str, int]]:
    return {
        (name, dim)
        for name, tensor in plan.tensors.items()
        for dim, (new, old) in enumerate(zip(tensor.shape, graph.shapes[name], strict=True))
        if new != old
    }
