"""The evolution: children of the best, by edits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from netmorph.run.names import ArmName
from netmorph.run.rows import NetworkRecord
from netmorph.search.choosing import Choosing, Selection
from netmorph.search.jobs import Birth, Training
from netmorph.search.planning import Planner, Round
from netmorph.search.weights import WEIGHTS, Weights


@dataclass(frozen=True)
class Evolution:
    """Children of the best, by edits.

    Attributes:
        weights: what children have of their parents' weights, and how they are trained.
        select: who lives on.
        name: several evolutions of one run, to be compared, go by different names.
    """

    planner: Planner
    weights: Weights
    select: Selection
    name: str = ArmName.EVOLVE

    @classmethod
    def of(cls, planner: Planner) -> Evolution:
        """As the config of the run says."""
        return cls(planner, WEIGHTS[planner.config.weights], Choosing.of(planner.config))

    def plan(self, round: Round) -> list[NetworkRecord]:
        """The founders, equal but for their random weights; later children of each survivor in turn."""
        planner = self.planner
        if round.number == 0:
            return self._founders(round)
        parents = [network.id for network in planner.networks.survivors(self.name)]
        births = self.weights.births(planner, parents, round)
        return planner.bear(births, self.name, round.number, self.weights.epochs(planner.config))

    def jobs(self, planned: Sequence[NetworkRecord]) -> list[Training]:
        """Founders until they have converged; children as their weights ask for."""
        founders = [network for network in planned if network.parent is None]
        children = [network for network in planned if network.parent is not None]
        return [
            *(self.planner.from_scratch(network) for network in founders),
            *self.weights.jobs(self.planner.config, children),
        ]

    def choose(self, number: int) -> list[int]:
        """As the selection chooses."""
        return self.select(self.planner, self.name, number)

    def parents(self) -> Iterable[int]:
        """The population, and who may come back into it."""
        return self.select.standing(self.planner, self.name)

    def _founders(self, round: Round) -> list[NetworkRecord]:
        config = self.planner.config
        births = [
            Birth(round.following + index, None, self.planner.seed(0, index), generations=0)
            for index in range(config.founders)
        ]
        return self.planner.bear(births, self.name, round.number, config.start_epochs)
