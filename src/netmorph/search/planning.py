"""What arms plan with: births of networks, random numbers, and what a network's training takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from netmorph.data import Dataset
from netmorph.errors import NetmorphError
from netmorph.measure.cost import Cost
from netmorph.run.config import EvolveConfig
from netmorph.run.names import State
from netmorph.run.records import Records
from netmorph.run.rows import NetworkRecord
from netmorph.search.jobs import Birth, Born, Done, Job, Trained
from netmorph.search.networks import START, Networks
from netmorph.workers.executor import Executor


class EvolutionError(NetmorphError):
    """An evolution cannot start or go on."""


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

    def bear(self, births: Sequence[Birth], arm: str, number: int) -> list[NetworkRecord]:
        """The networks that were born, planned for training, and those that could not be, in the order of their ids."""
        networks = [
            self._record(outcome.job, outcome.result, outcome.failure, arm, number)
            for outcome in self.executor.run(births)
            if isinstance(outcome.job, Birth) and not isinstance(outcome.result, Trained)
        ]
        return sorted(networks, key=lambda network: network.id)

    def seed(self, number: int, index: int) -> int:
        """The seed of the arm's network of this index in a round, or in the whole run where the round is always 0."""
        return int(np.random.SeedSequence([self.config.seed, self.position, number, index]).generate_state(1)[0])

    def epochs(self, parent: int | None) -> int:
        """How long a new network is trained."""
        return self.config.start_epochs if parent is None else self.config.recipe.epochs

    @cached_property
    def start_epoch(self) -> int:
        """Training FLOPs of one epoch of the start network, once that is trained."""
        return self.networks[START].training_flops // len(self.records.epochs(START))

    @cached_property
    def start_share(self) -> float:
        """The share of its epochs that the start network took until it had converged, once that is trained."""
        return len(self.records.epochs(START)) / self.config.start_epochs

    def _record(self, job: Birth, born: Born | None, failure: str | None, arm: str, number: int) -> NetworkRecord:
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
            training_flops=self.epochs(job.parent) * len(self.dataset.train) * price.training_flops,
            seconds=0.0,
            score=None,
            numbers={},
            survivor=False,
            edits=born.edits if born else (),
            failure=failure,
        )
