"""Evolution with inherited weights, beside its baselines, round by round.

    start network, trained
    until the budget is reached:
        parents  <- the population
        children <- exact edits of the parents
        baselines get as many training FLOPs as the children will take
        train them all; population <- the best of population and children
    survivors are tuned, if that is asked for; baselines get as many training FLOPs again
    test the survivors, once

Each round is planned in one transaction and each network is recorded in one more, with everything random derived from
the run's seed and the network's number. Births of a round are remembered until it is planned. So a run that was killed
goes on from what is recorded, to the same end, and does at most the jobs again that were under way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from time import perf_counter

from netmorph.data import Dataset
from netmorph.run.config import EvolveConfig
from netmorph.run.final_test import FinalTest
from netmorph.run.findings import result_of
from netmorph.run.names import Stage, State, Status
from netmorph.run.ranking import spent
from netmorph.run.records import Records
from netmorph.run.result import Result
from netmorph.run.rows import EpochRecord, NetworkRecord
from netmorph.run.store import NetworkStore
from netmorph.search import tuning
from netmorph.search.allowance import Allowance
from netmorph.search.arms import ARMS, NewArm
from netmorph.search.births import Birth
from netmorph.search.jobs import Done, Job, Learning, Lost, Trained
from netmorph.search.networks import START, Networks
from netmorph.search.planning import EvolutionError, Planner, Round
from netmorph.search.progress import Progress
from netmorph.workers.executor import Executor

EVENING_TRIES = 2
EPOCH_FIELDS = [field.name for field in fields(EpochRecord) if field.name != "network"]


def evolve(
    folder: Path,
    config: EvolveConfig,
    dataset: Dataset,
    records: Records,
    executor: Executor[Job, Done],
    on_progress: Callable[[Progress], None] = lambda progress: None,
    arms: Sequence[NewArm] = ARMS,
    began: float | None = None,
    publish: Callable[[], object] = lambda: None,
) -> Result:
    """Run an evolution, or go on with one, until its budget is reached.

    Args:
        folder: the run's folder; the caller holds its lock.
        dataset: `config.data`, loaded.
        records: of this folder, to read and write; new, or those of a run that was interrupted.
        executor: runs the jobs that `netmorph.search.jobs.handler(folder, config)` handles.
        arms: the searches that are made beside each other, see `netmorph.search.arms`; the same whenever it goes on.
        began: when this session began, by `time.perf_counter`, for a budget of time; now if not given.
        publish: what will be done with the result at the end. Where time is the budget, it is called once after the
            founders, so that as much time is kept free for it.

    Returns:
        What it has found.

    Raises:
        EvolutionError: the start network could not be made or trained, or the data or the arms are not those that the
            run began with.
        SaveError: the disk is full. `evolve` goes on from there later.
    """
    told = records.meta("result")
    if told is not None:
        return Result.from_json(told)
    run = _Run(folder, config, dataset, records, executor, on_progress, arms, began)
    run.prepare()
    run.start()
    run.allowance.keep_time_for(publish)
    while run.next_round():
        pass
    run.tune()
    run.even_out()
    return run.finish()


class _Run:
    def __init__(
        self,
        folder: Path,
        config: EvolveConfig,
        dataset: Dataset,
        records: Records,
        executor: Executor[Job, Done],
        on_progress: Callable[[Progress], None],
        arms: Sequence[NewArm],
        began: float | None,
    ) -> None:
        self.config = config
        self.records = records
        self.executor = executor
        self.on_progress = on_progress
        self.dataset = dataset
        self.store = NetworkStore(folder, config.base(dataset), config.recipe)
        self.networks = Networks(records)
        planners = [
            Planner(config, dataset, records, self.networks, executor, position, self.store)
            for position in range(len(arms))
        ]
        self.arms = [new(planner) for new, planner in zip(arms, planners, strict=True)]
        self.by_name = {arm.name: arm for arm in self.arms}
        if not self.arms or len(self.by_name) < len(self.arms):
            raise EvolutionError(f"a run has arms with different names; got {[arm.name for arm in self.arms]}")
        self.lead, *self.baselines = self.arms
        self._planner = planners[0]
        self._optimizers = self.store.with_optimizers()
        before, started = float(records.meta("seconds") or 0.0), perf_counter() if began is None else began
        self.allowance = Allowance(self._planner, self.lead, len(self.baselines), before, started)
        self._children = 0  # of the round that is planned

    # -- the stations of a run ---------------------------------------------------------------------------------

    def prepare(self) -> None:
        known = self.records.meta("fingerprint")
        if known not in (None, self.dataset.fingerprint):
            raise EvolutionError(
                f"the data {self.config.data.source!r} is not what this run began with (its content differs); "
                "bring the old data back, or start a new run"
            )
        arms, begun_with = list(self.by_name), self.records.meta("arms")
        if begun_with not in (None, arms):
            raise EvolutionError(
                f"this run was begun with the arms {', '.join(begun_with)}, and is to go on with {', '.join(arms)}; "
                "give the same ones, in their order"
            )
        with self.records.transaction():
            self.records.set_meta("fingerprint", self.dataset.fingerprint)
            self.records.set_meta("arms", arms)

    def start(self) -> None:
        if not len(self.networks):
            founders = self.lead.plan(Round(0, START, self.config.founders, 0))
            if founders[0].state == State.FAILED:
                raise EvolutionError(f"the start network could not be made: {founders[0].failure}")
            with self.records.transaction():
                self._plan(founders)
                self._plan(self._evened(0, 0, self.networks.next_id, 0))
        if self.records.meta("round") is None:  # what else is planned is trained where its round ends
            self._train_planned(0)
        start = self.networks[START]
        if start.state != State.TRAINED:
            raise EvolutionError(f"the start network could not be trained: {start.failure}")
        if self.records.meta("round") is None:
            self._end_round(0)

    def next_round(self) -> bool:
        """Plan (unless it is planned already), train and select; False when the budget is reached."""
        if tuning.copies(self.records):
            return False
        number = int(self.records.meta("round")) + 1
        began = perf_counter()
        if self.networks.latest_round < number:
            children = self.allowance.room()
            if self.allowance.budget_reached(number) or not children:
                return False
            planned = self._planned(number, children)
            if not planned:
                return False
            self._plan(planned)
            if all(network.state == State.FAILED for network in planned):  # they would fail again
                self._end_round(number)
                return False
            self._children = sum(network.arm == self.lead.name for network in planned)
        self._train_planned(number)
        if self._children and number > 1:  # in the first round, the baselines make up for the founders, too
            self.allowance.pace.round = (perf_counter() - began) / self._children
        self._end_round(number)
        return True

    def tune(self) -> None:
        """Train copies of the survivors on for the last time; of each network and its copy, the better one lives on."""
        if not self.config.tune or not self.networks.survivors(self.lead.name):
            return
        if not tuning.copies(self.records):
            self._plan_tuning(int(self.records.meta("round")) + 1)
        number = self.networks[min(tuning.copies(self.records))].round
        if self.networks.planned():
            self._train_planned(number)
        if self.records.meta("round") != number:
            self._end_round(number)

    def _plan_tuning(self, number: int) -> None:
        following, survivors = self.networks.next_id, self.networks.survivors(self.lead.name)
        copies = tuning.bear(self._planner, self.lead.name, survivors, number, following)
        target = self.networks.totals(self.lead.name).spent + spent(copies)
        planned = [*copies, *self._evened(number, len(copies), following + len(copies), target)]
        with self.records.transaction():
            self._plan(planned)
            tuning.remember(self.records, copies)

    def even_out(self) -> None:
        """Make up for what failed networks left the baselines short of in the last round."""
        number = int(self.records.meta("round"))
        for _ in range(EVENING_TRIES if number else 0):  # there is no baseline to founders
            if not self.networks.planned():
                target = self.networks.totals(self.lead.name).spent
                planned = self._evened(number, self.config.children, self.networks.next_id, target)
                if not planned:
                    return
                self._plan(planned)
            self._train_planned(number)
            self._end_round(number)

    def finish(self) -> Result:
        self.store.clear()
        scores = FinalTest(self.store, self.dataset, self.config.recipe.views)
        result = result_of(self.records, scores, self.allowance.seconds)
        with self.records.transaction():
            self.records.set_meta("result", result.as_json())
            self.records.set_meta("seconds", self.allowance.seconds)
            self.records.set_meta("status", Status.FINISHED)
        return result

    # -- planning ------------------------------------------------------------------------------------------------

    def _planned(self, number: int, children: int) -> list[NetworkRecord]:
        """All networks of a round with so many children, or as many as there is time for; none if not for a single one.

        Without baselines if not a single child could be born.
        """
        following = self.networks.next_id
        planned = self.lead.plan(Round(number, following, children, 0))
        if all(network.state == State.FAILED for network in planned):
            return planned
        while planned and self.allowance.too_long(planned):  # a smaller last round, rather than idle time
            if len(planned) == 1 and number == 1:
                break
            planned = planned[:-1]
        if not planned:
            return []
        target = self.networks.totals(self.lead.name).spent + spent(planned)
        return [*planned, *self._evened(number, len(planned), following + len(planned), target)]

    def _evened(self, number: int, children: int, following: int, target: int) -> list[NetworkRecord]:
        """What the baselines need until each has had `target` training FLOPs; in round 0, founders of their own."""
        planned: list[NetworkRecord] = []
        for arm in self.baselines:
            planned += arm.plan(Round(number, following + len(planned), children, target))
        return planned

    def _plan(self, planned: Iterable[NetworkRecord]) -> None:
        with self.records.transaction():
            for network in planned:
                self.networks.put(network)
            self.records.forget_births()

    # -- training ------------------------------------------------------------------------------------------------

    def _train_planned(self, number: int) -> None:
        waiting = self.networks.planned()
        self._progress(number, 0, len(waiting))
        began = perf_counter()
        trained, done = 0.0, 0
        for outcome in self.executor.run(self._jobs(waiting)):
            found = outcome.result if isinstance(outcome.result, Mapping) else {}
            ids = () if isinstance(outcome.job, Birth) else outcome.job.ids
            with self.records.transaction():  # all of a job, or it is done again
                for id in ids:
                    network, made = self.networks[id], found.get(id)
                    if isinstance(made, Trained):
                        self._record_trained(network, made)
                        trained += made.seconds
                    else:
                        failure = made.reason if isinstance(made, Lost) else outcome.failure
                        self.networks.put(replace(network, state=State.FAILED, failure=failure))
            for id in ids:
                self.store.drop(id, Stage.BORN)
                done += 1
            self._progress(number, done, len(waiting))
        self.allowance.pace.note_round(trained, perf_counter() - began)

    def _jobs(self, waiting: Sequence[NetworkRecord]) -> list[Learning]:
        """What trains planned networks of all arms, the longest first: so that no worker idles at the end."""
        by_arm, copies = defaultdict[str, list[NetworkRecord]](list), tuning.copies(self.records)
        for network in waiting:
            if network.id not in copies:
                by_arm[network.arm].append(network)
        jobs = [job for arm, planned in by_arm.items() for job in self.by_name[arm].jobs(planned)]
        jobs += tuning.jobs(self.config, (network for network in waiting if network.id in copies))
        return sorted(jobs, key=lambda job: -sum(self.networks[id].training_flops for id in job.ids))

    def _record_trained(self, network: NetworkRecord, result: Trained) -> None:
        best = result.chosen or result.history.best
        with self.records.transaction():
            self.networks.put(
                replace(
                    network,
                    state=State.TRAINED,
                    training_flops=int(network.training_flops * result.share),
                    seconds=result.seconds,
                    score=best.score,
                    numbers=best.validation,
                    smoothed=result.smoothed,
                )
            )
            self.records.replace_epochs(
                network.id,
                [
                    EpochRecord(network.id, **{key: getattr(epoch, key) for key in EPOCH_FIELDS})
                    for epoch in result.history
                ],
            )
            self.records.set_meta("seconds", self.allowance.seconds)
        self.allowance.pace.note(len(result.history), self.networks[network.id].training_flops, result.seconds)
        self._optimizers.add(network.id)

    # -- selection -----------------------------------------------------------------------------------------------

    def _end_round(self, number: int) -> None:
        chosen = {arm.name: arm.choose(number) for arm in self.arms}
        if copies := tuning.copies(self.records):
            chosen[self.lead.name] = tuning.better(self.networks, copies)
        with self.records.transaction():
            for name, population in chosen.items():
                self.networks.set_survivors(name, population)
            self.records.set_meta("round", number)
            self.records.set_meta("seconds", self.allowance.seconds)
        self.store.keep_answers({id for population in chosen.values() for id in population})
        needed = {id for arm in self.arms for id in arm.parents()}
        for id in self._optimizers - needed:  # nothing is trained on from these
            self.store.drop_optimizer(id)
        self._optimizers &= needed
        self._progress(number, 1, 1, finished=True)

    # -- small things --------------------------------------------------------------------------------------------

    def _progress(self, number: int, done: int, jobs: int, finished: bool = False) -> None:
        best = self.networks.totals(self.lead.name).best
        left = self.allowance.left(number, done / jobs if jobs else 1.0)
        self.on_progress(Progress(number, done, jobs, self.allowance.seconds, best, finished, left))
