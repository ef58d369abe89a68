"""Tables as they are read: columns of numbers and of names, from .csv and .parquet files or from values by name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netmorph.data.dataset import DataError
from netmorph.errors import require, suggest
from netmorph.wording import listed

SEPARATORS = ",;\t"
_LARGEST_BLOCK = 2**31 - 1


@dataclass(frozen=True, eq=False)
class Numbers:
    """A column of numbers, float64 [N], NaN where one is missing; `whole`: the column's type is integer or boolean."""

    values: Tensor
    whole: bool = False

    @property
    def missing(self) -> Tensor:
        """bool [N]."""
        return self.values.isnan()

    def __getitem__(self, rows: Tensor) -> Numbers:
        return Numbers(self.values[rows], self.whole)


@dataclass(frozen=True, eq=False)
class Names:
    """A column of strings: `codes` int64 [N] index `names`, and are -1 where one is missing."""

    codes: Tensor
    names: tuple[str, ...]

    @property
    def missing(self) -> Tensor:
        """bool [N]."""
        return self.codes < 0

    def __getitem__(self, rows: Tensor) -> Names:
        return Names(self.codes[rows], self.names)


Column = Numbers | Names
Table = Mapping[str, Column]
Rows = str | Path | Mapping[str, Sequence[Any]]


def read_table(
    rows: Rows, *, ignore: Collection[str] = (), only: Collection[str] | None = None, texts: Collection[str] = ()
) -> dict[str, Column]:
    """The columns of a table, by name and in its order.

    Args:
        rows: a .csv, .tsv or .parquet file (a first line that names the columns; separated by a comma, semicolon or
            tab, whichever that line has most of), or values by column.
        ignore: columns to leave out, of whatever type.
        only: columns to read; None reads all others.
        texts: columns of a .csv that are read as strings, whatever they look like.

    Raises:
        DataError: it cannot be read, is empty, names two columns alike, lacks one that is to be read or ignored, or one
            that is read is neither of numbers nor of strings.
        MissingExtra: pyarrow is not installed.
    """
    arrow = require("pyarrow", "data")
    where = f"the table {rows}" if isinstance(rows, str | Path) else "the table"
    try:
        found = _read(rows, texts)
        names = list(found.column_names)
    except (arrow.ArrowException, ValueError, TypeError, OverflowError, OSError) as error:
        told = "; ".join(str(error).splitlines()) or type(error).__name__
        raise DataError(
            f"{where} cannot be read: {told}; expected a .csv with a line of names, a .parquet, or values by name"
        ) from error
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{where} has more than one column named {', '.join(map(repr, twice))}; rename all but one")
    for name in (*ignore, *(only or ())):
        check_column(name, names)
    if found.num_rows == 0:
        raise DataError(f"{where} has no rows; expected a line of column names and a row for each sample")
    wanted = [name for name in names if name not in ignore and (only is None or name in only)]
    return {name: _column(name, found[name], where) for name in wanted}


def check_column(name: str, table: Collection[str]) -> None:
    """Refuse the name of a column that is not there.

    Raises:
        DataError: with the names that there are.
    """
    if name not in table:
        raise DataError(
            f"there is no column {name!r}{suggest(name, table)}; the table has {listed([*map(repr, table)])}"
        )


def _read(rows: Rows, texts: Collection[str]) -> Any:
    if isinstance(rows, Mapping):
        return require("pyarrow", "data").table({name: _plain(values) for name, values in rows.items()})
    reader = readers().get(Path(rows).suffix.lower())
    if reader is None:
        raise DataError(f"{rows} is no table by its name; expected a file that ends in {', '.join(readers())}")
    return reader(Path(rows), texts)


def readers() -> dict[str, Callable[[Path, Collection[str]], Any]]:
    """What reads a file of a table, by its suffix."""
    return {".csv": _read_csv, ".tsv": _read_csv, ".parquet": _read_parquet}


def _plain(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values


def _read_csv(path: Path, texts: Collection[str]) -> Any:
    csv, string = require("pyarrow.csv", "data"), require("pyarrow", "data").string()
    with path.open("rb") as file:
        header = file.readline().decode("utf-8", "replace")
    return csv.read_csv(
        path,
        # One block: the type of a column is that of all its values, and not of those in the first megabyte.
        read_options=csv.ReadOptions(block_size=min(path.stat().st_size + 1, _LARGEST_BLOCK)),
        parse_options=csv.ParseOptions(delimiter=max(SEPARATORS, key=header.count), newlines_in_values=True),
        convert_options=csv.ConvertOptions(strings_can_be_null=True, column_types=dict.fromkeys(texts, string)),
    )


def _read_parquet(path: Path, texts: Collection[str]) -> Any:
    return require("pyarrow.parquet", "data").ParquetFile(path).read()  # read_table would guess columns from the path


def _column(name: str, column: Any, where: str) -> Column:
    arrow, types = require("pyarrow", "data"), require("pyarrow.types", "data")
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if types.is_null(kind):
        return Numbers(torch.full((len(column),), float("nan"), dtype=torch.float64))
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_floating(kind) or types.is_decimal(kind):
        numbers = column.cast(arrow.int8()) if types.is_boolean(kind) else column
        # float64 holds more than a network can tell apart; a cast that insists on every digit of an int64 would fail.
        values = numbers.cast(arrow.float64(), safe=False).to_numpy(zero_copy_only=False)
        return Numbers(_tensor(values), types.is_integer(kind) or types.is_boolean(kind))
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        coded = column.cast(arrow.large_string()).combine_chunks().dictionary_encode()
        codes = _tensor(coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)).long()
        return Names(codes, tuple(coded.dictionary.to_pylist()))
    if types.is_temporal(kind):
        expected = "a time or date; give what matters of it as numbers (days since a date, the month, the weekday)"
    elif types.is_binary(kind) or types.is_large_binary(kind):
        expected = "bytes that are no text in UTF-8; convert the file to UTF-8"
    else:
        expected = "neither numbers nor strings; make columns of numbers of it"
    raise DataError(
        f"{where}: the column {name!r} is of type {kind}: {expected}, or ignore the column (ignore=[{name!r}])"
    )


def _tensor(values: Any) -> Tensor:
    return torch.from_numpy(np.array(values))  # a copy: arrow's memory is read-only
