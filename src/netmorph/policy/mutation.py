"""Mutation: a few edits, each drawn from a weighted set of proposals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import islice, pairwise
from typing import Any

import numpy as np
import torch

from netmorph.edit import Edit, Plan
from netmorph.edit.apply import apply
from netmorph.edit.together import Planned, apply_together, shapes_with
from netmorph.edit.width_edit import WidthEdit
from netmorph.errors import EditError, NetmorphError
from netmorph.graph import Allow, Graph
from netmorph.graph.axis import size
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
    on_edits: Callable[[Graph, Sequence[float]], Any] = lambda graph, shares: None,
    guide: Guide | None = None,
    samples: Callable[[Graph], Samples] = Samples,
) -> Graph:
    """Make random edits on the graph's model, in place.

    Those that widen different places are made as one, and checked once. If together they fail, each is made by itself.

    Args:
        optimizer: carried along, see `netmorph.apply`.
        on_edits: called after each step with the new graph and, for each edit of the step (the last ones of the
            journal), the share of its parameters that is new.
        guide: says which of a few edits that were drawn is made, see `netmorph.policy.guides`; None takes the first.
        samples: batches and a loss, for guides that look at data.

    Returns:
        The new graph. Where nothing fits within the locality, fewer edits are made, or none.

    Raises:
        ProposalError: a proposal failed, or returned something else than an edit or None.
    """
    draw = _Draw(generator, mutation, _size(graph), guide, samples)
    drawn_from = graph
    together, alone = draw.beside_each_other(graph, int(generator.integers(1, mutation.edits + 1)))
    if len(together) > 1:
        try:
            graph = apply_together(graph, together, optimizer)
        except EditError:  # one of them, or what they are together; the network is as it was
            alone = [*together, *alone]
        else:
            on_edits(graph, _shares(graph, drawn_from, len(together)))
    else:
        alone = [*together, *alone]
    for drawn in alone:
        for edit in draw.for_a_turn(graph, drawn, drawn_from):
            before = _size(graph)
            try:
                graph = apply(graph, edit, optimizer)
            except EditError:  # the forward does not follow it; the network is as it was
                continue
            on_edits(graph, [max(0.0, 1 - before / _size(graph))])
            break
    return graph


UNPLANNED = Plan(exact=False)  # of an edit that goes with no other: to plan a layer takes several runs


@dataclass(frozen=True, eq=False)
class _Drawn(Planned):
    """An edit, and what drew it."""

    proposal: Proposal


@dataclass(frozen=True)
class _Draw:
    """Where the edits of one child come from. `start`: the parameters of its parent. The rest: see `mutate`."""

    generator: np.random.Generator
    mutation: Mutation
    start: int
    guide: Guide | None
    samples: Callable[[Graph], Samples]

    def beside_each_other(self, graph: Graph, turns: int) -> tuple[list[_Drawn], list[_Drawn]]:
        """Edits for so many turns at most, drawn from this graph: those that are made together, and each of the others.

        What does not go with the others is made after them, rather than drawn again: kinds come as often as they are
        asked.
        """
        together, alone = list[_Drawn](), list[_Drawn]()
        seen = cache(partial(self.samples, graph))
        for _ in range(turns):
            drawn = next(self._offered(graph, together, seen), None)
            if drawn is not None:
                fits = drawn.is_plain and all(drawn.goes_with(graph, other) for other in together)
                (together if fits else alone).append(drawn)
        return together, alone

    def for_a_turn(self, graph: Graph, first: _Drawn, drawn_from: Graph) -> Iterator[Edit]:
        """An edit that was drawn before, or what its proposal draws where its place is another one now; then others."""
        if graph is drawn_from and first.plan is not UNPLANNED:
            yield first.edit
        else:
            place = first.edit.describe().layer
            is_there = graph.modules.keys() == drawn_from.modules.keys()
            is_same = is_there and _widths_at(graph, place) == _widths_at(drawn_from, place)
            edit = first.edit if is_same else ask(first.proposal, graph, self.generator)
            if edit is not None and self._planned(graph, edit, first.proposal, ()) is not None:
                yield edit
        for other in self._offered(graph, (), partial(self.samples, graph)):
            yield other.edit

    def _offered(self, graph: Graph, beside: Sequence[_Drawn], seen: Callable[[], Samples]) -> Iterator[_Drawn]:
        """Edits in the order in which they are tried, beside others that are not made yet."""
        drawn = self._drawn(graph, beside)
        if self.guide is None:
            yield from drawn
        elif menu := [*islice(drawn, MENU)]:
            for number in self.guide(Menu(seen(), [planned.edit for planned in menu]), self.generator):
                yield menu[number]

    def _drawn(self, graph: Graph, beside: Sequence[_Drawn]) -> Iterator[_Drawn]:
        """Edits that fit the network and lie within the locality, each drawn when it is asked for."""
        for _ in range(self.mutation.tries):
            proposal = self.mutation.draw(self.generator)
            edit = ask(proposal, graph, self.generator)
            if edit is None:
                continue
            if beside and not isinstance(edit, WidthEdit):  # it comes after them, and is planned then
                yield _Drawn(edit, UNPLANNED, proposal)
            elif (planned := self._planned(graph, edit, proposal, beside)) is not None:
                yield planned

    def _planned(self, graph: Graph, edit: Edit, proposal: Proposal, beside: Sequence[_Drawn]) -> _Drawn | None:
        """An edit with its plan; None where it does not fit, or not within the locality."""
        try:
            planned = _Drawn(edit, edit.plan(graph), proposal)
        except EditError:
            return None
        both = all(planned.goes_with(graph, other) for other in beside)  # others are drawn again if it comes to that
        parameters = _size_with(graph, [one.plan for one in ((*beside, planned) if both else (planned,))])
        return planned if 1 - self.start / parameters <= self.mutation.locality else None


def _widths_at(graph: Graph, place: str) -> list[int]:
    """The lengths of what a module returned; none for what is no module."""
    return [size(axis) for axis in graph.channels.get(place, ())]


def _shares(graph: Graph, before: Graph, edits: int) -> list[float]:
    """Of each of the last edits, which were made together: the share of the parameters that it brought."""
    sizes = [_size_of(before, shapes := {name: list(shape) for name, shape in before.shapes.items()})]
    for entry in graph.journal[-edits:]:
        shapes |= entry.shapes
        sizes.append(_size_of(before, shapes))
    return [max(0.0, 1 - one / other) for one, other in pairwise(sizes)]


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


def _size_with(graph: Graph, plans: Sequence[Plan]) -> int:
    """How many parameters the network would have with these edits, which go with each other, or with a single one."""
    if len(plans) > 1:
        return _size_of(graph, shapes_with(graph, plans))
    (plan,) = plans
    old = dict(graph.model.named_parameters())
    new = sum(plan.tensors[name].numel() - old[name].numel() for name in plan.tensors if name in old)
    for path, module in plan.modules.items():
        before = sum(parameter.numel() for parameter in graph.model.get_submodule(path).parameters())
        new += sum(parameter.numel() for parameter in module.parameters()) - before
    new += sum(parameter.numel() for module in plan.inserted.values() for parameter in module.parameters())
    gone = map(graph.model.get_submodule, plan.removed)
    new -= sum(parameter.numel() for module in gone for parameter in module.parameters())
    return _size(graph) + new


def _size_of(graph: Graph, shapes: Mapping[str, Sequence[int]]) -> int:
    """Parameters of a network of these shapes, of which the graph tells which are parameters."""
    return sum(math.prod(shapes[name]) for name, _ in graph.model.named_parameters())


def _size(graph: Graph) -> int:
    return sum(parameter.numel() for parameter in graph.model.parameters())
