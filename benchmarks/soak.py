"""A long evolution of tiny networks with a random fault every ten seconds: is anything lost, or does anything grow?

    python -m benchmarks.soak --hours 2 [--every 10] [--seed 0] [--workers 2] [--timeout 6] [--folder FOLDER]

Faults are those of `benchmarks.faults`: workers are killed, now and then the driver (whoever stopped is started again),
sometimes the disk is full; a NaN, an allocation that is refused and a hanging job end one child in four. Before each
fault is looked at: the networks on record, memory and open files of the processes, the size of the folder; this goes to
`soak.csv` in the folder as well. At the end the driver is killed, and told is: how often each fault came; medians by
quarter of the time; networks that were on record as trained and are no longer, or with another score; networks of the
population that cannot be read; processes that outlived their driver. Status 1 if anything was lost or left.
"""

from __future__ import annotations

import argparse
import csv
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import psutil

from benchmarks.engine import machine_line
from benchmarks.faults import DISK, DISTURBANCES, DRIVER, REASONS, WORKER, Storm, config, failed, networks
from netmorph import session
from netmorph.errors import NetmorphError
from netmorph.run.budget import Budget
from netmorph.run.names import State
from netmorph.run.opening import load

SHARES = {WORKER: 17, DRIVER: 2, DISK: 1}  # drivers live long enough for something in them to grow
WITHOUT_END = 10**6  # rounds
MEGABYTE = 2**20
PARTS = 4  # of the time


@dataclass(frozen=True)
class Look:
    """What is there before a fault. Memory is resident; the folder is that of the run.

    Attributes:
        minutes: since the start.
        networks, lost_children: on record as trained, and as lost.
        driver_age: minutes.
    """

    minutes: float
    networks: int
    lost_children: int
    driver_age: float
    driver_mb: float
    largest_worker_mb: float
    processes: int
    driver_files: int
    folder_mb: float


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds from fault to fault")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=6.0, help="seconds of a job; more on a busy machine")
    parser.add_argument("--folder", type=Path, help="keeps the run")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        asked = replace(config(1, given.seed), budget=Budget(rounds=WITHOUT_END))
        storm = Storm(
            folder=session.create(folder / "run", asked, "benchmarks.soak"),
            faults=folder,
            waiting=[],
            draw=random.Random(given.seed),
            workers=given.workers,
            timeout=given.timeout,
            place="processes",
            networks=0,
        )
        looks, lost = soak(storm, 3600 * given.hours, given.every, folder / "soak.csv")
        unread = unreadable(storm.folder)
        print(machine_line())
        print(table(storm, looks, lost, unread))
    sys.exit(bool(lost or unread or storm.left))


def soak(storm: Storm, seconds: float, every: float, log: Path) -> tuple[list[Look], list[int]]:
    """Faults for so long. What was seen before each, and the networks that were lost.

    Raises:
        RuntimeError: a driver ended by itself.
    """
    began = time.monotonic()
    looks: list[Look] = []
    lost: list[int] = []
    known: dict[int, float | None] = {}
    driver = storm.start()
    with log.open("w") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Look))
        while (now := time.monotonic() - began) < seconds:
            time.sleep(max(0.0, (len(looks) + 1) * every - now))
            if driver.poll() is not None:
                raise RuntimeError(f"a driver ended with {driver.returncode}:\n{driver.communicate()[1]}")
            scores = {one.id: one.score for one in networks(storm.folder) if one.state == State.TRAINED}
            lost += [one for one, score in known.items() if one not in scores or scores[one] != score]
            known = scores
            looks.append(look(storm, driver, (time.monotonic() - began) / 60, len(scores)))
            writer.writerow(astuple(looks[-1]))
            file.flush()
            [disturbance] = storm.draw.choices(DISTURBANCES, [SHARES[kind] for kind in DISTURBANCES])
            driver = storm.disturb(driver, disturbance)
    driver.kill()
    driver.communicate()
    storm.wait_until_gone()
    return looks, lost


def look(storm: Storm, driver: subprocess.Popen[str], minutes: float, trained: int) -> Look:
    """What a run and its processes take now."""
    leading = psutil.Process(driver.pid)
    others = [process for process in storm.processes() if process.pid != driver.pid]
    return Look(
        minutes=round(minutes, 2),
        networks=trained,
        lost_children=len(failed(storm.folder)),
        driver_age=round((time.time() - leading.create_time()) / 60, 2),
        driver_mb=_megabytes(leading),
        largest_worker_mb=max(map(_megabytes, others), default=0.0),
        processes=len(others) + 1,
        driver_files=leading.num_fds(),
        folder_mb=round(sum(path.stat().st_size for path in storm.folder.rglob("*") if path.is_file()) / MEGABYTE, 2),
    )


def unreadable(folder: Path) -> list[int]:
    """Networks of the population whose file is gone, or damaged."""
    found = []
    for network in networks(folder):
        if network.survivor and network.state == State.TRAINED:
            try:
                load(f"{folder}:{network.id}")
            except NetmorphError:
                found.append(network.id)
    return found


def table(storm: Storm, looks: Sequence[Look], lost: Sequence[int], unread: Sequence[int]) -> str:
    """What came, what became of it, and medians by quarter of the time."""
    reasons = [str(network.failure) for network in failed(storm.folder)]
    dooms = {kind: sum(reason.startswith(start) for reason in reasons) for kind, start in REASONS.items()}
    rows = [*((kind, storm.done[kind]) for kind in DISTURBANCES), *dooms.items()]
    rows += [
        ("children lost for another reason", len(reasons) - sum(dooms.values())),
        ("networks trained", looks[-1].networks if looks else 0),
        ("networks lost", len(lost)),
        ("networks of the population that cannot be read", len(unread)),
        ("processes that outlived their driver", storm.left),
    ]
    lines = ["| | |", "|---|---|", *(f"| {what} | {number} |" for what, number in rows), ""]
    count = min(PARTS, len(looks))
    parts = [looks[len(looks) * part // count : len(looks) * (part + 1) // count] for part in range(count)]
    lines += [
        f"| median of a quarter | {' | '.join(map(str, range(1, len(parts) + 1)))} |",
        "|---" * (len(parts) + 1) + "|",
    ]
    for field in fields(Look):
        medians = [statistics.median(getattr(one, field.name) for one in part) for part in parts]
        lines.append(f"| {field.name} | {' | '.join(f'{median:.4g}' for median in medians)} |")
    return "\n".join(lines)


def _megabytes(process: psutil.Process) -> float:
    try:
        return round(process.memory_info().rss / MEGABYTE, 1)
    except psutil.Error:  # it has just ended
        return 0.0


if __name__ == "__main__":
    main()
