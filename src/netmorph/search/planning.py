"""What a round of an evolution will do: children of the population, and as much training for the baselines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from netmorph.data import Dataset
from netmorph.errors import NetmorphError
from netmorph.measure.counting import Cost
from netmorph.run.config import EvolveConfig
from netmorph.run.ranking import ranked, spent
from netmorph.run.records import NetworkRecord, Records
from netmorph.search.jobs import Birth, Born, Job, Result, Trained, Training
from netmorph.workers.executor import Executor

EVOLVE, ALONE, RANDOM = "evolve", "alone", "random"
START = 1  # the id of the start network, the first of the founders
BIRTH_FAILURES = 8  # of the random search, in one round


class EvolutionError(NetmorphError):
    """An evolution cannot start or go on."""


@dataclass(frozen=True)
class Planner:
    """Plans networks: they are born, but neither recorded nor trained. Everything follows from records and seed."""

    config: EvolveConfig
    dataset: Dataset
    records: Records
    executor: Executor[Job, Result]

    def founders(self) -> list[NetworkRecord]:
        """The networks that the evolution starts from, equal but for their random weights."""
        births = [
            Birth(START + index, None, self._seed(EVOLVE, 0, index), generations=0)
            for index in range(self.config.founders)
        ]
        return self._bear(births, EVOLVE, 0)

    def round(self, number: int, children: int) -> list[NetworkRecord]:
        """All networks of a round with so many children; without baselines if not a single child could be born."""
        following = max(network.id for network in self.records.networks()) + 1
        parents = self.population()
        births = [
            Birth(following + index, parents[index % len(parents)].id, self._seed(EVOLVE, number, index))
            for index in range(children)
        ]
        planned = self._bear(births, EVOLVE, number)
        if all(network.state == "failed" for network in planned):
            return planned
        target = self.spent(EVOLVE) + spent(planned)
        return [*planned, *self.baselines(following + len(births), number, target)]

    def baselines(self, following: int, number: int, target: int) -> list[NetworkRecord]:
        """What the start network and random search need until each has had `target` training FLOPs."""
        return [
            *self._propose_alone(following, number, target),
            *self._propose_random(following + 1, number, target),
        ]

    def _propose_alone(self, id: int, number: int, target: int) -> list[NetworkRecord]:
        """The start network, trained on until it has had as many FLOPs."""
        start = self.records.networks(EVOLVE)[0]
        chain = [network for network in self.records.networks(ALONE) if network.state == "trained"]
        missing = target - start.training_flops - spent(chain)
        if missing <= 0:
            return []
        last = chain[-1] if chain else start
        return [
            replace(
                last,
                id=id,
                arm=ALONE,
                round=number,
                parent=last.id,
                seed=self._seed(ALONE, number, 0),
                state="planned",
                training_flops=math.ceil(missing / self._start_epoch) * self._start_epoch,
                accuracy=None,
                loss=None,
                survivor=False,
            )
        ]

    def _propose_random(self, following: int, number: int, target: int) -> list[NetworkRecord]:
        """Networks of as many random generations as the evolution may have had by now, trained from scratch.

        What a failed one would have taken is made up for, in the next round at the latest.
        """
        earlier = self.records.networks(RANDOM)
        missing = target - sum(network.training_flops for network in earlier if network.state == "trained")
        made: list[NetworkRecord] = []
        while missing > spent(made) and sum(network.state == "failed" for network in made) < BIRTH_FAILURES:
            index = len(earlier) + len(made)
            generations = int(np.random.default_rng([self.config.seed, index]).integers(1, number + 1))
            birth = Birth(following + len(made), None, self._seed(RANDOM, 0, index), generations, inherit=False)
            made += self._bear([birth], RANDOM, number)
        return made

    def _bear(self, births: Sequence[Birth], arm: str, number: int) -> list[NetworkRecord]:
        """The networks that were born, planned for training, and those that could not be, in the order of their ids."""
        networks = [
            self._record(outcome.job, outcome.result, outcome.failure, arm, number)
            for outcome in self.executor.run(births)
            if isinstance(outcome.job, Birth) and not isinstance(outcome.result, Trained)
        ]
        return sorted(networks, key=lambda network: network.id)

    def training(self, network: NetworkRecord) -> Training:
        """The job that trains a planned network."""
        return Training(
            network.id, network.seed, self.epochs(network), network.parent if network.arm == ALONE else None
        )

    def epochs(self, network: NetworkRecord) -> int:
        """How long a planned network is to be trained."""
        if network.arm == ALONE:
            return network.training_flops // self._start_epoch
        return self.config.start_epochs if network.parent is None else self.config.recipe.epochs

    @property
    def _start_epoch(self) -> int:
        """Training FLOPs of one epoch of the start network."""
        return self.records.networks(EVOLVE)[0].training_flops // len(self.records.epochs(START))

    def population(self) -> list[NetworkRecord]:
        """The survivors, the most accurate first."""
        return ranked(network for network in self.records.networks(EVOLVE) if network.survivor)

    def spent(self, arm: str) -> int:
        """Training FLOPs of an arm, planned ones included."""
        return spent(self.records.networks(arm))

    def _record(self, job: Birth, born: Born | None, failure: str | None, arm: str, number: int) -> NetworkRecord:
        """A planned network, or one that could not be born; until it is trained, `training_flops` are those planned."""
        price = born.cost if born else Cost(0, 0, 0)
        epochs = self.config.start_epochs if job.parent is None else self.config.recipe.epochs
        return NetworkRecord(
            id=job.id,
            arm=arm,
            round=number,
            parent=job.parent,
            seed=job.seed,
            state="planned" if born else "failed",
            parameters=price.parameters,
            flops=price.flops,
            training_flops=epochs * len(self.dataset.train) * price.training_flops,
            seconds=0.0,
            accuracy=None,
            loss=None,
            survivor=False,
            edits=born.edits if born else (),
            failure=failure,
        )

    def _seed(self, arm: str, number: int, index: int) -> int:
        arms = (EVOLVE, ALONE, RANDOM)
        return int(np.random.SeedSequence([self.config.seed, arms.index(arm), number, index]).generate_state(1)[0])
