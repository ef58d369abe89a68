"""Which table was asked for, how a folder of it begins, and what is left to do in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from netmorph.errors import NetmorphError, require, suggest
from netmorph.reproduce.cnn_tutorial import CNN_TUTORIAL
from netmorph.reproduce.rows import Row, Study
from netmorph.reproduce.runs import Outcome, outcomes
from netmorph.reproduce.tables import page_of
from netmorph.run import folders
from netmorph.run.folders import REPORT, FolderError, Kind

STUDIES: dict[str, Study] = {CNN_TUTORIAL.name: CNN_TUTORIAL}


@dataclass(frozen=True)
class Asked:
    """What was asked for.

    Attributes:
        study: a name of `STUDIES`.
        rows: of it, by name; none are all.
        seeds: of each row; None: as many as it has.
    """

    study: str
    rows: tuple[str, ...] = ()
    seeds: int | None = None

    @staticmethod
    def read(folder: Path) -> Asked:
        """What a folder began with.

        Raises:
            FolderError: nothing, or its file is damaged.
        """

        def made(told: dict[str, Any]) -> Asked:
            return Asked(**told | {"rows": tuple(told["rows"])})

        return folders.config_of(folder, Kind.REPRODUCE, made, FolderError)

    @property
    def table(self) -> Study:
        """The table.

        Raises:
            NetmorphError: there is none of this name.
        """
        if self.study not in STUDIES:
            raise NetmorphError(f"no table {self.study!r}{suggest(self.study, STUDIES)}; there is {', '.join(STUDIES)}")
        return STUDIES[self.study]

    @property
    def picked(self) -> tuple[Row, ...]:
        """The rows that were asked for. Raises as `Study.pick`."""
        return self.table.pick(list(self.rows))

    @property
    def trainings(self) -> list[tuple[Row, int]]:
        """All that was asked for: rows and seeds."""
        return [(row, seed) for row in self.picked for seed in range(self.seeds or row.seeds)]

    def left(self, folder: Path) -> list[tuple[Row, int]]:
        """What of it is not done yet.

        Raises:
            NetmorphError: a file is damaged, or of another recipe.
        """
        done = {(one.row, one.seed) for one in outcomes(self.table.rows, folder)}
        return [(row, seed) for row, seed in self.trainings if (row.name, seed) not in done]


def begin(folder: Path, asked: Asked, command: str = "") -> None:
    """Start a folder.

    Raises:
        FolderError: it is not free.
        MissingExtra: what draws its page is not installed.
    """
    folders.check_free(folder)
    require("jinja2", "report")  # before hours of training, not after
    folders.begin(folder, Kind.REPRODUCE, asdict(asked), command)


def write(folder: Path, study: Study, found: Sequence[Outcome]) -> Path:
    """Write report.html into a folder, of at least one training that is done.

    Raises:
        SaveError: the file could not be written.
    """
    return page_of(study, found).write(folder / REPORT)
