"""What notebooks and prompts show of graphs and groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netmorph.graph.axis import Allow
from netmorph.graph.uses import Role
from netmorph.showing import View

if TYPE_CHECKING:
    from netmorph.graph.group import Group
    from netmorph.graph.tracing import Graph

MAY_CHANGE = {
    Allow.ANY: "yes, exactly",
    Allow.UNIFORM: "exactly by equal copies",
    Allow.INEXACT: "not exactly",
    Allow.FROZEN: "no",
}


def of_graph(graph: Graph) -> View:
    """A row for each group."""
    groups, edits = graph.groups.values(), len(graph.journal)
    free = sum(group.allow != Allow.FROZEN for group in groups)
    made = f", {edits} edit{'s' if edits > 1 else ''} made" if edits else ""
    return View(
        f"Graph of {type(graph.model).__name__}: {len(groups)} channel groups, {free} may change{made}",
        ("group", "channels", *(f"{role.value}s" for role in Role), "may change", "because"),
        (
            (
                group.name,
                group.size,
                *(len(group.where(role)) for role in Role),
                MAY_CHANGE[group.allow],
                next(iter(group.reasons), ""),
            )
            for group in groups
        ),
    )


def of_group(group: Group) -> View:
    """A row for each place where the channels occur."""
    return View(
        f"Group {group.name}: {group.size} channels, may change: {MAY_CHANGE[group.allow]}",
        ("tensor", "dimension", "what it is to the channels"),
        ((site.tensor, site.dim, site.use.role.value) for site in group.sites),
        notes=group.reasons,
    )
