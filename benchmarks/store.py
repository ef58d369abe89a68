"""What questions to the records of a run take, by how many networks it has: milliseconds on this machine.

    python -m benchmarks.store [--networks 1000 10000 100000]

The questions are those of the driver after each child, of `netmorph show RUN:ID`, and of the page of `netmorph watch`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter

from netmorph.live.snapshot import snapshot
from netmorph.run.database import FILE_NAME
from netmorph.run.names import ArmName, State
from netmorph.run.records import Records
from netmorph.run.rows import EditRecord, EpochRecord, NetworkRecord

NETWORKS = (1_000, 10_000, 100_000)
TIMES = 5
CHILDREN, EPOCHS = 6, 3
EDIT = EditRecord("widen r2r", "features.0", 8, 12, 0.2, 1e-7, 0.0)


def write(folder: Path, count: int) -> Path:
    """A run that goes on: six networks in a round, children of four of the round before; every 50th failed.

    The last six are planned.
    """
    with Records.create(folder) as records, records.transaction():
        for id in range(1, count + 1):
            records.put_network(made_up(id, count))
            if id <= count - CHILDREN:
                records.add_epochs(_epochs(id))
        records.set_survivors(ArmName.EVOLVE, _population(count))
        told = {"title": "lenet5 on digits", "status": "running", "round": count // CHILDREN, "seconds": 3600.0}
        for key, value in told.items():
            records.set_meta(key, value)
        records.set_meta("config", {"budget": {"seconds": 7200}})
    return folder


def made_up(id: int, count: int) -> NetworkRecord:
    """Network `id` of so many."""
    parent = CHILDREN * ((id - 1) // CHILDREN) - Random(id).randrange(4)
    score = 0.88 + 0.09 * (1 - 1 / (1 + id / 300)) - 0.03 * (id * 0.618 % 1)
    network = NetworkRecord(
        id=id,
        arm=ArmName.EVOLVE,
        round=(id - 1) // CHILDREN,
        parent=None if id <= CHILDREN else parent - (parent % 50 == 0),
        seed=id,
        state=State.TRAINED,
        parameters=3000 + id,
        flops=int(90_000 * (1 + id / 500) * (1 + id * 0.618 % 1)),
        training_flops=10**9 + id * 10**6,
        seconds=2.0,
        score=score,
        numbers={"loss": 0.3, "accuracy": score},
        survivor=False,
        edits=(EDIT,) * 2 if id > CHILDREN else (),
        failure=None,
    )
    if id > count - CHILDREN:
        return replace(network, state=State.PLANNED, score=None, numbers={}, seconds=0.0)
    if id % 50 == 0:
        reason = f"it ran out of memory ({id % 3})"
        return replace(network, state=State.FAILED, score=None, numbers={}, failure=reason)
    return network


def _epochs(id: int) -> list[EpochRecord]:
    numbers = {"loss": 0.5, "accuracy": 0.8}
    return [EpochRecord(id, epoch, numbers, numbers, 0.8, 1e-3, 1.0) for epoch in range(1, EPOCHS + 1)]


def _population(count: int) -> list[int]:
    return [id for id in range(max(1, count - 20), count - CHILDREN) if id % 50][:4]


def questions(records: Records, count: int) -> dict[str, Callable[[], object]]:
    """Each question by what it is for."""
    last = count - CHILDREN - 1

    def record() -> None:
        with records.transaction():
            records.put_network(made_up(last, count))
            records.replace_epochs(last, _epochs(last))
            records.set_meta("seconds", 1.0)

    return {
        "a trained network is recorded": record,
        "the population is set": lambda: records.set_survivors(ArmName.EVOLVE, _population(count)),
        "one network": lambda: records.network(count // 2),
        "its epochs": lambda: records.epochs(count // 2),
        "the queue": lambda: records.queue(50),
        "failures by reason": lambda: records.failures(20),
        "watch: what has changed": lambda: json.dumps(snapshot(records, last)),
        "one with all its ancestors": lambda: records.ancestry(count // 2),
        "watch: all networks": lambda: json.dumps(snapshot(records)),
        "all networks with their edits": records.networks,
    }


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store")
    parser.add_argument("--networks", type=int, nargs="+", default=NETWORKS)
    counts = parser.parse_args(arguments).networks
    rows: dict[str, list[float]] = {}
    sizes = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), count)
            sizes.append((Path(folder) / FILE_NAME).stat().st_size / count)
            with Records.resume(Path(folder)) as records:
                for name, ask in questions(records, count).items():
                    rows.setdefault(name, []).append(median(_milliseconds(ask) for _ in range(TIMES)))
    print(f"\n{'ms, by networks':<32}" + "".join(f"{count:>12,}" for count in counts))
    for name, times in rows.items():
        print(f"{name:<32}" + "".join(f"{time:>12.2f}" for time in times))
    print(f"{'bytes a network':<32}" + "".join(f"{size:>12.0f}" for size in sizes))


def _milliseconds(ask: Callable[[], object]) -> float:
    began = perf_counter()
    ask()
    return 1e3 * (perf_counter() - began)


if __name__ == "__main__":
    main(sys.argv[1:])
