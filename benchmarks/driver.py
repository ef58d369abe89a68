"""What the driver of an evolution does for each network that was trained, by how many are recorded: no training here.

Workers are replaced by one that answers at once, so all that is left is planning, records, selection and files. Told is
the time of whole rounds, by the networks trained in them, once 100, 1,000 and 10,000 networks were recorded.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from netmorph.data import load
from netmorph.measure.cost import Cost
from netmorph.run.budget import Budget
from netmorph.run.config import EvolveConfig
from netmorph.run.records import Records
from netmorph.run.rows import EditRecord
from netmorph.search.arms import ARMS, NewArm
from netmorph.search.births import Birth, Born
from netmorph.search.evolution import evolve
from netmorph.search.jobs import Done, Job, Trained
from netmorph.search.progress import Progress
from netmorph.train.history import Epoch, History
from netmorph.workers.executor import Executor, Outcome

RECORDED = (100, 1_000, 10_000)
ROUNDS = 20  # so many are timed, from each number on
EPOCHS = 3


class Reached(Exception):
    """As many networks are recorded as were asked for."""


class Instant:
    """Answers each job at once, with numbers drawn by its seed; no network is on the disk."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome[Job, Done]]:
        for job in jobs:
            yield Outcome(job, born(job) if isinstance(job, Birth) else {job.id: trained(job.seed)})


def born(job: Birth) -> Born:
    """Larger than the founders, of which all are alike."""
    grown = 1.0 if job.generations == 0 else np.random.default_rng(job.seed).uniform(1, 4)
    edits = (EditRecord("widen r2r", "features.0", 8, 12, 0.2, 1e-7, 0.0),) * 3
    return Born(Cost(int(grown * 1e4), int(grown * 1e6), int(grown * 3e6)), edits if job.generations else ())


def trained(seed: int, epochs: int = EPOCHS, seconds: float = 1.0) -> Trained:
    accuracy = float(np.random.default_rng([seed, 1]).uniform(0.5, 1))  # not that of the size
    made = (_epoch(epoch, accuracy * epoch / epochs) for epoch in range(1, epochs + 1))
    return Trained(History(made), seconds)


def _epoch(number: int, accuracy: float) -> Epoch:
    validation = {"loss": 1 - accuracy, "accuracy": accuracy}
    return Epoch(number, {"loss": 0.5, "accuracy": 0.8}, validation, accuracy, 1e-3, 1.0)


def main() -> None:
    print(f"{'recorded':>10}{'ms a network':>15}   (median of {ROUNDS} rounds, smallest to largest)")
    for recorded, times in timed():
        low, high = min(times), max(times)
        print(f"{recorded:>10,}{1e3 * median(times):>15.2f}   ({1e3 * low:.2f} to {1e3 * high:.2f})", flush=True)


def timed() -> Iterator[tuple[int, list[float]]]:
    """So many networks recorded, and seconds a network in each of the rounds after that."""
    seen = Rounds(RECORDED[-1])
    with tempfile.TemporaryDirectory() as folder:
        until_reached(Path(folder), config_of_epochs(EvolveConfig()), Instant(), seen)
    for recorded in RECORDED:
        first = next(index for index, (total, _, _) in enumerate(seen.rounds) if total >= recorded)
        yield recorded, [seconds / count for _, count, seconds in seen.rounds[first : first + ROUNDS]]


def config_of_epochs(config: EvolveConfig) -> EvolveConfig:
    """The same without an end, in which all networks train for `EPOCHS`."""
    recipe = replace(config.recipe, epochs=EPOCHS)
    return replace(config, budget=Budget(rounds=10**9), start_epochs=EPOCHS, recipe=recipe)


def until_reached(
    folder: Path,
    config: EvolveConfig,
    executor: Executor[Job, Done],
    on_progress: Callable[[Progress], None],
    arms: Sequence[NewArm] = ARMS,
) -> None:
    """Evolve in an empty folder until `on_progress` raises `Reached`: there are no networks to be tested at an end."""
    (folder / "networks").mkdir()
    with Records.create(folder) as records, contextlib.suppress(Reached):
        evolve(folder, config, load("digits", seed=0), records, executor, on_progress, arms)


class Rounds:
    """Counts networks and seconds by rounds, until `ROUNDS` rounds after so many networks.

    Attributes:
        rounds: for each, networks recorded before it, networks trained in it, seconds.
    """

    def __init__(self, most: int) -> None:
        self.rounds: list[tuple[int, int, float]] = []
        self._most, self._total, self._jobs, self._since = most, 0, 0, perf_counter()

    def __call__(self, progress: Progress) -> None:
        self._jobs = max(self._jobs, progress.jobs)
        if not progress.finished:
            return
        now = perf_counter()
        self.rounds.append((self._total, self._jobs, now - self._since))
        self._total, self._jobs, self._since = self._total + self._jobs, 0, now
        if sum(total >= self._most for total, _, _ in self.rounds) == ROUNDS:
            raise Reached


if __name__ == "__main__":
    main()
