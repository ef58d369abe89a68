"""The evolution: children of the best, by edits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from netmorph.run.names import ArmName, State
from netmorph.run.rows import NetworkRecord
from netmorph.search.births import Birth
from netmorph.search.choosing import AS_ASKED, Selection
from netmorph.search.jobs import Learning
from netmorph.search.learning import GUIDES, Learner, Recipes, same, stepped, uniform
from netmorph.search.planning import Planner, Round
from netmorph.search.weights import WEIGHTS, Weights

AT_MOST = 16  # times as many children in a round as the leading arm has, for one whose children take less to train


@dataclass(frozen=True)
class Evolution:
    """Children of the best, by edits.

    A run may have several, to compare them: the first arm of the run leads, the others are baselines with founders of
    their own, and get as many training FLOPs.

    Attributes:
        weights: what children have of their parents' weights, and how they are trained.
        guide: what it learns about their edits.
        recipes: how what they are trained with differs from their parents'.
        select: who lives on.
        name: each of a run has another one.
    """

    planner: Planner
    weights: Weights
    guide: Learner = uniform
    recipes: Recipes = same
    select: Selection = AS_ASKED
    name: str = ArmName.EVOLVE

    @classmethod
    def of(cls, planner: Planner) -> Evolution:
        """As the config of the run says."""
        config = planner.config
        return cls(planner, WEIGHTS[config.weights], GUIDES[config.guide], stepped if config.mutate_recipe else same)

    def plan(self, round: Round) -> list[NetworkRecord]:
        """The founders, equal but for their random weights; later children of each survivor in turn."""
        if round.number == 0:
            return self._founders(round)
        parents = [network.id for network in self.planner.networks.survivors(self.name)]
        if not parents:
            return []
        if round.target == 0:  # it leads
            births = self._taught(self.weights.births(self.planner, parents, round))
            return self.planner.bear(births, self.name, round.number, self._epochs)
        missing = round.target - self.planner.networks.totals(self.name).flops[State.TRAINED]
        begun = len(self.planner.networks.in_round(self.name, round.number))  # where failures are made up for
        many = replace(round, children=AT_MOST * round.children)
        births = self._taught(self.weights.births(self.planner, parents, many, begun))
        return self.planner.bear_until(missing, births, self.name, round.number, self._epochs)

    def jobs(self, planned: Sequence[NetworkRecord]) -> list[Learning]:
        """Founders until they have converged; children as their weights ask for."""
        founders = [network for network in planned if network.parent is None]
        children = [network for network in planned if network.parent is not None]
        return [
            *(self.planner.from_scratch(network) for network in founders),
            *self.weights.jobs(self.planner, children),
        ]

    def choose(self, number: int) -> list[int]:
        """As the selection chooses."""
        networks, standing = self.planner.networks, self.select.standing(self.planner, self.name)
        gone = self.weights.gone(networks, standing, networks.in_round(self.name, number))
        return self.select(self.planner, self.name, number, gone)

    def parents(self) -> Iterable[int]:
        """The population, and who may come back into it."""
        return self.select.standing(self.planner, self.name)

    @property
    def _epochs(self) -> int:
        """How long a child is trained, at most."""
        return self.weights.epochs(self.planner.config)

    def _taught(self, births: Iterable[Birth]) -> list[Birth]:
        """With what was learnt about edits, and what each is trained with in place of the run's recipe."""
        guide = self.guide(self.planner.networks, self.name)
        return [replace(birth, guide=guide, recipe=self._recipe(birth)) for birth in births]

    def _recipe(self, birth: Birth) -> Mapping[str, float]:
        parent = {} if birth.parent is None else self.planner.networks[birth.parent].recipe
        # Another stream than that of its edits.
        generator = np.random.default_rng(np.random.SeedSequence(birth.seed, spawn_key=(1,)))
        return self.recipes(parent, self.planner.config.recipe, generator)

    def _founders(self, round: Round) -> list[NetworkRecord]:
        config = self.planner.config
        births = [
            Birth(round.following + index, None, self.planner.seed(0, index), generations=0)
            for index in range(config.founders)
        ]
        return self.planner.bear(births, self.name, round.number, config.start_epochs)
