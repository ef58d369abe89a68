"""What arms plan with: births of networks, random numbers, and what a network's training takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np

from netmorph.data import Dataset
from netmorph.errors import NetmorphError
from netmorph.measure.cost import Cost
from netmorph.run.config import EvolveConfig
from netmorph.run.names import Stage, State
from netmorph.run.ranking import spent
from netmorph.run.records import Records
from netmorph.run.rows import NetworkRecord
from netmorph.run.store import NetworkStore
from netmorph.search.births import Birth, Born
from netmorph.search.jobs import Done, Job, Training
from netmorph.search.networks import START, Networks
from netmorph.workers.executor import Executor

BIRTH_FAILURES = 8  # of a baseline, in one round


class EvolutionError(NetmorphError):
    """An evolution cannot start or go on."""


@dataclass(frozen=True)
class Round:
    """What arms are asked to plan for.

    Attributes:
        number: of the round, 0 for the networks that a run starts from.
        following: the first id that is free.
        children: how many networks the leading arm makes.
        target: training FLOPs that a baseline has had at the end of the round; 0 for the leading arm, and in round 0.
    """

    number: int
    following: int
    children: int
    target: int


@dataclass(frozen=True)
class Planner:
    """Bears networks that are neither recorded nor trained yet. Everything follows from the networks and the seed.

    Attributes:
        position: of the arm among the arms of the run: part of its seeds.
    """

    config: EvolveConfig
    dataset: Dataset
    records: Records
    networks: Networks
    executor: Executor[Job, Done]
    position: int
    store: NetworkStore

    def bear(self, births: Sequence[Birth], arm: str, number: int, epochs: int) -> list[NetworkRecord]:
        """The networks that were born, planned for training, and those that could not be, in the order of their ids.

        Each is remembered as it comes, until its round is planned: so a run that is killed meanwhile bears again only
        those that were under way.

        Args:
            arm: whose they are.
            number: of the round.
            epochs: how long each is to be trained, for its `training_flops`.
        """
        known = {birth.id: self._remembered(birth) for birth in births}
        networks = [network for network in known.values() if network is not None]
        for outcome in self.executor.run([birth for birth in births if known[birth.id] is None]):
            if isinstance(outcome.job, Birth) and (outcome.result is None or isinstance(outcome.result, Born)):
                made = self._record(outcome.job, outcome.result, outcome.failure, arm, number, epochs)
                networks.append(made)
                if made.state == State.PLANNED:  # what failed is tried again
                    self.records.remember_birth(outcome.job.told, made)
        return sorted(networks, key=lambda network: network.id)

    def bear_until(
        self, missing: float, births: Iterable[Birth], arm: str, number: int, epochs: int, share: float = 1.0
    ) -> list[NetworkRecord]:
        """One network after another, until their trainings take what a baseline is short of.

        Several are born at once, by what those before took; those beyond are as if they had never been. What a failed
        one would have taken is made up for, in the next round at the latest: after some failures no more are born.

        Args:
            missing: training FLOPs.
            births: with ids in a row; they may go on without end.
            arm: see `bear`, as for `number` and `epochs`.
            share: of these epochs that such networks take until they have converged.
        """
        made: list[NetworkRecord] = []
        waiting = iter(births)

        def left() -> float:
            failed = sum(network.state == State.FAILED for network in made)
            return missing - share * spent(made) if failed < BIRTH_FAILURES else 0.0

        while left() > 0:
            at_once = max(1, int(left() / self._typical(arm, made, epochs, share)))
            batch = [*islice(waiting, at_once)]
            if not batch:
                break
            for network in self.bear(batch, arm, number, epochs):
                if left() > 0:
                    made.append(network)
        return made

    def _typical(self, arm: str, made: Sequence[NetworkRecord], epochs: int, share: float) -> float:
        """Training FLOPs of one network of an arm, by those that it has made, or by the start network."""
        totals = self.networks.totals(arm)
        count, taken = totals.count + len(made), totals.spent + share * spent(made)
        return taken / count if taken else share * self.start_epoch * epochs

    def _remembered(self, birth: Birth) -> NetworkRecord | None:
        """The network of a birth that was done before the run was killed, where its file is there."""
        network = self.records.birth(birth.id, birth.told)
        return network if self.store.path(birth.id, Stage.BORN).is_file() else None

    def from_scratch(self, network: NetworkRecord) -> Training:
        """What trains a network that has learnt nothing yet: until it has converged."""
        return Training(
            network.id,
            network.seed,
            self.config.start_epochs,
            patience=self.config.start_patience,
            recipe=network.recipe,
        )

    def trained_on(self, last: NetworkRecord, arm: str, round: Round, seed: int, flops: int) -> NetworkRecord:
        """The next link of a chain: a network planned to be trained on, for so many training FLOPs."""
        return replace(
            last,
            id=round.following,
            arm=arm,
            round=round.number,
            parent=last.id,
            seed=seed,
            state=State.PLANNED,
            training_flops=flops,
            score=None,
            numbers={},
            smoothed=None,
            survivor=False,
        )

    def seed(self, number: int, index: int) -> int:
        """The seed of the arm's network of this index in a round, or in the whole run where the round is always 0."""
        return int(np.random.SeedSequence([self.config.seed, self.position, number, index]).generate_state(1)[0])

    @cached_property
    def start_epoch(self) -> int:
        """Training FLOPs of one epoch of the start network, once that is trained."""
        return self.networks[START].training_flops // len(self.records.epochs(START))

    @cached_property
    def start_share(self) -> float:
        """The share of its epochs that the start network took until it had converged, once that is trained."""
        return len(self.records.epochs(START)) / self.config.start_epochs

    def _record(
        self, job: Birth, born: Born | None, failure: str | None, arm: str, number: int, epochs: int
    ) -> NetworkRecord:
        """A planned network, or one that could not be born; until it is trained, `training_flops` are those planned."""
        price = born.cost if born else Cost(0, 0, 0)
        return NetworkRecord(
            id=job.id,
            arm=arm,
            round=number,
            parent=job.parent,
            seed=job.seed,
            state=State.PLANNED if born else State.FAILED,
            parameters=price.parameters,
            flops=price.flops,
            training_flops=epochs * len(self.dataset.train) * price.training_flops,
            seconds=0.0,
            score=None,
            numbers={},
            survivor=False,
            edits=born.edits if born else (),
            failure=failure,
            recipe=job.recipe,
            latency=born.latency if born else None,
        )
