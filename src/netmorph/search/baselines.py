"""What an evolution is compared with: the start network trained on, and random networks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from netmorph.policy.selection import Candidate, contenders
from netmorph.run.names import ArmName, State
from netmorph.run.ranking import spent
from netmorph.run.rows import NetworkRecord
from netmorph.search.descent import candidates, chosen
from netmorph.search.jobs import Birth, Training
from netmorph.search.networks import START
from netmorph.search.planning import Planner, Round

BIRTH_FAILURES = 8  # of the random search, in one round


@dataclass(frozen=True)
class Alone:
    """The start network, trained on."""

    planner: Planner
    name: ClassVar[str] = ArmName.ALONE

    def plan(self, round: Round) -> list[NetworkRecord]:
        """One network: the last one, for the epochs that are missing."""
        networks = self.planner.networks
        had = networks[START].training_flops + networks.totals(self.name).flops[State.TRAINED]
        missing = round.target - had
        if missing <= 0:
            return []
        last = networks[self._last]
        return [
            replace(
                last,
                id=round.following,
                arm=self.name,
                round=round.number,
                parent=last.id,
                seed=self.planner.seed(round.number, 0),
                state=State.PLANNED,
                training_flops=math.ceil(missing / self.planner.start_epoch) * self.planner.start_epoch,
                score=None,
                numbers={},
                survivor=False,
            )
        ]

    def jobs(self, planned: Sequence[NetworkRecord]) -> list[Training]:
        """From where its parent was trained to."""
        each = self.planner.start_epoch
        return [
            Training(network.id, network.seed, network.training_flops // each, network.parent) for network in planned
        ]

    def choose(self, number: int) -> list[int]:
        """One chain has no population."""
        return []

    def parents(self) -> Iterable[int]:
        """The end of the chain."""
        return [self._last]

    @property
    def _last(self) -> int:
        return self.planner.networks.totals(self.name).last_trained or START


@dataclass
class RandomSearch:
    """Networks of as many random generations as the evolution may have had by now, trained from scratch."""

    planner: Planner
    name: ClassVar[str] = ArmName.RANDOM
    _contenders: list[Candidate] | None = field(default=None, init=False)

    def plan(self, round: Round) -> list[NetworkRecord]:
        """One after another. What a failed one would have taken is made up for, in the next round at the latest."""
        earlier = self.planner.networks.totals(self.name)
        missing = round.target - earlier.flops[State.TRAINED]
        made: list[NetworkRecord] = []
        if missing <= 0:
            return made
        # Of those that converge before their end, it takes more to have had as much.
        while (
            missing > self.planner.start_share * spent(made)
            and sum(network.state == State.FAILED for network in made) < BIRTH_FAILURES
        ):
            index = earlier.count + len(made)
            draw = np.random.default_rng([self.planner.config.seed, index])
            birth = Birth(
                round.following + len(made),
                None,
                self.planner.seed(0, index),
                generations=int(draw.integers(1, round.number + 1)),
                inherit=False,
            )
            made += self.planner.bear([birth], self.name, round.number, self.planner.config.start_epochs)
        return made

    def jobs(self, planned: Sequence[NetworkRecord]) -> list[Training]:
        """Each from scratch, like a founder."""
        return [self.planner.from_scratch(network) for network in planned]

    def choose(self, number: int) -> list[int]:
        """The best of all its networks. Those that others have beaten for good are not looked at again."""
        networks = self.planner.networks
        if self._contenders is None:
            known = candidates(networks, networks.of(self.name))
        else:
            known = {candidate.id: candidate for candidate in self._contenders}
            known |= candidates(networks, networks.in_round(self.name, number))
        self._contenders = contenders(list(known.values()), self.planner.config.population)
        return chosen(self.planner, {candidate.id: candidate for candidate in self._contenders})

    def parents(self) -> Iterable[int]:
        """None: nothing is inherited."""
        return []
