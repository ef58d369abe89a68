"""From the columns of a table to features: what is learnt on the train rows encodes all others, and new tables."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from netmorph.data.dataset import DataError
from netmorph.data.precision import in_float32
from netmorph.data.tables import Column, Names, Numbers, Rows, Table, read_table
from netmorph.wording import listed

# Different strings of a column, each a feature of its own; more of them are rather a name or a text.
CATEGORIES = 100

Missing = Literal["refuse", "mean"]


@dataclass(frozen=True)
class Quantity:
    """A column of numbers.

    Attributes:
        name: of the column.
        stand_in: for a missing value, the mean of the training rows; None refuses missing values.
        told: whether a second feature is 1 where the value is missing: where some were in training.
    """

    name: str
    stand_in: float | None = None
    told: bool = False

    @property
    def features(self) -> list[str]:
        """Their names."""
        return [self.name, f"{self.name} is missing"] if self.told else [self.name]

    def encode(self, column: Column) -> Tensor:
        """float32 [N, 1] or, with what is missing, [N, 2].

        Raises:
            DataError: the column holds strings, infinite values, or missing ones that are refused.
        """
        if isinstance(column, Names):
            raise DataError(f"the column {self.name!r} must hold numbers, got {column.names[0]!r} among its values")
        values = column.values.float()
        if infinite := int(values.isinf().sum()):
            raise DataError(
                f"the column {self.name!r} has {infinite} of {len(values)} values that are infinite (or beyond 3e38); "
                "remove these rows or correct them"
            )
        if self.stand_in is None and (count := int(column.missing.sum())):
            raise DataError(_missing(f"{self.name!r} ({count} of {len(values)} rows)"))
        filled = values if self.stand_in is None else values.where(~column.missing, self.stand_in)
        return torch.stack([filled, column.missing.float()][: len(self.features)], 1)


@dataclass(frozen=True)
class Category:
    """A column of strings: each that the training rows have is a feature, 1 where it stands and 0 elsewhere.

    Attributes:
        name: of the column.
        values: in alphabetical order, then None if a value was missing. Others, met later, are 0 in all features.
    """

    name: str
    values: tuple[str | None, ...]

    @property
    def features(self) -> list[str]:
        """Their names."""
        return [f"{self.name} is missing" if value is None else f"{self.name}={value}" for value in self.values]

    def encode(self, column: Column) -> Tensor:
        """float32 [N, values].

        Raises:
            DataError: the column holds numbers.
        """
        if isinstance(column, Numbers):
            if not column.missing.all():
                raise DataError(f"the column {self.name!r} must hold strings like {self.values[0]!r}, got numbers")
            column = Names(torch.full((len(column.values),), -1), ())
        place = {value: number for number, value in enumerate(self.values)}
        unseen = len(self.values)
        # The last code, -1, is that of what is missing.
        places = torch.tensor([place.get(value, unseen) for value in (*column.names, None)])
        return torch.nn.functional.one_hot(places[column.codes], unseen + 1)[:, :unseen].float()


@dataclass(frozen=True)
class TableEncoder:
    """Makes features of a table's rows, as it was learnt on the training rows; plain values.

    Attributes:
        columns: those that are used, in the order of their features.
    """

    columns: tuple[Quantity | Category, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """The name of each feature."""
        return tuple(feature for column in self.columns for feature in column.features)

    def encode(self, raw: Rows) -> Tensor:
        """Features float32 [N, F] of new rows: a file, or values by column. Further columns are left alone.

        Raises:
            DataError: the rows cannot be read, a column is missing, or holds what it did not in training.
        """
        texts = [column.name for column in self.columns if isinstance(column, Category)]
        return self.features_of(read_table(raw, texts=texts, only=[column.name for column in self.columns]))

    def features_of(self, table: Table) -> Tensor:
        """Features float32 [N, F] of a table that was read and has the columns. Errors as for `encode`."""
        return torch.cat([column.encode(table[column.name]) for column in self.columns], 1)

    def describe(self) -> dict[str, Any]:
        """See `Encoder`."""
        return {"kind": "table", **asdict(self)}


def learn(table: Table, rows: Tensor, missing: Missing) -> TableEncoder:
    """The encoder of a table. Columns that do not vary in the training rows tell nothing, and are left out.

    Args:
        table: without the target.
        rows: int64 [M], the training rows.
        missing: "refuse" missing numbers, in any row, or let the "mean" of the training rows stand for them. A missing
            string is a category.

    Raises:
        DataError: missing numbers, a column of too many different strings, or no column that varies.
    """
    if missing == "refuse":
        _refuse_missing(table)
    found = (_learn_column(name, column[rows], missing) for name, column in table.items())
    encoder = TableEncoder(tuple(column for column in found if column is not None))
    if not encoder.columns:
        raise DataError(
            "there is nothing to learn from: no column beside the target varies in the train rows, of "
            f"{listed([*map(repr, table)]) or 'none'}; add columns"
        )
    return encoder


def _learn_column(name: str, train: Column, missing: Missing) -> Quantity | Category | None:
    absent = bool(train.missing.any())
    if isinstance(train, Names):
        present = sorted(train.names[code] for code in train.codes[~train.missing].unique().tolist())
        if len(present) > CATEGORIES:
            raise DataError(
                f"the column {name!r} has {len(present)} different strings in {len(train.codes)} rows; at most "
                f"{CATEGORIES} make a category. Ignore it (ignore=[{name!r}]), or group its values"
            )
        categories = (*present, None) if absent else (*present,)
        return Category(name, categories) if len(categories) > 1 else None
    values = train.values[~train.missing]
    if not len(values) or (not absent and values.min() == values.max()):
        return None
    if values.float().isfinite().all():  # else `encode` counts them
        in_float32(values[:, None], f"the values of the column {name!r}")
    return Quantity(name, None if missing == "refuse" else values.mean().item(), absent)


def _refuse_missing(table: Table) -> None:
    absent = {name: column.missing for name, column in table.items() if isinstance(column, Numbers)}
    if found := [f"{name!r} ({int(rows.sum())} of {len(rows)} rows)" for name, rows in absent.items() if rows.any()]:
        raise DataError(_missing(listed(found)))


def _missing(where: str) -> str:
    return (
        f"values are missing in {where}. Remove these rows, ignore the column, or load with missing='mean' "
        "(--missing mean): the train rows' mean stands for what is missing, and a feature tells where"
    )
