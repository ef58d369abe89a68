"""What the study keeps of each network, in files that are whole or absent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from netmorph.errors import NetmorphError
from netmorph.files import write_text
from netmorph.ranks.architectures import Architecture
from netmorph.ranks.looks import Look
from netmorph.tasks import Numbers
from netmorph.typed import check_fields

ROWS = "rows"


class StudyError(NetmorphError):
    """A study cannot be made of this, or its folder is damaged or another study's."""


@dataclass(frozen=True)
class Row:
    """One network, trained under one condition.

    Attributes:
        network: its number among the random networks.
        condition: the data it was trained on, see `netmorph.ranks.trainings.conditions`.
        seed: of its first weights and the order of the samples.
        looks: over time, the first before the first epoch; the last at the end.
        test: the task's numbers on the test part, at the end.
        saturated: whether the training loss had stopped falling when it ended; else the epochs were used up.
        seconds: of the processor, for training and looking; those who were stacked share theirs.
        failure: why there is nothing to tell: the training diverged.
    """

    network: int
    condition: str
    seed: int
    architecture: Architecture
    looks: tuple[Look, ...]
    test: Numbers
    saturated: bool
    seconds: float
    failure: str | None = None

    @property
    def first(self) -> Look:
        """Before training."""
        return self.looks[0]

    @property
    def last(self) -> Look:
        """At the end."""
        return self.looks[-1]

    @property
    def hidden(self) -> list[str]:
        """The layers but the classifier, whose rank is at most the number of classes."""
        return list(self.last.weights)[:-1]

    @staticmethod
    def from_json(told: dict[str, Any]) -> Row:
        """The row that `dataclasses.asdict` told of.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: it told of none.
        """
        shape = told["architecture"]
        architecture = Architecture(**(shape | {"widths": tuple(shape["widths"])}))
        row = Row(**(told | {"architecture": architecture, "looks": tuple(Look(**look) for look in told["looks"])}))
        for part in (architecture, *row.looks, row):
            check_fields(part)
        return row


def write_rows(file: Path, rows: Sequence[Row]) -> None:
    """Keep the networks that were trained together.

    Raises:
        SaveError: the file could not be written.
    """
    write_text(file, "".join(json.dumps(asdict(row), allow_nan=False) + "\n" for row in rows))


def read(folder: Path) -> list[Row]:
    """All networks that a study has trained so far, failed ones too, in the order of their conditions and numbers.

    Raises:
        StudyError: a file is damaged.
    """
    rows = []
    for file in sorted((folder / ROWS).glob("*.jsonl")):
        try:
            rows += [Row.from_json(json.loads(line)) for line in file.read_text("utf-8").splitlines()]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StudyError(f"{file} is damaged ({error}); remove it, and go on with the study") from error
    return sorted(rows, key=lambda row: (row.condition, row.network))


def trained(rows: Sequence[Row], condition: str | None = None) -> list[Row]:
    """Those that did not fail, of one condition or of all."""
    return [row for row in rows if row.failure is None and condition in (None, row.condition)]
