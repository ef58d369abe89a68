"""What is kept of each training, in files that are whole or absent."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from netmorph.files import write_text
from netmorph.neighbours.values import NeighbourError
from netmorph.tasks import Numbers
from netmorph.typed import check_fields

ROWS = "rows"


@dataclass(frozen=True)
class Job:
    """One training that is to be done.

    Attributes:
        neighbour: its number; 0 is the network itself.
        start: a name of `netmorph.neighbours.steps.STARTS`.
        seed: of its weights where they are drawn, of new channels, and of the order of the samples.
    """

    neighbour: int
    start: str
    seed: int

    def file(self, folder: Path) -> Path:
        """Where its row is kept."""
        return folder / ROWS / f"{self.start}-{self.seed}-{self.neighbour:03d}.json"


@dataclass(frozen=True)
class Row:
    """One training that is done.

    Attributes:
        untrained: the task's numbers on the validation part before the first step.
        validation, test: those of its best epoch, which the validation part chose.
        seconds: it took; processor_seconds: of all of its threads.
        memory: bytes that its process had in use at most until its end; 0 where nobody tells.
        failure: why there are no numbers: the training diverged, or a step was not possible.
    """

    job: Job
    untrained: Numbers = field(default_factory=dict)
    validation: Numbers = field(default_factory=dict)
    test: Numbers = field(default_factory=dict)
    seconds: float = 0.0
    processor_seconds: float = 0.0
    memory: int = 0
    failure: str | None = None


def write_row(folder: Path, row: Row) -> None:
    """Keep a training that is done.

    Raises:
        SaveError: the file could not be written.
    """
    write_text(row.job.file(folder), json.dumps(asdict(row), allow_nan=False) + "\n")


def read_rows(folder: Path, jobs: Iterable[Job]) -> list[Row]:
    """Those of the jobs that are done.

    Raises:
        NeighbourError: a file is damaged.
    """
    rows = []
    for job in jobs:
        file = job.file(folder)
        if not file.exists():
            continue
        try:
            told = json.loads(file.read_text("utf-8"))
            row = Row(**told | {"job": Job(**told["job"])})
            for part in (row.job, row):
                check_fields(part)
            if row.job != job:
                raise ValueError(f"it tells of {row.job}")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise NeighbourError(f"{file} is damaged ({error}); remove it, and go on with --resume {folder}") from error
        rows.append(row)
    return rows
