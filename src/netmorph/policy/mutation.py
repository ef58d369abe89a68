"""Mutation: a few exact edits, with kind, place and size drawn at random."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from netmorph.edit import Edit
from netmorph.edit.apply import apply
from netmorph.edit.blocks import IDEMPOTENT
from netmorph.edit.depth import identity, residual
from netmorph.edit.width import widen
from netmorph.errors import EditError, NetmorphError
from netmorph.graph import Allow, Graph
from netmorph.graph.axis import atoms
from netmorph.widenings import Widening, r2r, unequal_split


@dataclass(frozen=True)
class Mutation:
    """How children differ from their parents.

    Attributes:
        edits: at most so many edits a child; one to that many, drawn evenly.
        locality: at most this share of the child's parameters is new, over all its edits: small steps keep what the
            parent has learnt in charge.
        growth: the widest factor by which one edit widens a group.
        deepen: the probability that an edit adds a layer; otherwise it widens.
        tries: draws before an edit is given up.
    """

    edits: int = 4
    locality: float = 0.75
    growth: float = 3.0
    deepen: float = 0.25
    tries: int = 16

    def __post_init__(self) -> None:
        for name in ("edits", "tries"):
            if getattr(self, name) < 1:
                raise NetmorphError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.locality <= 1:
            raise NetmorphError(f"locality must be a share above 0 and at most 1, got {self.locality}")
        if not 1 < self.growth < math.inf:
            raise NetmorphError(f"growth must be a factor above 1, got {self.growth}")
        if not 0 <= self.deepen <= 1:
            raise NetmorphError(f"deepen must be a probability from 0 to 1, got {self.deepen}")


def mutate(
    graph: Graph,
    generator: np.random.Generator,
    mutation: Mutation,
    *,
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] = (),
    on_edit: Callable[[Graph, float], Any] = lambda graph, share: None,
) -> Graph:
    """Make random exact edits on the graph's model, in place.

    Args:
        optimizer: carried along, see `netmorph.apply`.
        on_edit: called after each edit with the new graph and the share of its parameters that is new.

    Returns:
        The new graph. Where nothing fits within the locality, fewer edits are made, or none.
    """
    start = _size(graph)
    for _ in range(int(generator.integers(1, mutation.edits + 1))):
        for _ in range(mutation.tries):
            draw = deepen_somewhere if generator.random() < mutation.deepen else widen_somewhere
            edit = draw(graph, generator, mutation)
            if edit is None or (1 - start / (start + _grown(graph, edit, start))) > mutation.locality:
                continue
            before = _size(graph)
            try:
                graph = apply(graph, edit, optimizer)
            except EditError:  # the forward does not follow this edit; the network is as it was
                continue
            on_edit(graph, 1 - before / _size(graph))
            break
    return graph


def widen_somewhere(graph: Graph, generator: np.random.Generator, mutation: Mutation) -> Edit | None:
    """A random group, a random exact way that trains well from the first step, a random width."""
    groups = [group for group in graph.groups.values() if group.allow >= Allow.UNIFORM]
    if not groups:
        return None
    group = groups[generator.integers(len(groups))]
    factor = generator.uniform(1, mutation.growth)
    to = max(group.size + 1, round(group.size * factor))
    method: Widening = (r2r, unequal_split)[generator.integers(2)]
    if group.allow == Allow.UNIFORM:  # only whole multiples are exact
        to, method = 2 * group.size, unequal_split
    return widen(graph, group.name, to, method, seed=int(generator.integers(2**31)))


def deepen_somewhere(graph: Graph, generator: np.random.Generator, mutation: Mutation) -> Edit | None:
    """A random layer that passes its input on, behind a random activation."""
    modules = dict(graph.model.named_modules())
    places = [
        path
        for path, axes in graph.channels.items()
        if isinstance(modules.get(path), tuple(IDEMPOTENT.values()))
        and any(atom.allow == Allow.ANY for axis in axes for atom in atoms(axis))
    ]
    if not places:
        return None
    after = places[generator.integers(len(places))]
    if generator.integers(2):
        return identity(graph, after)
    return residual(graph, after, seed=int(generator.integers(2**31)))


def _grown(graph: Graph, edit: Edit, start: int) -> int:
    """How many parameters the network would have beyond `start`, with this edit made as well."""
    plan = edit.plan(graph)
    old = dict(graph.model.named_parameters())
    new = sum(plan.tensors[name].numel() - old[name].numel() for name in plan.tensors if name in old)
    for path, module in plan.modules.items():
        before = sum(parameter.numel() for parameter in graph.model.get_submodule(path).parameters())
        new += sum(parameter.numel() for parameter in module.parameters()) - before
    return _size(graph) + new - start


def _size(graph: Graph) -> int:
    return sum(parameter.numel() for parameter in graph.model.parameters())
