"""Mutation: a few edits, each drawn from a weighted set of proposals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import torch

from netmorph.edit import Edit
from netmorph.edit.apply import apply
from netmorph.errors import EditError, NetmorphError
from netmorph.graph import Allow, Graph
from netmorph.observe.samples import Samples
from netmorph.policy import proposals
from netmorph.policy.guides import Guide
from netmorph.policy.menus import Menu
from netmorph.policy.proposals import Proposal, Weighted, ask, exact
from netmorph.wording import listed

MUTATIONS_TRIED = 8  # of which not one makes an edit, before a network counts as one that cannot be edited
MENU = 8  # edits that a guide chooses from


@dataclass(frozen=True)
class Mutation:
    """How children differ from their parents.

    Attributes:
        edits: at most so many edits a child; one to that many, drawn evenly.
        locality: at most this share of the child's parameters is new, over all its edits: small steps keep what the
            parent has learnt in charge.
        proposals: what edits are drawn from, each as often as its weight says; the exact ones weigh 1 together.
        tries: draws before an edit is given up.
    """

    edits: int = 4
    locality: float = 0.75
    proposals: tuple[Weighted, ...] = field(default_factory=exact)
    tries: int = 16

    def __post_init__(self) -> None:
        for name in ("edits", "tries"):
            if getattr(self, name) < 1:
                raise NetmorphError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.locality <= 1:
            raise NetmorphError(f"locality must be a share above 0 and at most 1, got {self.locality}")
        weights = [weight for _, weight in self.proposals]
        if not all(0 <= weight < math.inf for weight in weights) or not sum(weights) > 0:
            raise NetmorphError(f"weights of proposals must be 0 or more, and one of them above 0, got {weights}")

    def adding(self, proposal: Proposal, weight: float = 1.0) -> Mutation:
        """The same with one more proposal; of weight 1 it is asked as often as the exact ones together."""
        return replace(self, proposals=(*self.proposals, Weighted(proposal, weight)))

    def draw(self, generator: np.random.Generator) -> Proposal:
        """One of the proposals."""
        spot = generator.random() * sum(weight for _, weight in self.proposals)
        for proposal, weight in self.proposals:
            if spot < weight:
                return proposal
            spot -= weight
        return self.proposals[-1].proposal  # rounding

    def as_json(self) -> dict[str, Any]:
        """Plain values that tell of it; proposals by their names.

        Raises:
            ProposalError: see `netmorph.policy.proposals.as_json`.
        """
        told = [proposals.as_json(proposal) | {"weight": weight} for proposal, weight in self.proposals]
        return {"edits": self.edits, "locality": self.locality, "proposals": told, "tries": self.tries}

    @staticmethod
    def from_json(told: dict[str, Any], given: Iterable[Proposal] = ()) -> Mutation:
        """The mutation that `as_json` told of, or one of a run that was begun when all were exact.

        Args:
            given: the user's own proposals.

        Raises:
            ProposalError: see `netmorph.policy.proposals.from_json`.
        """
        told = dict(told)
        if "proposals" not in told:
            return Mutation(proposals=exact(told.pop("deepen"), told.pop("growth")), **told)
        given = list(given)
        weighted = []
        for entry in told.pop("proposals"):
            name = {key: value for key, value in entry.items() if key != "weight"}
            weighted.append(Weighted(proposals.from_json(name, given), entry["weight"]))
        return Mutation(proposals=tuple(weighted), **told)


def mutate(
    graph: Graph,
    generator: np.random.Generator,
    mutation: Mutation,
    *,
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] = (),
    on_edit: Callable[[Graph, float], Any] = lambda graph, share: None,
    guide: Guide | None = None,
    samples: Callable[[Graph], Samples] = Samples,
) -> Graph:
    """Make random edits on the graph's model, in place.

    Args:
        optimizer: carried along, see `netmorph.apply`.
        on_edit: called after each edit with the new graph and the share of its parameters that is new.
        guide: says which of a few edits that were drawn is made, see `netmorph.policy.guides`; None takes the first.
        samples: batches and a loss, for guides that look at data.

    Returns:
        The new graph. Where nothing fits within the locality, fewer edits are made, or none.

    Raises:
        ProposalError: a proposal failed, or returned something else than an edit or None.
    """
    start = _size(graph)
    for _ in range(int(generator.integers(1, mutation.edits + 1))):
        drawn: Iterable[Edit] = _drawn(graph, generator, mutation, start)
        if guide is not None:
            drawn = _ordered(graph, generator, [*islice(drawn, MENU)], guide, samples)
        for edit in drawn:
            before = _size(graph)
            try:
                graph = apply(graph, edit, optimizer)
            except EditError:  # the forward does not follow it; the network is as it was
                continue
            on_edit(graph, max(0.0, 1 - before / _size(graph)))
            break
    return graph


def _drawn(graph: Graph, generator: np.random.Generator, mutation: Mutation, start: int) -> Iterator[Edit]:
    """Edits that fit the network and lie within the locality, each drawn when it is asked for."""
    for _ in range(mutation.tries):
        edit = ask(mutation.draw(generator), graph, generator)
        if edit is None:
            continue
        try:
            if 1 - start / (start + _grown(graph, edit, start)) <= mutation.locality:
                yield edit
        except EditError:  # it does not fit
            continue


def _ordered(
    graph: Graph,
    generator: np.random.Generator,
    drawn: Sequence[Edit],
    guide: Guide,
    samples: Callable[[Graph], Samples],
) -> list[Edit]:
    """As a guide wants them tried."""
    return [drawn[number] for number in guide(Menu(samples(graph), drawn), generator)] if drawn else []


def check_editable(graph: Graph, generator: np.random.Generator, mutation: Mutation) -> None:
    """Refuse a network of which no child would differ. The graph's model is edited, in place.

    Raises:
        NetmorphError: not one of many draws was an edit that can be made, or that lies within the locality.
        ProposalError: see `mutate`.
    """
    for proposal, _ in mutation.proposals:
        ask(proposal, graph, generator)  # whatever it draws: that it is a proposal at all
    for _ in range(MUTATIONS_TRIED):
        if mutate(graph, generator, replace(mutation, edits=1)) is not graph:
            return
    groups = graph.groups.values()
    free = sum(group.allow > Allow.FROZEN for group in groups)
    reasons = dict.fromkeys(f"{group.name}: {group.reasons[0]}" for group in groups if group.reasons)
    if not free:
        why = f"all its {len(groups)} groups of channels are frozen"
    else:
        why = f"{free} of its {len(groups)} groups may change, but no edit fits (locality {mutation.locality:g})"
    raise NetmorphError(
        f"nothing in {type(graph.model).__name__} can be edited, so an evolution would train copies: {why}"
        + (f" ({listed([*reasons], '; ', 4)})" if reasons else "")
        + ". `netmorph groups` lists them all; netmorph train trains the network as it is"
    )


def _grown(graph: Graph, edit: Edit, start: int) -> int:
    """How many parameters the network would have beyond `start`, with this edit made as well."""
    plan = edit.plan(graph)
    old = dict(graph.model.named_parameters())
    new = sum(plan.tensors[name].numel() - old[name].numel() for name in plan.tensors if name in old)
    for path, module in plan.modules.items():
        before = sum(parameter.numel() for parameter in graph.model.get_submodule(path).parameters())
        new += sum(parameter.numel() for parameter in module.parameters()) - before
    new += sum(parameter.numel() for module in plan.inserted.values() for parameter in module.parameters())
    gone = map(graph.model.get_submodule, plan.removed)
    new -= sum(parameter.numel() for module in gone for parameter in module.parameters())
    return _size(graph) + new - start


def _size(graph: Graph) -> int:
    return sum(parameter.numel() for parameter in graph.model.parameters())
