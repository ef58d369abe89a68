"""What children of an evolution have of their parents' weights, and how they are trained then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from netmorph.run.config import EvolveConfig
from netmorph.run.names import Inheritance
from netmorph.run.rows import NetworkRecord
from netmorph.search.jobs import Birth, Training
from netmorph.search.planning import Planner, Round


class Weights(Protocol):
    """Where the weights of children come from."""

    def births(self, planner: Planner, parents: Sequence[int], round: Round) -> list[Birth]:
        """The networks of a round, with ids from `round.following` on: children of the parents in turn.

        Args:
            parents: the population, the best first.
        """
        ...

    def jobs(self, config: EvolveConfig, children: Sequence[NetworkRecord]) -> list[Training]:
        """What trains the children of a round; each is in one job."""
        ...

    def epochs(self, config: EvolveConfig) -> int:
        """How long each child is trained, at most."""
        ...


@dataclass(frozen=True)
class Inherited:
    """Each child keeps what its parent has learnt, in a copy of its own, and is trained for as long as a child is."""

    def births(self, planner: Planner, parents: Sequence[int], round: Round) -> list[Birth]:
        """See `Weights`."""
        return _children(planner, parents, round, inherit=True)

    def jobs(self, config: EvolveConfig, children: Sequence[NetworkRecord]) -> list[Training]:
        """See `Weights`."""
        return [Training(child.id, child.seed, config.recipe.epochs, recipe=child.recipe) for child in children]

    def epochs(self, config: EvolveConfig) -> int:
        """See `Weights`."""
        return config.recipe.epochs


@dataclass(frozen=True)
class Fresh:
    """Each child has its parent's structure with an edit, and nothing of its weights; it is trained like a founder."""

    def births(self, planner: Planner, parents: Sequence[int], round: Round) -> list[Birth]:
        """See `Weights`."""
        return _children(planner, parents, round, inherit=False)

    def jobs(self, config: EvolveConfig, children: Sequence[NetworkRecord]) -> list[Training]:
        """See `Weights`."""
        return [
            Training(child.id, child.seed, config.start_epochs, patience=config.start_patience, recipe=child.recipe)
            for child in children
        ]

    def epochs(self, config: EvolveConfig) -> int:
        """See `Weights`."""
        return config.start_epochs


WEIGHTS: Mapping[Inheritance, Weights] = {Inheritance.INHERITED: Inherited(), Inheritance.FRESH: Fresh()}


def _children(planner: Planner, parents: Sequence[int], round: Round, inherit: bool) -> list[Birth]:
    return [
        Birth(
            round.following + index,
            parents[index % len(parents)],
            planner.seed(round.number, index),
            inherit=inherit,
        )
        for index in range(round.children)
    ]
