"""Runs that nothing was trained for, in the folders that commands leave; and event files of TensorBoard."""

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from netmorph.chain import Chain, Outcome, Record
from netmorph.chain.journal import Journal
from netmorph.chaining import ChainConfig
from netmorph.ranks import StudyConfig
from netmorph.ranks.rows import write_rows
from netmorph.ranks.trainings import begin
from netmorph.run import folders
from netmorph.run.config import DataConfig
from netmorph.run.names import State, Status
from netmorph.run.records import Records
from netmorph.run.rows import EpochRecord, NetworkRecord
from netmorph.shrink import Round
from netmorph.shrink.progress import FILE, FORMAT
from netmorph.tasks.criterion import ACCURACY
from netmorph.train.history import Epoch
from tests.ranks.written import row

FLOPS = 1_000_000  # of each epoch


def numbers(share: float, speed: float, noise: float) -> dict[str, float]:
    accuracy = min(1.0, 1 - 0.9 * math.exp(-speed * share) + noise)
    return {"loss": 2.4 * (1 - accuracy) + 0.02, "accuracy": accuracy}


def epochs(count: int, seed: int = 0, speed: float = 3.0) -> list[Epoch]:
    random_ = random.Random(seed)
    told = []
    for epoch in range(1, count + 1):
        train, validation = (numbers(epoch / count, own, random_.gauss(0, 0.01)) for own in (1.2 * speed, speed))
        told.append(Epoch(epoch, train, validation, validation["accuracy"], 0.1 / epoch, 2.0))
    return told


def training(
    folder: Path,
    seed: int = 0,
    optimizer: str = "adamw",
    count: int = 6,
    speed: float = 3.0,
    grown: Sequence[float] = (),
) -> Path:
    """A finished `netmorph train`; `grown`: after so many epochs it grew."""
    told = epochs(count, seed, speed)
    config = {
        "task": "train",
        "data": {"source": "digits", "seed": seed},
        "recipe": {"optimizer": optimizer, "epochs": count},
        "seed": seed,
        "threads": seed + 1,
    }
    with Records.create(folder) as records, records.transaction():
        records.set_meta("config", config)
        records.set_meta("criterion", asdict(ACCURACY))
        records.put_network(
            NetworkRecord(
                *(1, "evolve", 0, None, seed, State.TRAINED, 1000, 2000, FLOPS * count, 2.0 * count, told[-1].score),
                *(told[-1].validation, True, (), None),
            )
        )
        records.replace_epochs(1, [EpochRecord(1, **asdict(epoch)) for epoch in told])
        if grown:
            sizes = [1000 * 2**place for place in range(len(grown) + 1)]
            records.set_meta("structures", [{"parameters": size} for size in sizes])
            records.set_meta("growth", {"epochs": list(grown), "flops": [FLOPS] * count})
        records.set_meta("status", Status.FINISHED)
    return folder


def events(folder: Path, values: Mapping[str, Sequence[float]], first: int = 1, purge: int | None = None) -> Path:
    """An event file; `first`: the first step, `purge`: what its writer says to have begun again from."""
    with SummaryWriter(str(folder), purge_step=purge) as writer:
        for tag, told in values.items():
            for step, value in enumerate(told, first):
                writer.add_scalar(tag, value, step, walltime=1000.0 + step)
    return max(folder.glob("*tfevents*"))


def shrinking(folder: Path) -> Path:
    rounds = []
    for number, (parameters, kept) in enumerate(((900, True), (500, True), (300, False), (400, True))):
        told = epochs(3, number)
        last = told[-1].validation
        rounds.append(
            Round(
                *(number, kept, {"fc1": parameters // 10}, {}, parameters, 2 * parameters, last, last, told[-1].score),
                *(tuple(told), FLOPS, 6.0),
            )
        )
    folder.mkdir(parents=True)
    told_rounds = {"format": FORMAT, "start": "x", "rounds": [one.as_json() for one in rounds]}
    (folder / FILE).write_text(json.dumps(told_rounds))
    return folder


def study(folder: Path) -> Path:
    folder.mkdir(parents=True)
    begin(folder, StudyConfig(DataConfig("digits"), networks=5, repeated=2), "")
    for condition, rank in (("true", 8.0), ("shuffled", 12.0)):
        rows = [row(number, (rank, rank + number), condition=condition) for number in range(3)]
        write_rows(folder / "rows" / f"{condition}-0000.jsonl", rows)
    return folder


def chains(folder: Path) -> Path:
    folder.mkdir(parents=True)
    config = ChainConfig("bank", DataConfig("digits"), seed=4)
    folders.begin(folder, folders.Kind.CHAIN, asdict(config))
    for agent, losses in (("beam", (0.5, 0.7, 0.3)), ("random", (0.9, 0.6))):
        journal = Journal(folder / f"{agent}.jsonl")
        for number, loss in enumerate(losses, 1):
            chain = Chain((str(number),), "solved")
            journal.add_record(Record(chain, Outcome(loss, 1 - loss, 10, 5), 100 * number, seconds=1.0 * number))
    return folder
