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

from netmorph.policy.selection import Candidate, select
from netmorph.run.config import EvolveConfig
from netmorph.run.final_test import conclude
from netmorph.run.records import EpochRecord, NetworkRecord, Records
from netmorph.run.store import BORN, NetworkStore
from netmorph.search.jobs import Job, Result, Trained
from netmorph.search.planning import ALONE, EVOLVE, RANDOM, START, EvolutionError, Planner
from netmorph.workers.executor import Executor

EVENING_TRIES = 2
EPOCH_FIELDS = [field.name for field in fields(EpochRecord) if field.name != "network"]


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
        executor: runs the jobs that `netmorph.search.jobs.handler(folder, config)` handles.

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
        run.even_out()
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
        self.store = NetworkStore(folder, config.base(self.dataset), config.recipe)
        self.planner = Planner(config, self.dataset, records, executor)
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
            founders = self.planner.founders()
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
            children = self.config.children
            planned = self.planner.round(number, children)
            while self._too_long(planned) and children > 1:  # a smaller last round, rather than idle time
                children //= 2
                planned = self.planner.round(number, children)
            if self._too_long(planned):
                return False
            self._plan(planned)
            if all(network.state == "failed" for network in planned):  # they would fail again
                self._end_round(number)
                return False
        self._train_planned(number)
        self._end_round(number)
        return True

    def even_out(self) -> None:
        """Make up for what failed networks left the baselines short of in the last round."""
        number = int(self.records.meta("round"))
        for _ in range(EVENING_TRIES):
            if not any(network.state == "planned" for network in self.records.networks()):
                following = max(network.id for network in self.records.networks()) + 1
                planned = self.planner.baselines(following, number, self.planner.spent(EVOLVE)) if number else []
                if not planned:
                    return
                self._plan(planned)
            self._train_planned(number)
            self._end_round(number)

    def finish(self) -> dict[str, Any]:
        self.store.clear()
        result = conclude(self.records, self.store, self.dataset, self.seconds, views=self.config.recipe.views)
        with self.records.transaction():
            self.records.set_meta("result", result)
            self.records.set_meta("seconds", self.seconds)
            self.records.set_meta("status", "finished")
        return result

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
        jobs = [self.planner.training(network) for network in waiting]
        for done, outcome in enumerate(self.executor.run(jobs), 1):
            network = by_id[outcome.job.id]
            if isinstance(outcome.result, Trained):
                self._record_trained(network, outcome.result)
            else:
                self.records.put_network(replace(network, state="failed", failure=outcome.failure))
            self.store.drop(network.id, BORN)
            self._progress(number, done, len(waiting))
        if number > 0 and waiting:
            self._pace = (perf_counter() - began) / sum(network.training_flops for network in waiting)

    def _record_trained(self, network: NetworkRecord, result: Trained) -> None:
        best = result.history.best
        with self.records.transaction():
            self.records.put_network(
                replace(
                    network,
                    state="trained",
                    training_flops=network.training_flops // self.planner.epochs(network) * len(result.history),
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
        population = self._choose([*self.planner.population(), *latest])
        random = self._choose(self.records.networks(RANDOM))
        with self.records.transaction():
            self.records.set_survivors(EVOLVE, population)
            self.records.set_survivors(RANDOM, random)
            self.records.set_meta("round", number)
            self.records.set_meta("seconds", self.seconds)
        alone = [network.id for network in self.records.networks(ALONE) if network.state == "trained"]
        for network in self.records.networks():
            if network.id not in {*population, *(alone[-1:] or [START])}:  # nothing is trained on from this one
                self.store.drop_optimizer(network.id)
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

    # -- budget --------------------------------------------------------------------------------------------------

    def _budget_reached(self, number: int) -> bool:
        budget = self.config.budget
        return self.seconds >= budget.seconds or self.planner.spent(EVOLVE) >= budget.flops or number > budget.rounds

    def _too_long(self, planned: Sequence[NetworkRecord]) -> bool:
        """Whether a round would run over the budget, by the pace of the last one (the first is always made)."""
        if self._pace is None:
            return False
        flops = sum(network.training_flops for network in planned)
        return self.seconds + self._pace * flops > self.config.budget.seconds

    # -- small things --------------------------------------------------------------------------------------------

    def _progress(self, number: int, done: int, jobs: int, finished: bool = False) -> None:
        accuracies = [network.accuracy for network in self.records.networks(EVOLVE) if network.accuracy is not None]
        self.on_progress(Progress(number, done, jobs, self.seconds, max(accuracies, default=None), finished))
