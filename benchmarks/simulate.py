"""An evolution on 1 to 1,000 workers in simulated time: how busy they are, and what the driver does for each child.

    python -m benchmarks.simulate [--children 10000] [--workers 1 10 100 1000] [--run RUN]

The driver is the real one. Its jobs are answered at once, and end when recorded costs say: each child costs what one of
the recorded networks did. Those are the training FLOPs of a run on the digits (simulate_costs.csv), at a speed at which
they take MEAN seconds on average; with `--run`, the seconds of a run of your own. A birth takes a twentieth of a mean
training, handing out a job DISPATCH seconds of the driver's. Utilization is the share of all workers' time, until the
last round ends, in which they train or bear networks: it follows from these numbers, whatever machine simulates it.
Only the milliseconds of the driver are this machine's.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import sys
import tempfile
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from time import perf_counter

from benchmarks import driver, store
from netmorph.measure.cost import Cost
from netmorph.run.config import EvolveConfig
from netmorph.run.database import FILE_NAME
from netmorph.run.ranking import trained
from netmorph.run.records import Records
from netmorph.search.arms import ARMS, NewArm
from netmorph.search.births import Birth, Born
from netmorph.search.jobs import Done, Job
from netmorph.search.networks import Networks
from netmorph.search.progress import Progress
from netmorph.workers.executor import Outcome

COSTS = Path(__file__).with_name("simulate_costs.csv")
MEAN = 10.0
DISPATCH = 0.002
BIRTH = 0.05  # of a mean training
LEAD = ARMS[:1]  # the evolution, without its baselines


@dataclass(frozen=True)
class Recorded:
    """What one network cost: parameters, FLOPs for a sample, seconds of its training."""

    parameters: int
    flops: int
    seconds: float


class Workers:
    """So many workers in simulated time, and a driver that hands out one job after another."""

    def __init__(self, count: int, now: float = 0.0) -> None:
        self._free, self._handed = [now] * count, now

    def give(self, seconds: float) -> float:
        """When a job of so many seconds ends, which the first worker that is free gets."""
        self._handed = max(self._handed, self._free[0]) + DISPATCH
        heapq.heapreplace(self._free, self._handed + seconds)
        return self._handed + seconds


class Simulated:
    """An executor in simulated time.

    Args:
        costs: of recorded networks; a birth's seed says which of them it bears.

    Attributes:
        now: seconds of simulated time that have passed.
        busy: seconds in which workers worked, all of them together.
        own: real seconds that went by in here, which the driver has nothing to do with.
    """

    def __init__(self, costs: Sequence[Recorded], workers: int) -> None:
        self.now, self.busy, self.own = 0.0, 0.0, 0.0
        self._workers, self._costs, self._birth = workers, costs, BIRTH * mean(cost.seconds for cost in costs)
        self._of: dict[int, Recorded] = {}

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome[Job, Done]]:
        began = perf_counter()
        workers, ends = Workers(self._workers, self.now), []
        for number, job in enumerate(jobs):
            result, seconds = self._done(job)
            ends.append((workers.give(seconds), number, Outcome(job, result)))
            self.busy += seconds
        for self.now, _, outcome in sorted(ends, key=lambda end: end[:2]):
            self.own += perf_counter() - began
            yield outcome
            began = perf_counter()

    def _done(self, job: Job) -> tuple[Done, float]:
        """The result of a job, and the seconds that it takes."""
        if isinstance(job, Birth):
            cost = self._of[job.id] = self._costs[job.seed % len(self._costs)]
            return Born(Cost(cost.parameters, cost.flops, 3 * cost.flops), driver.born(job).edits), self._birth
        cost = self._of[job.id] = self._of[job.id if job.source is None else job.source]
        seconds = cost.seconds * job.epochs / driver.EPOCHS
        return {job.id: driver.trained(job.seed, job.epochs, seconds)}, seconds


class Rounds:
    """Lets so many rounds pass."""

    def __init__(self, most: int) -> None:
        self._most = most

    def __call__(self, progress: Progress) -> None:
        if progress.finished and progress.round == self._most:
            raise driver.Reached


@dataclass(frozen=True)
class Simulation:
    """What came of one.

    Attributes:
        networks: that were made.
        milliseconds: of the driver, for each of them.
        stored, held: bytes on the disk, and in the driver's memory, for each of them.
    """

    networks: int
    utilization: float
    milliseconds: float
    stored: float
    held: float


def simulation(
    costs: Sequence[Recorded], workers: int, children: int, rounds: int, arms: Sequence[NewArm] = ARMS
) -> Simulation:
    """So many rounds of so many children."""
    config = driver.config_of_epochs(EvolveConfig())
    config = replace(config, children=children, founders=min(children, config.founders))
    executor = Simulated(costs, workers)
    with tempfile.TemporaryDirectory() as folder:
        began = perf_counter()
        driver.until_reached(Path(folder), config, executor, Rounds(rounds), arms)
        spent = perf_counter() - began - executor.own
        with Records.resume(Path(folder)) as records:
            tracemalloc.start()
            networks = Networks(records)
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        count, stored = len(networks), (Path(folder) / FILE_NAME).stat().st_size
    return Simulation(
        count, executor.busy / (workers * executor.now), 1e3 * spent / count, stored / count, held / count
    )


def steady_state(seconds: Iterable[float], workers: int) -> float:
    """The utilization without rounds: a worker that is free gets a child of the population of that moment."""
    staff, took = Workers(workers), [*seconds]
    end = max(map(staff.give, took))
    return sum(took) / (workers * end)


def recorded(run: Path | None) -> list[Recorded]:
    """The costs of the trained networks of a run; without one, those of simulate_costs.csv."""
    if run is not None:
        with Records.open(run) as records:
            networks = [network for network in trained(records.networks()) if network.seconds > 0]
        return [Recorded(network.parameters, network.flops, network.seconds) for network in networks]
    with COSTS.open(newline="") as file:
        rows = [{name: int(value) for name, value in row.items()} for row in csv.DictReader(file)]
    speed = mean(row["training_flops"] for row in rows) / MEAN
    return [Recorded(row["parameters"], row["flops"], row["training_flops"] / speed) for row in rows]


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulate")
    parser.add_argument("--children", type=int, default=10_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--run", type=Path)
    given = parser.parse_args(arguments)
    costs = recorded(given.run)
    told = f"{len(costs)} recorded networks, {mean(cost.seconds for cost in costs):.3g} s of training on average"
    print(f"{told}, the longest {max(cost.seconds for cost in costs):.3g} s")
    columns = ("workers", "children", "arms", "networks", "utilization", "driver ms", "disk B", "memory B")
    print(("{:>11}" * len(columns)).format(*columns))
    for workers in given.workers:
        for children, arms in ((max(6, workers), LEAD), (max(24, 4 * workers), LEAD), (max(24, 4 * workers), ARMS)):
            # The baselines make as many networks again as the evolution, or more.
            rounds = max(1, given.children // (children * len(arms)))
            found = simulation(costs, workers, children, rounds, arms)
            print(
                f"{workers:>11,}{children:>11,}{len(arms):>11}{found.networks:>11,}{found.utilization:>11.1%}"
                f"{found.milliseconds:>11.2f}{found.stored:>11.0f}{found.held:>11.0f}",
                flush=True,
            )
        birth = BIRTH * mean(cost.seconds for cost in costs)
        endless = (birth + costs[id * 2_654_435_761 % len(costs)].seconds for id in range(given.children))
        print(f"{workers:>11,}{'no rounds':>11}{1:>11}{given.children:>11,}{steady_state(endless, workers):>11.1%}")
    store.main()


if __name__ == "__main__":
    main(sys.argv[1:])
