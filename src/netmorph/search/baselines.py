"""What an evolution is compared with: the start network trained on, random networks, local search, a designed one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any, ClassVar

import numpy as np

from netmorph.edit import Base
from netmorph.measure.cost import cost
from netmorph.run.config import base
from netmorph.run.names import ArmName, State
from netmorph.run.ranking import ranked
from netmorph.run.rows import NetworkRecord
from netmorph.search.births import Birth
from netmorph.search.choosing import WITHOUT_AGE, Selection
from netmorph.search.jobs import Training
from netmorph.search.networks import START
from netmorph.search.planning import Planner, Round
from netmorph.train.inputs import examples


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
        flops = math.ceil(missing / self.planner.start_epoch) * self.planner.start_epoch
        return [self.planner.trained_on(last, self.name, round, self.planner.seed(round.number, 0), flops)]

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


@dataclass(frozen=True)
class RandomSearch:
    """Networks of as many random generations as the evolution may have had by now, trained from scratch.

    Attributes:
        select: which of them are its ensemble.
    """

    planner: Planner
    select: Selection = WITHOUT_AGE
    name: ClassVar[str] = ArmName.RANDOM

    def plan(self, round: Round) -> list[NetworkRecord]:
        """As many as it takes: of those that converge before their end, more."""
        planner, earlier = self.planner, self.planner.networks.totals(self.name)
        missing = round.target - earlier.flops[State.TRAINED]
        if missing <= 0:
            return []
        births = (self._birth(round, number, earlier.count + number) for number in count())
        epochs, share = planner.config.start_epochs, planner.start_share
        return planner.bear_until(missing, births, self.name, round.number, epochs, share)

    def _birth(self, round: Round, number: int, index: int) -> Birth:
        """The birth of a round's network of this number, which has this index among all of the arm."""
        draw = np.random.default_rng([self.planner.config.seed, index])
        return Birth(
            round.following + number,
            None,
            self.planner.seed(0, index),
            generations=int(draw.integers(1, round.number + 1)),
            inherit=False,
        )

    def jobs(self, planned: Sequence[NetworkRecord]) -> list[Training]:
        """Each from scratch, like a founder."""
        return [self.planner.from_scratch(network) for network in planned]

    def choose(self, number: int) -> list[int]:
        """As the selection chooses."""
        return self.select(self.planner, self.name, number)

    def parents(self) -> Iterable[int]:
        """None: nothing is inherited."""
        return []


@dataclass(frozen=True)
class LocalSearch:
    """Hill climbing: children of one network, which moves on to the best of them if that is better.

    It begins with the start network. Children inherit its weights and are trained as long as those of an evolution; a
    round makes as many as its training FLOPs allow, all of the network where it stands.
    """

    planner: Planner
    name: ClassVar[str] = ArmName.LOCAL

    def plan(self, round: Round) -> list[NetworkRecord]:
        """As many children as it takes, beside the start network's own training."""
        planner, earlier = self.planner, self.planner.networks.totals(self.name)
        missing = round.target - planner.networks[START].training_flops - earlier.flops[State.TRAINED]
        parent, following = self._here.id, round.following
        births = (Birth(following + number, parent, planner.seed(0, earlier.count + number)) for number in count())
        return planner.bear_until(missing, births, self.name, round.number, planner.config.recipe.epochs)

    def jobs(self, planned: Sequence[NetworkRecord]) -> list[Training]:
        """Each as long as a child."""
        return [Training(network.id, network.seed, self.planner.config.recipe.epochs) for network in planned]

    def choose(self, number: int) -> list[int]:
        """Where it stands: nowhere yet while the start network is the best."""
        best = ranked([self._here, *self.planner.networks.in_round(self.name, number)])[0]
        return [] if best.id == START else [best.id]

    def parents(self) -> Iterable[int]:
        """Where it stands."""
        return [self._here.id]

    @property
    def _here(self) -> NetworkRecord:
        networks = self.planner.networks
        return next(iter(networks.survivors(self.name)), networks[START])


@dataclass(frozen=True)
class Designed:
    """A network as somebody designed it, trained from scratch, and trained on in each round.

    Attributes:
        base: its constructor.
    """

    planner: Planner
    base: Base
    name: str = ArmName.DESIGNED

    def plan(self, round: Round) -> list[NetworkRecord]:
        """One network, for the epochs that are missing: it begins anew only where its first training failed."""
        networks, planner = self.planner.networks, self.planner
        totals = networks.totals(self.name)
        epochs = math.ceil((round.target - totals.flops[State.TRAINED]) / self._epoch)
        if epochs <= 0:
            return []
        seed = planner.seed(0, totals.count)
        if totals.last_trained is None:
            birth = Birth(round.following, None, seed, generations=0, base=self.base)
            return planner.bear([birth], self.name, round.number, epochs)
        last = networks[totals.last_trained]
        return [planner.trained_on(last, self.name, round, seed, epochs * self._epoch)]

    def jobs(self, planned: Sequence[NetworkRecord]) -> list[Training]:
        """From scratch first, then from where its parent was trained to."""
        return [
            Training(network.id, network.seed, network.training_flops // self._epoch, network.parent)
            for network in planned
        ]

    def choose(self, number: int) -> list[int]:
        """One chain has no population."""
        return []

    def parents(self) -> Iterable[int]:
        """The end of the chain."""
        last = self.planner.networks.totals(self.name).last_trained
        return [] if last is None else [last]

    @cached_property
    def _epoch(self) -> int:
        """Training FLOPs of one epoch."""
        model, dataset = self.base.build(), self.planner.dataset
        return cost(model, examples(dataset, model, 2)).training_flops * len(dataset.train)


def designed(model: str, options: Mapping[str, Any], name: str = ArmName.DESIGNED) -> Callable[[Planner], Designed]:
    """An arm that trains a network of the user's from scratch, for as many FLOPs as the evolution has had in all.

    Args:
        model: a name of `netmorph.zoo`, or the function that the run's start network is of.
        options: arguments of its constructor beside input_shape and classes.
        name: of the arm; several designed networks go by different names.
    """

    def arm(planner: Planner) -> Designed:
        return Designed(planner, base(model, dict(options), planner.dataset), name)

    return arm
