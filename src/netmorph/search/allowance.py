"""What the budget of a run still allows, as it looks now: a round, children of it, and the time until the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from netmorph.run.names import State
from netmorph.run.ranking import spent
from netmorph.run.rows import NetworkRecord
from netmorph.search import tuning
from netmorph.search.arms import Arm
from netmorph.search.pace import Pace
from netmorph.search.planning import Planner


@dataclass
class Allowance:
    """A budget, and what was taken of it.

    Attributes:
        planner: of the leading arm, whose budget it is.
        baselines: how many arms get as much beside it.
        before: seconds of the sessions before this one.
        started: when this one began, by `time.perf_counter`.
        pace: how long things took.
    """

    planner: Planner
    lead: Arm
    baselines: int
    before: float
    started: float
    pace: Pace = field(default_factory=Pace)

    @property
    def seconds(self) -> float:
        """Wall time so far, all sessions together."""
        return self.before + perf_counter() - self.started

    def budget_reached(self, number: int) -> bool:
        """Whether there is to be no round of this number."""
        budget = self.planner.config.budget
        return self._time_left <= 0 or self._spent >= budget.flops or number > self._last_round

    def room(self) -> int:
        """Children that the time has room for, by the last round; the first is always made."""
        config = self.planner.config
        if self.pace.round is None or self._time_left == math.inf:
            return config.children
        return min(config.children, int(self._time_left / max(self.pace.round, 1e-9)))

    def too_long(self, children: Sequence[NetworkRecord]) -> bool:
        """Whether the trainings of a round would run over the time there is, by those before."""
        left = self._time_left
        if left == math.inf:
            return False
        born = [network for network in children if network.state == State.PLANNED]
        flops = {network.id: network.training_flops for network in born}
        work = [(job.epochs, sum(flops[id] for id in job.ids)) for job in self.lead.jobs(born)]
        # The baselines will get as much; in the first round, for the founders, too.
        each = spent(born) + (self._spent if children[0].round == 1 else 0)
        seconds = self._seconds_of(work, each)
        return seconds is not None and seconds > left

    def keep_time_for(self, publish: Callable[[], object]) -> None:
        """Measure what comes after the last round, if that counts: telling of the run, and its test."""
        if self.planner.config.budget.seconds < math.inf:
            began = perf_counter()
            publish()
            # Each survivor alone, all of them together, what is shown of them, and the baselines.
            asked = 4 * sum(network.flops for network in self._survivors)
            self.pace.end = perf_counter() - began + self.pace.of_answers(asked * len(self.planner.dataset.test))

    def left(self, number: int, share: float) -> float | None:
        """Seconds until the end, as it looks when this share of a round is done; None while that cannot be told."""
        budget, spent_flops = self.planner.config.budget, self._spent
        ends = [budget.seconds - self.seconds] if budget.seconds < math.inf else []
        if self.pace.round is not None and budget.rounds < math.inf:
            rounds = self._last_round - number + 1 - share
            ends.append(rounds * self.pace.round * self.planner.config.children + self.pace.end)
        if number and spent_flops and budget.flops < math.inf:
            ends.append(self.seconds * max(0.0, budget.flops / spent_flops - 1))
        return max(0.0, min(ends)) if ends else None

    @property
    def _spent(self) -> int:
        return self.planner.networks.totals(self.lead.name).spent

    @property
    def _survivors(self) -> list[NetworkRecord]:
        return self.planner.networks.survivors(self.lead.name)

    @property
    def _last_round(self) -> float:
        """The number of the last round that the budget allows: the stages that tuned survivors before it were none."""
        return self.planner.config.budget.rounds + tuning.stages(self.planner.records)

    @property
    def _time_left(self) -> float:
        """For rounds."""
        budget = self.planner.config.budget
        if budget.seconds == math.inf:
            return math.inf
        return budget.seconds - self.seconds - self.pace.end - self._seconds_of_tuning

    @property
    def _seconds_of_tuning(self) -> float:
        """What the last stage will take, as it looks now."""
        tune = self.planner.config.tune
        survivors = self._survivors if tune else []
        samples = tune * len(self.planner.dataset.train)
        work = [(tune, 3 * samples * network.flops) for network in survivors]  # backward is two forwards
        return self._seconds_of(work, sum(flops for _, flops in work)) or 0.0 if work else 0.0

    def _seconds_of(self, work: Sequence[tuple[int, int]], each: int) -> float | None:
        """What trainings of so many epochs and FLOPs take, and baselines beside them that have so many FLOPs each."""
        epochs = each // max(1, self.planner.start_epoch)
        return self.pace.of([*work, *self.baselines * [(epochs, each)]])
