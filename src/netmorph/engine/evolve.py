"""Evolution with inherited weights, beside its baselines, round by round.

    start network, trained
    until the budget is reached:
        parents  <- the population
        children <- exact edits of the parents
        baselines get as many training FLOPs as the children will take
        train them all; population <- the best of population and children
    test the survivors, once

Each round is planned in one transaction and each network is recorded in one more, with everything random derived from
the run's seed and the network's number. So a run that was killed goes on from what is recorded, to the same end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from netmorph.engine.conclude import conclude
from netmorph.engine.config import EvolveConfig
from netmorph.engine.executor import Executor
from netmorph.engine.jobs import Birth, Born, Job, Result, Trained, Training
from netmorph.engine.records import EpochRecord, NetworkRecord, Records
from netmorph.engine.shelf import BORN, Shelf
from netmorph.errors import NetmorphError
from netmorph.measure.cost import Cost
from netmorph.policy.selection import Candidate, select

EVOLVE, ALONE, RANDOM = "evolve", "alone", "random"
START = 1  # the id of the start network
BIRTH_FAILURES = 8  # of the random search, in one round
EPOCH_FIELDS = [field.name for field in fields(EpochRecord) if field.name != "network"]


class EvolutionError(NetmorphError):
    """An evolution cannot start or go on."""


@dataclass(frozen=True)
class Progress:
    """Where a run is, for whoever watches it.

    Attributes:
        round: the round that is running, 0 for the start network.
        done, jobs: networks trained and to train in it.
        seconds: wall time so far, all sessions together.
        best: highest validation accuracy of the evolution so far.
        finished: the round is over.
    """

    round: int
    done: int
    jobs: int
    seconds: float
    best: float | None
    finished: bool


def evolve(
    folder: Path,
    config: EvolveConfig,
    records: Records,
    executor: Executor[Job, Result],
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, Any]:
    """Run an evolution, or go on with one, until its budget is reached.

    Args:
        folder: the run's folder; the caller holds its lock.
        records: of this folder, to read and write; new, or those of a run that was interrupted.
        executor: runs the jobs that `netmorph.engine.jobs.handler(folder, config)` handles.

    Returns:
        The result, see `netmorph.report.summary`.

    Raises:
        EvolutionError: the start network could not be made or trained, or the data has changed since the run began.
        SaveError: the disk is full. `evolve` goes on from there later.
    """
    run = _Run(folder, config, records, executor, on_progress)
    result = records.meta("result")
    if result is None:
        run.prepare()
        run.start()
        while run.next_round():
            pass
        result = run.finish()
    return dict(result)


class _Run:
    def __init__(
        self,
        folder: Path,
        config: EvolveConfig,
        records: Records,
        executor: Executor[Job, Result],
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.config = config
        self.records = records
        self.executor = executor
        self.on_progress = on_progress
        self.dataset = config.data.load()
        self.shelf = Shelf(folder, config.base(self.dataset), config.recipe)
        self._before = float(records.meta("seconds") or 0.0)
        self._started = perf_counter()
        self._pace: float | None = None  # seconds per planned training FLOP in the last round

    @property
    def seconds(self) -> float:
        return self._before + perf_counter() - self._started

    # -- the stations of a run ---------------------------------------------------------------------------------

    def prepare(self) -> None:
        known = self.records.meta("fingerprint")
        if known not in (None, self.dataset.fingerprint):
            raise EvolutionError(
                f"the data {self.config.data.source!r} is not what this run began with (its content differs); "
                "bring the old data back, or start a new run"
            )
        self.records.set_meta("fingerprint", self.dataset.fingerprint)

    def start(self) -> None:
        if not self.records.networks():
            births = [
                Birth(START + index, None, self._seed(EVOLVE, 0, index), edits=0)
                for index in range(self.config.founders)
            ]
            founders = self._bear(births, EVOLVE, 0)
            if founders[0].state == "failed":
                raise EvolutionError(f"the start network could not be made: {founders[0].failure}")
            self._plan(founders)
        self._train_planned(0)
        start = self.records.networks(EVOLVE)[0]
        if start.state != "trained":
            raise EvolutionError(f"the start network could not be trained: {start.failure}")
        if self.records.meta("round") is None:
            self._end_round(0)

    def next_round(self) -> bool:
        """Plan (unless it is planned already), train and select; False when the budget is reached."""
        number = int(self.records.meta("round")) + 1
        if not any(network.round == number for network in self.records.networks()):
            if self._budget_reached(number):
                return False
            planned = self._propose(number)
            if self._too_long(planned):
                return False
            self._plan(planned)
        self._train_planned(number)
        self._end_round(number)
        return True

    def finish(self) -> dict[str, Any]:
        self.shelf.clear()
        result = conclude(self.records, self.shelf, self.dataset, self.seconds)
        with self.records.transaction():
            self.records.set_meta("result", result)
            self.records.set_meta("seconds", self.seconds)
            self.records.set_meta("status", "finished")
        return result

    # -- planning ------------------------------------------------------------------------------------------------

    def _propose(self, number: int) -> list[NetworkRecord]:
        """All networks of a round, born but not trained."""
        following = max(network.id for network in self.records.networks()) + 1
        parents = self._population()
        births = [
            Birth(following + index, parents[index % len(parents)].id, self._seed(EVOLVE, number, index))
            for index in range(self.config.children)
        ]
        planned = self._bear(births, EVOLVE, number)
        if all(network.state == "failed" for network in planned):
            raise EvolutionError(f"no child could be made in round {number}: {planned[0].failure}")
        target = self._spent(EVOLVE) + sum(network.training_flops for network in planned)
        alone = self._propose_alone(following + len(births), number, target)
        random = self._propose_random(following + len(births) + 1, number, target)
        return [*planned, *alone, *random]

    def _propose_alone(self, id: int, number: int, target: int) -> list[NetworkRecord]:
        """The start network, trained on until it has had as many FLOPs."""
        start = self.records.networks(EVOLVE)[0]
        chain = [network for network in self.records.networks(ALONE) if network.state == "trained"]
        missing = target - start.training_flops - sum(network.training_flops for network in chain)
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
        """Networks with as many random edits as the evolution may have made by now, from scratch.

        What a failed one would have taken is made up for, in the next round at the latest.
        """
        earlier = self.records.networks(RANDOM)
        missing = target - sum(network.training_flops for network in earlier if network.state == "trained")
        made: list[NetworkRecord] = []
        most = self.config.mutation.edits * number
        while (
            missing > sum(network.training_flops for network in made)
            and sum(network.state == "failed" for network in made) < BIRTH_FAILURES
        ):
            index = len(earlier) + len(made)
            edits = int(np.random.default_rng([self.config.seed, index]).integers(1, most + 1))
            birth = Birth(following + len(made), None, self._seed(RANDOM, 0, index), edits, inherit=False)
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

    def _plan(self, planned: Iterable[NetworkRecord]) -> None:
        with self.records.transaction():
            for network in planned:
                self.records.put_network(network)

    # -- training ------------------------------------------------------------------------------------------------

    def _train_planned(self, number: int) -> None:
        waiting = [network for network in self.records.networks() if network.state == "planned"]
        waiting.sort(
            key=lambda network: network.training_flops, reverse=True
        )  # the longest first, so that no worker idles at the end
        by_id = {network.id: network for network in waiting}
        self._progress(number, 0, len(waiting))
        began = perf_counter()
        jobs = [self._training(network) for network in waiting]
        for done, outcome in enumerate(self.executor.run(jobs), 1):
            network = by_id[outcome.job.id]
            if isinstance(outcome.result, Trained):
                self._record_trained(network, outcome.result)
            else:
                self.records.put_network(replace(network, state="failed", failure=outcome.failure))
            self.shelf.drop(network.id, BORN)
            self._progress(number, done, len(waiting))
        if number > 0 and waiting:
            self._pace = (perf_counter() - began) / sum(network.training_flops for network in waiting)

    def _training(self, network: NetworkRecord) -> Training:
        return Training(
            network.id, network.seed, self._epochs(network), network.parent if network.arm == ALONE else None
        )

    def _epochs(self, network: NetworkRecord) -> int:
        if network.arm == ALONE:
            return network.training_flops // self._start_epoch
        return self.config.start_epochs if network.parent is None else self.config.recipe.epochs

    @property
    def _start_epoch(self) -> int:
        """Training FLOPs of one epoch of the start network."""
        return self.records.networks(EVOLVE)[0].training_flops // len(self.records.epochs(START))

    def _record_trained(self, network: NetworkRecord, result: Trained) -> None:
        best = result.history.best
        with self.records.transaction():
            self.records.put_network(
                replace(
                    network,
                    state="trained",
                    training_flops=network.training_flops // self._epochs(network) * len(result.history),
                    seconds=result.seconds,
                    accuracy=best.validation_accuracy,
                    loss=best.validation_loss,
                )
            )
            self.records.replace_epochs(
                network.id,
                [
                    EpochRecord(network.id, **{key: getattr(epoch, key) for key in EPOCH_FIELDS})
                    for epoch in result.history
                ],
            )
            self.records.set_meta("seconds", self.seconds)

    # -- selection -----------------------------------------------------------------------------------------------

    def _end_round(self, number: int) -> None:
        latest = [network for network in self.records.networks(EVOLVE) if network.round == number]
        population = self._choose([*self._population(), *latest])
        random = self._choose(self.records.networks(RANDOM))
        with self.records.transaction():
            self.records.set_survivors(EVOLVE, population)
            self.records.set_survivors(RANDOM, random)
            self.records.set_meta("round", number)
            self.records.set_meta("seconds", self.seconds)
        alone = [network.id for network in self.records.networks(ALONE) if network.state == "trained"]
        for network in self.records.networks():
            if network.id not in {*population, *(alone[-1:] or [START])}:  # nothing is trained on from this one
                self.shelf.drop_optimizer(network.id)
        self._progress(number, 1, 1, finished=True)

    def _choose(self, networks: Iterable[NetworkRecord]) -> list[int]:
        families: dict[int, int] = {}
        for network in self.records.networks():  # parents come before their children
            families[network.id] = network.id if network.parent is None else families[network.parent]
        candidates = {
            network.id: Candidate(network.id, network.accuracy, network.flops, network.loss, families[network.id])
            for network in networks
            if network.state == "trained" and network.accuracy is not None and network.loss is not None
        }
        per_family = math.ceil(self.config.population / min(2, self.config.founders))
        return select(list(candidates.values()), self.config.population, per_family)

    def _population(self) -> list[NetworkRecord]:
        """The survivors, the most accurate first."""
        alive = [network for network in self.records.networks(EVOLVE) if network.survivor]
        return sorted(alive, key=lambda network: (-(network.accuracy or 0.0), network.loss))

    # -- budget --------------------------------------------------------------------------------------------------

    def _budget_reached(self, number: int) -> bool:
        budget = self.config.budget
        return self.seconds >= budget.seconds or self._spent(EVOLVE) >= budget.flops or number > budget.rounds

    def _too_long(self, planned: Sequence[NetworkRecord]) -> bool:
        """Whether a round would run over the budget, by the pace of the last one (the first is always made)."""
        if self._pace is None:
            return False
        flops = sum(network.training_flops for network in planned)
        return self.seconds + self._pace * flops > self.config.budget.seconds

    def _spent(self, arm: str) -> int:
        return sum(network.training_flops for network in self.records.networks(arm))

    # -- small things --------------------------------------------------------------------------------------------

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

    def _progress(self, number: int, done: int, jobs: int, finished: bool = False) -> None:
        accuracies = [network.accuracy for network in self.records.networks(EVOLVE) if network.accuracy is not None]
        self.on_progress(Progress(number, done, jobs, self.seconds, max(accuracies, default=None), finished))
