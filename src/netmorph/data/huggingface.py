"""Data sets of the `datasets` library on disk, memory-mapped: written by `save_to_disk`, or parquet files."""

from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from netmorph.data.cache import folder_state
from netmorph.data.dataset import DataError
from netmorph.data.encoded import Listing
from netmorph.data.layouts import parquet
from netmorph.data.source import numbered
from netmorph.errors import require

_PARTS = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "test": "test"}


class Rows:
    """The images of some data sets of `datasets`, one after the other.

    Args:
        sets: by where they stand; each has one column, `image`, which is not decoded when it is read.
    """

    def __init__(self, sets: dict[str, Any]) -> None:
        self._places, self._sets = list(sets), list(sets.values())
        self._starts = list(accumulate((len(rows) for rows in self._sets), initial=0))

    def place(self, row: int) -> str:
        """See `Encoded`."""
        number = self._number(row)
        return f"{self._places[number]} row {row - self._starts[number]}"

    def read(self, row: int) -> bytes:
        """See `Encoded`."""
        number = self._number(row)
        content = (self._sets[number][row - self._starts[number]]["image"] or {}).get("bytes")
        if content is None:
            raise DataError(f"{self.place(row)} has no image bytes; remove the row, or embed the image in it")
        return bytes(content)

    def _number(self, row: int) -> int:
        return bisect_right(self._starts, row) - 1


def matches(folder: Path) -> bool:
    """Whether a folder holds what `save_to_disk` writes, or parquet files."""
    return (folder / "dataset_dict.json").exists() or (folder / "state.json").exists() or parquet.matches(folder)


def list_rows(folder: Path, cache: Path) -> Listing:
    """The rows of a folder's data set. No code that comes with data is run, and nothing is fetched.

    Args:
        cache: folder for what `datasets` makes of parquet files, which cannot be mapped as they are.

    Raises:
        DataError: it is damaged, or has no train part, no images or no labels.
        MissingExtra: `datasets` is not installed.
    """
    opened = _open(folder, cache)
    if "train" not in opened:
        raise DataError(f"{folder} has no train part; its parts are {', '.join(opened) or 'none'}")
    named = {part: (f"{folder} {name}", opened[name]) for name, part in _PARTS.items() if name in opened}
    labels = {part: _labels(where, table) for part, (where, table) in named.items()}
    rows = torch.arange(sum(map(len, labels.values()))).split([len(given) for given in labels.values()])
    every = torch.cat(list(labels.values()))
    kind = opened["train"].features[_label_column(*named["train"])]
    published = kind.names if isinstance(kind, require("datasets", "huggingface").ClassLabel) else ()
    return Listing(
        images=Rows({where: _images(where, table) for where, table in named.values()}),
        rows=dict(zip(labels, rows, strict=True)),
        labels=every,
        classes=tuple(published or numbered(every)),
        state=folder_state(folder),
    )


def _open(folder: Path, cache: Path) -> dict[str, Any]:
    library = require("datasets", "huggingface")
    try:
        if parquet.matches(folder):
            files = parquet.find_files(folder).items()
            return {
                part: library.Dataset.from_parquet([str(path) for path in paths], cache_dir=str(cache))
                for part, paths in files
            }
        found = library.load_from_disk(str(folder))
    except DataError:
        raise
    except Exception as error:  # whatever the readers of the formats inside run into
        raise DataError(f"the data set in {folder} cannot be opened: {error}; save or download it again") from error
    return dict(found) if isinstance(found, library.DatasetDict) else {"train": found}


def _images(where: str, table: Any) -> Any:
    library = require("datasets", "huggingface")
    column = next((name for name, kind in table.features.items() if isinstance(kind, library.Image)), None)
    column = column or next((name for name in ("image", "img") if name in table.features), None)
    if column is None:
        raise DataError(f"{where} needs a column 'image'; it has {', '.join(table.features)}")
    only = table.select_columns(column)
    only = only if column == "image" else only.rename_column(column, "image")
    return only.cast_column("image", library.Image(decode=False))


def _label_column(where: str, table: Any) -> str:
    library = require("datasets", "huggingface")
    if "label" in table.features:
        return "label"
    named = (name for name, kind in table.features.items() if isinstance(kind, library.ClassLabel))
    column: str | None = next(named, None)
    if column is None:
        raise DataError(f"{where} needs a column 'label' of integers; it has {', '.join(table.features)}")
    return column


def _labels(where: str, table: Any) -> Tensor:
    column = _label_column(where, table)
    labels = np.asarray(table.select_columns(column).with_format("numpy")[:][column])
    # Missing labels make the others floats.
    if labels.dtype.kind not in "iu" and len(labels):
        raise DataError(f"{where} needs integers in column {column!r}, one a row; it holds {labels.dtype} values")
    return torch.from_numpy(labels.astype(np.int64))
