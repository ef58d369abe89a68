"""What children of an evolution have of their parents' weights, and how they are trained then."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from netmorph.run.config import EvolveConfig
from netmorph.run.names import Inheritance
from netmorph.run.ranking import trained
from netmorph.run.rows import NetworkRecord
from netmorph.search.births import Birth
from netmorph.search.jobs import Joint, Learning, Training
from netmorph.search.networks import Networks
from netmorph.search.planning import Planner, Round


class Weights(ABC):
    """Where the weights of children come from."""

    @abstractmethod
    def births(self, planner: Planner, parents: Sequence[int], round: Round, begun: int = 0) -> list[Birth]:
        """The networks of a round, with ids from `round.following` on: children of the parents in turn.

        Args:
            parents: the population, the best first.
            begun: how many networks of the arm the round has already, which have had the first seeds.
        """

    @abstractmethod
    def jobs(self, planner: Planner, children: Sequence[NetworkRecord]) -> Sequence[Learning]:
        """What trains the children of a round; each is in one job."""

    def gone(self, networks: Networks, standing: Iterable[int], made: Iterable[NetworkRecord]) -> set[int]:
        """Those that cannot live on: nobody, if not told otherwise.

        Args:
            standing: the ids of the population, and of who else may come back.
            made: what the round has made.
        """
        return set()

    def epochs(self, config: EvolveConfig) -> int:
        """How long each child is trained, at most: as the recipe says, if not told otherwise."""
        return config.recipe.epochs


@dataclass(frozen=True)
class Inherited(Weights):
    """Each child keeps what its parent has learnt, in a copy of its own, and is trained for as long as a child is."""

    def births(self, planner: Planner, parents: Sequence[int], round: Round, begun: int = 0) -> list[Birth]:
        """See `Weights`."""
        return _children(planner, parents, round, begun, inherit=True)

    def jobs(self, planner: Planner, children: Sequence[NetworkRecord]) -> Sequence[Learning]:
        """See `Weights`."""
        epochs = planner.config.recipe.epochs
        return [Training(child.id, child.seed, epochs, recipe=child.recipe) for child in children]


@dataclass(frozen=True)
class Fresh(Weights):
    """Each child has its parent's structure with an edit, and nothing of its weights; it is trained like a founder."""

    def births(self, planner: Planner, parents: Sequence[int], round: Round, begun: int = 0) -> list[Birth]:
        """See `Weights`."""
        return _children(planner, parents, round, begun, inherit=False)

    def jobs(self, planner: Planner, children: Sequence[NetworkRecord]) -> Sequence[Learning]:
        """See `Weights`."""
        return [planner.from_scratch(child) for child in children]

    def epochs(self, config: EvolveConfig) -> int:
        """See `Weights`."""
        return config.start_epochs


@dataclass(frozen=True)
class Shared(Weights):
    """Children and their parents have the very same weights where an edit left them as they were, and train them.

    The population lives on in the round, as copies, so that all of a round is trained together: for each network as
    many epochs as a child has, on average. Networks of different founders have nothing in common; each family is a job.
    """

    def births(self, planner: Planner, parents: Sequence[int], round: Round, begun: int = 0) -> list[Birth]:
        """See `Weights`: first a copy of each parent, which stands for it from now on."""
        copies = [
            Birth(
                round.following + index,
                parent,
                planner.seed(round.number, begun + round.children + index),
                generations=0,
                shared=True,
            )
            for index, parent in enumerate(parents)
        ]
        behind = replace(round, following=round.following + len(copies))
        return [
            *copies,
            *(replace(birth, shared=True) for birth in _children(planner, parents, behind, begun, inherit=True)),
        ]

    def jobs(self, planner: Planner, children: Sequence[NetworkRecord]) -> Sequence[Learning]:
        """See `Weights`: one for each family."""
        families: dict[int, dict[int, int]] = {}  # ids of children, with their parents'
        for child in children:
            if child.parent is not None:
                families.setdefault(planner.networks.family(child.parent), {})[child.id] = child.parent
        epochs, networks = planner.config.recipe.epochs, {child.id: child for child in children}
        return [
            Joint(tuple(family), networks[min(family)].seed, epochs, tuple(dict.fromkeys(family.values())))
            for family in families.values()
        ]

    def gone(self, networks: Networks, standing: Iterable[int], made: Iterable[NetworkRecord]) -> set[int]:
        """See `Weights`: who left the population, for others train those weights now; and whose copy was trained on."""
        copied = {network.parent for network in trained(made) if not network.edits}
        before = {*standing} - {network.id for network in made}
        return {id for id in before if id in copied or not networks[id].survivor}


WEIGHTS: Mapping[Inheritance, Weights] = {
    Inheritance.INHERITED: Inherited(),
    Inheritance.FRESH: Fresh(),
    Inheritance.SHARED: Shared(),
}


def _children(planner: Planner, parents: Sequence[int], round: Round, begun: int, inherit: bool) -> list[Birth]:
    return [
        Birth(
            round.following + index,
            parents[index % len(parents)],
            planner.seed(round.number, begun + index),
            inherit=inherit,
        )
        for index in range(round.children)
    ]
