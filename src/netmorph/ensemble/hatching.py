"""Many networks from one that is trained: each is widened or deepened exactly, in its own way, and trained on.

What all members have in common is learnt once, by the smallest network that is inside each of them. Source:
A. Wasay et al., MotherNets: rapid deep ensemble learning, 2020.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from netmorph import widenings
from netmorph.edit import widen_all
from netmorph.edit.apply import apply
from netmorph.ensemble.selection import EnsembleError
from netmorph.graph import Graph, trace
from netmorph.policy import Mutation, mutate
from netmorph.seeds import check_seed
from netmorph.widenings import Widening

Grown = Callable[[Graph, np.random.Generator], Graph]  # grows a copy of the core, in place
Widths = Mapping[str, int]  # of channel groups, by their names


@dataclass(frozen=True)
class Mutated:
    """A member is a mutation of the core, see `netmorph.policy.Mutation`: exact edits, unless others were added."""

    mutation: Mutation = field(default_factory=Mutation)

    def __call__(self, graph: Graph, generator: np.random.Generator) -> Graph:
        """See `Grown`."""
        return mutate(graph, generator, self.mutation)


@dataclass(frozen=True)
class Widened:
    """A member has these widths.

    Attributes:
        widths: of some groups, at least as wide as the core's.
        method: how new channels are made; exact.
    """

    widths: Widths
    method: Widening = widenings.r2r

    def __call__(self, graph: Graph, generator: np.random.Generator) -> Graph:
        """See `Grown`."""
        wider = {name: to for name, to in self.widths.items() if to != graph.group(name).size}
        if not wider:
            return graph
        return apply(graph, widen_all(graph, wider, self.method, seed=int(generator.integers(2**31))))


def core_widths(members: Sequence[Widths]) -> dict[str, int]:
    """The widths of the largest network that is inside all members: the smallest of each group.

    Raises:
        EnsembleError: no members, or of different groups.
    """
    if not members or any(each.keys() != members[0].keys() for each in members):
        raise EnsembleError("a core is found of one member or more, each with a width for the same groups")
    return {name: min(each[name] for each in members) for name in members[0]}


def hatch(core: Graph, how: Grown | Sequence[Grown], count: int | None = None, *, seed: int = 0) -> list[Graph]:
    """Members of an ensemble, grown from copies of one trained network, each in its own way; the core stays.

    They compute what the core does, as far as their edits are exact, and come apart when they are trained on: each from
    new weights of its own, with samples in an order of its own (`netmorph.train.train_many`, or `train` with another
    seed each).

    Args:
        core: a trained network.
        how: what a member is grown by, one for all (`Mutated`) or one each (`Widened`), or a function of one's own.
        count: of members, where one way is given for all.
        seed: of all that is random.

    Returns:
        Graphs of the members, which share no tensor with the core.

    Raises:
        EnsembleError: ways and count do not fit.
        EditError: a member cannot be grown as asked.
    """
    check_seed(seed)
    if isinstance(how, Sequence):
        ways = list(how)
        if not ways or count not in (None, len(ways)):
            raise EnsembleError(f"{len(ways)} ways to grow make as many members, at least one; {count} were asked for")
    else:
        if count is None or count < 1:
            raise EnsembleError(f"how many members should one way make? Give a count of at least 1; got {count}")
        ways = [how] * count
    members = []
    for index, way in enumerate(ways):
        member = trace(copy.deepcopy(core.model), core.inputs, core.journal)
        members.append(way(member, np.random.default_rng([seed, index])))
    return members
