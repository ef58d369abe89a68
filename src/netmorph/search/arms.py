"""The arms of a run: searches that each get as many training FLOPs, so that their results can be compared.

The first arm leads: the budget is its budget, and the others, its baselines, get what it has had. A further baseline is
a class with the methods of `Arm`; `evolve(..., arms=(*ARMS, Mine))` takes it along, and the result tells it under its
name (see `netmorph.run.result`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

import numpy as np

from netmorph.policy.selection import Candidate, contenders, select
from netmorph.run.names import ArmName, State
from netmorph.run.ranking import spent, trained
from netmorph.run.rows import NetworkRecord
from netmorph.search.jobs import Birth, Training
from netmorph.search.networks import START, Networks
from netmorph.search.planning import Planner
from netmorph.tasks import LOSS

BIRTH_FAILURES = 8  # of the random search, in one round


@dataclass(frozen=True)
class Round:
    """What arms are asked to plan for.

    Attributes:
        number: of the round, 0 for the networks that a run starts from.
        following: the first id that is free.
        children: how many networks the leading arm makes.
        target: training FLOPs that a baseline has had at the end of the round.
    """

    number: int
    following: int
    children: int
    target: int


class Arm(Protocol):
    """One search of a run. What it does follows from the networks of the run and its planner's seeds alone."""

    name: ClassVar[str]

    def plan(self, round: Round) -> list[NetworkRecord]:
        """Networks that the arm trains next: born and planned (or failed) with ids from `round.following` on.

        A baseline plans as many as it takes to have had `round.target` training FLOPs; none where it has had them.
        """
        ...

    def training(self, network: NetworkRecord) -> Training:
        """The job that trains a planned network of this arm."""
        ...

    def choose(self, number: int) -> list[int]:
        """Ids of the population that lives on after round `number`; empty for an arm that has none."""
        ...

    def parents(self) -> Iterable[int]:
        """Ids of the networks that the next plan may train on: their optimizers are kept."""
        ...


NewArm = Callable[[Planner], Arm]


@dataclass(frozen=True)
class Evolution:
    """Children of the best, by edits, with inherited weights."""

    planner: Planner
    name: ClassVar[str] = ArmName.EVOLVE

    def plan(self, round: Round) -> list[NetworkRecord]:
        """The founders, equal but for their random weights; later children of each survivor in turn."""
        if round.number == 0:
            founders = range(self.planner.config.founders)
            births = [Birth(START + index, None, self.planner.seed(0, index), generations=0) for index in founders]
        else:
            parents = self.planner.networks.survivors(self.name)
            births = [
                Birth(
                    round.following + index,
                    parents[index % len(parents)].id,
                    self.planner.seed(round.number, index),
                )
                for index in range(round.children)
            ]
        return self.planner.bear(births, self.name, round.number)

    def training(self, network: NetworkRecord) -> Training:
        """From its birth, for as long as the config says; founders until they have converged."""
        patience = self.planner.config.start_patience if network.parent is None else None
        return Training(network.id, network.seed, self.planner.epochs(network.parent), patience=patience)

    def choose(self, number: int) -> list[int]:
        """The best of the population and of what the round has made."""
        networks = self.planner.networks
        latest = [*networks.survivors(self.name), *networks.in_round(self.name, number)]
        return _best(self.planner, _candidates(networks, latest))

    def parents(self) -> Iterable[int]:
        """The population."""
        return [network.id for network in self.planner.networks.survivors(self.name)]


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

    def training(self, network: NetworkRecord) -> Training:
        """From where its parent was trained to."""
        epochs = network.training_flops // self.planner.start_epoch
        return Training(network.id, network.seed, epochs, network.parent)

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
            made += self.planner.bear([birth], self.name, round.number)
        return made

    def training(self, network: NetworkRecord) -> Training:
        """From scratch, like a founder."""
        patience = self.planner.config.start_patience
        return Training(network.id, network.seed, self.planner.epochs(None), patience=patience)

    def choose(self, number: int) -> list[int]:
        """The best of all its networks. Those that others have beaten for good are not looked at again."""
        networks = self.planner.networks
        if self._contenders is None:
            known = _candidates(networks, networks.of(self.name))
        else:
            known = {candidate.id: candidate for candidate in self._contenders}
            known |= _candidates(networks, networks.in_round(self.name, number))
        self._contenders = contenders(list(known.values()), self.planner.config.population)
        return _best(self.planner, {candidate.id: candidate for candidate in self._contenders})

    def parents(self) -> Iterable[int]:
        """None: nothing is inherited."""
        return []


ARMS: tuple[NewArm, ...] = (Evolution, Alone, RandomSearch)


def _candidates(networks: Networks, chosen: Iterable[NetworkRecord]) -> dict[int, Candidate]:
    return {
        network.id: Candidate(
            network.id, network.score, network.flops, network.numbers[LOSS], networks.family(network.id)
        )
        for network in trained(chosen)
        if network.score is not None
    }


def _best(planner: Planner, candidates: dict[int, Candidate]) -> list[int]:
    config = planner.config
    per_family = math.ceil(config.population / min(2, config.founders))
    return select(list(candidates.values()), config.population, per_family)
