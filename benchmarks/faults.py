"""One long evolution of tiny networks under random faults, beside the same one that nothing disturbs.

    python -m benchmarks.faults [--faults 200] [--seed 0] [--workers 2] [--timeout 6] [--on ray] [--weights shared]
        [--folder FOLDER]

Killed at random moments (SIGKILL) are workers and the driver; a full disk stops the run; a NaN, an allocation that is
refused and a hanging job end one child each. Whoever stopped is started again. Told is what became of each kind of
fault, and: whether the two runs have recorded the same networks, epochs and result and hold the same bytes in their
files; trainings that were done again because a driver was gone; processes that outlived their driver.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

from benchmarks._faulty import DOOMS, HANG, LOG, MEMORY, NAN, PLACES, TOKEN, undisturbed
from netmorph import session
from netmorph.run.budget import Budget
from netmorph.run.config import DataConfig, EvolveConfig
from netmorph.run.names import Inheritance, State
from netmorph.run.records import Records
from netmorph.run.rows import NetworkRecord
from netmorph.search.births import Birth
from netmorph.train.recipe import Recipe

WORKER, DRIVER, DISK = DISTURBANCES = ("kill -9 of a worker", "kill -9 of the driver", "full disk")
SHARES = (6, 3, 1)  # of the disturbances
REASONS = {NAN: "NotFinite: ", MEMORY: "out of memory, RuntimeError: ", HANG: "timed out after "}
NETWORKS_A_FAULT, NETWORKS_A_ROUND = 1.6, 9
MARK = "NETMORPH_FAULTS"  # in the environment of all processes of a run
MOST_KILLS = 2  # of workers at the same job: the third would end it
GONE_WITHIN = 30.0


def config(faults: int, seed: int, weights: Inheritance = Inheritance.INHERITED) -> EvolveConfig:
    rounds = math.ceil(NETWORKS_A_FAULT * faults / NETWORKS_A_ROUND)
    return EvolveConfig(
        data=DataConfig("digits", train_size=160),
        model="mlp",
        options={"width": 0.125},
        recipe=Recipe(epochs=1, batch_size=32, learning_rate=0.01),
        founders=2,
        start_epochs=2,
        population=2,
        children=4,
        weights=weights,
        max_flops=2e4,
        budget=Budget(rounds=rounds),
        seed=seed,
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=6.0, help="seconds of a job; more on a busy machine")
    parser.add_argument("--on", choices=PLACES, default="processes")
    parser.add_argument(
        "--weights", type=Inheritance, choices=[*Inheritance], default=Inheritance.INHERITED, help="of children"
    )
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        asked = config(given.faults, given.seed, given.weights)
        whole = session.create(folder / "undisturbed", asked, "benchmarks.faults")
        began = time.perf_counter()
        session.evolve(whole, 1, lambda progress: None, on=undisturbed)
        print(f"undisturbed, in one process: {time.perf_counter() - began:.0f} s", flush=True)
        lost = Counter(str(network.failure).partition(": ")[2] for network in failed(whole))
        storm = Storm(
            session.create(folder / "disturbed", asked, "benchmarks.faults"),
            folder,
            disturbances(given.faults - lost.total(), given.seed),
            random.Random(given.seed),
            given.workers,
            given.timeout,
            given.on,
            networks=len(networks(whole)),
        )
        began = time.perf_counter()
        storm.rage()
        print(f"disturbed: {time.perf_counter() - began:.0f} s, {storm.drivers} drivers", flush=True)
        print(table(storm, whole, lost))


def disturbances(number: int, seed: int) -> list[str]:
    """So many in random order, the kinds by their shares."""
    kinds = [kind for kind, share in zip(DISTURBANCES, SHARES, strict=True) for _ in range(share)]
    drawn = [kinds[index * len(kinds) // max(number, 1)] for index in range(number)]
    random.Random(seed).shuffle(drawn)
    return drawn


@dataclass
class Storm:
    """Drives a run to its end through disturbances.

    Attributes:
        folder, faults: of the run, and of what its jobs log.
        waiting: disturbances to come.
        networks: that the run will train, by which it is seen how far it is.
        done: disturbances that came, by kind.
        left: processes that outlived their driver.
        again: for each driver that was gone, the trainings that the next one did again.
    """

    folder: Path
    faults: Path
    waiting: list[str]
    draw: random.Random
    workers: int
    timeout: float
    place: str
    networks: int
    done: Counter[str] = field(default_factory=Counter)
    drivers: int = 0
    left: int = 0
    again: list[int] = field(default_factory=list)
    _mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    _kills: Counter[str] = field(default_factory=Counter)

    def rage(self) -> None:
        """Until the run is finished."""
        moments = sorted(self.draw.uniform(0.02, 0.95) * self.networks for _ in self.waiting)
        driver = self.start()
        for disturbance, moment in zip(self.waiting, moments, strict=True):
            while driver.poll() is None and self._ended() < moment:
                time.sleep(0.1)
            time.sleep(self.draw.uniform(0, 0.5))
            if driver.poll() is not None:
                break
            driver = self.disturb(driver, disturbance)
        self._check(driver, finished=True)
        lines = [line.split() for line in (self.faults / LOG).read_text().splitlines()]
        begun = defaultdict[str, set[str]](set)
        for what, _, session_of, kind, network in lines:
            if what == "begin" and kind != Birth.__name__:
                begun[session_of].add(network)
        sessions = [*begun.values()]
        self.again = [len(before & after) for before, after in pairwise(sessions)]

    def disturb(self, driver: subprocess.Popen[str], disturbance: str) -> subprocess.Popen[str]:
        """Let a disturbance come; the driver that goes on afterwards."""
        return {WORKER: self._kill_worker, DRIVER: self._kill_driver, DISK: self._fill_disk}[disturbance](driver)

    def start(self) -> subprocess.Popen[str]:
        self.drivers += 1
        arguments = [str(self.folder), str(self.faults), str(self.workers), str(self.timeout), self.place]
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks._faulty", *arguments],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, MARK: self._mark},
        )

    def _kill_worker(self, driver: subprocess.Popen[str]) -> subprocess.Popen[str]:
        """One of those that are at a job now; waits until there is one."""
        while driver.poll() is None:
            busy = [(pid, job) for pid, job in self._busy(driver.pid).items() if self._kills[job] < MOST_KILLS]
            if busy:
                pid, job = self.draw.choice(busy)
                with suppress(psutil.NoSuchProcess):  # it had just ended: another one is looked for
                    psutil.Process(pid).kill()
                    self._kills[job] += 1
                    self.done[WORKER] += 1
                    break
            time.sleep(0.02)
        return driver

    def _kill_driver(self, driver: subprocess.Popen[str]) -> subprocess.Popen[str]:
        driver.kill()
        driver.communicate()
        self.done[DRIVER] += 1
        self.wait_until_gone()
        return self.start()

    def _fill_disk(self, driver: subprocess.Popen[str]) -> subprocess.Popen[str]:
        while driver.poll() is None:  # who takes the token may be ended by its time limit before it writes
            (self.faults / TOKEN).touch()
            with suppress(subprocess.TimeoutExpired):
                driver.wait(2 * self.timeout)
        self._check(driver, finished=False)
        self.done[DISK] += 1
        return self.start()

    def _check(self, driver: subprocess.Popen[str], *, finished: bool) -> None:
        _, errors = driver.communicate()
        if finished != (driver.returncode == 0) or (not finished and "SaveError: could not write" not in errors):
            raise RuntimeError(f"a driver ended with {driver.returncode}:\n{errors}")
        self.wait_until_gone()

    def wait_until_gone(self) -> None:
        """Without a driver none of its processes should live for long; those that do are counted and killed."""
        end = time.monotonic() + GONE_WITHIN
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.05)
        self.left += len(left)
        for process in left:
            process.kill()

    def processes(self) -> list[psutil.Process]:
        """All of this run that live."""
        return [process for process in psutil.process_iter() if _environment(process).get(MARK) == self._mark]

    def _ended(self) -> int:
        """Networks that are trained or lost by now."""
        with Records.open(self.folder) as records:
            return sum(network.state != State.PLANNED for network in records.networks())

    def _busy(self, driver: int) -> dict[int, str]:
        """The jobs at which processes of a driver are, by pid."""
        at: dict[int, str] = {}
        for line in (self.faults / LOG).read_text().splitlines() if (self.faults / LOG).exists() else ():
            what, pid, session_of, kind, network = line.split()
            if int(session_of) == driver:
                at.pop(int(pid), None)
                if what == "begin":
                    at[int(pid)] = f"{kind} {network}"
        return {pid: job for pid, job in at.items() if psutil.pid_exists(pid)}


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        alive = process.status() != psutil.STATUS_ZOMBIE
        return process.environ() if alive else {}
    except (psutil.Error, OSError):
        return {}


def networks(folder: Path) -> list[NetworkRecord]:
    with Records.open(folder) as records:
        return records.networks()


def failed(folder: Path) -> list[NetworkRecord]:
    return [network for network in networks(folder) if network.state == State.FAILED]


def told(folder: Path) -> Any:
    """All that a run recorded, but how long it took and in which words a child was lost."""
    with Records.open(folder) as records:
        rows = [replace(network, seconds=0.0, failure=None) for network in records.networks()]
        epochs = [replace(epoch, seconds=0.0) for row in rows for epoch in records.epochs(row.id)]
        result = records.meta("result") or {}
    return rows, epochs, {key: value for key, value in result.items() if key != "seconds"}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "networks").iterdir())}


def table(storm: Storm, whole: Path, lost: Counter[str]) -> str:
    """What came, and what became of it."""
    reasons = Counter(
        next((kind for kind, reason in REASONS.items() if str(network.failure).startswith(reason)), "other reasons")
        for network in failed(storm.folder)
    )
    rows = [("fault", "number", "recorded so")]
    rows += [(kind, str(storm.done[kind]), "") for kind in DISTURBANCES]
    rows += [(kind, str(lost[kind]), str(reasons[kind])) for kind in DOOMS]
    rows += [("all", str(storm.done.total() + lost.total()), "")]
    same: Callable[[bool], str] = lambda equal: "the same" if equal else "DIFFERENT"  # noqa: E731
    ends = [
        ("networks, epochs and result, of " + str(len(networks(whole))), same(told(whole) == told(storm.folder))),
        ("files, of " + str(len(files(whole))), same(files(whole) == files(storm.folder))),
        ("children lost for another reason", str(reasons["other reasons"])),
        (
            f"trainings done again by the next driver, at most (workers: {storm.workers})",
            str(max(storm.again, default=0)),
        ),
        ("processes that outlived their driver", str(storm.left)),
    ]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---|---|---|")
    lines += ["", "| at the end | |", "|---|---|", *(f"| {what} | {found} |" for what, found in ends)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
