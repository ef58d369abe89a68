"""Hugging Face parquet: `train-*.parquet`, `test-*.parquet`, images encoded in a column beside the labels."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from netmorph.data.dataset import DataError, Split
from netmorph.data.images import ImageSize, decode_images
from netmorph.data.source import RawData, numbered_classes
from netmorph.errors import require

_PATTERNS = {"train": "train*.parquet", "validation": "val*.parquet", "test": "test*.parquet"}
_BATCH = 1024  # rows held encoded at a time


def matches(folder: Path) -> bool:
    """Whether a folder, or its data/, holds parquet files."""
    return any(folder.glob("*.parquet")) or any(folder.glob("data/*.parquet"))


def read(folder: Path, size: ImageSize | None) -> RawData:
    """Read columns `image` ({bytes, path}) and `label` (integer); class names from the schema where given."""
    files = find_files(folder)
    parts = _read_parts(files, size)
    return RawData(parts, _class_names(files["train"][0]) or numbered_classes(parts))


def find_files(folder: Path) -> dict[str, list[Path]]:
    """The files of each part that is there.

    Raises:
        DataError: none is named as train's.
    """
    folder = folder if any(folder.glob("*.parquet")) else folder / "data"
    files = {part: sorted(folder.glob(pattern)) for part, pattern in _PATTERNS.items()}
    if not files["train"]:
        raise DataError(f"{folder} has parquet files but none named train-*.parquet; rename the training files")
    return {part: paths for part, paths in files.items() if paths}


def _read_parts(files: Mapping[str, list[Path]], size: ImageSize | None) -> dict[str, Split]:
    counts = {part: sum(_open(path).metadata.num_rows for path in paths) for part, paths in files.items()}
    for part, count in counts.items():
        if count == 0:
            raise DataError(f"{files[part][0]} has no rows; add images or remove the file")
    labels: list[int] = []

    def images() -> Iterator[tuple[str, bytes]]:
        for path in (path for paths in files.values() for path in paths):
            for row, (content, label) in enumerate(_rows(path)):
                where = f"{path} row {row}"
                if label is None or label < 0:
                    raise DataError(f"{where} has no label; remove the rows without one")
                if content is None:
                    raise DataError(f"{where} has no image bytes; remove the row, or embed the image in it")
                labels.append(label)
                yield where, content

    # Together: what is read to one size and mode has these in all parts.
    decoded = decode_images(images(), sum(counts.values()), size).split([*counts.values()])
    pieces = zip(decoded, torch.tensor(labels).split([*counts.values()]), strict=True)
    return {part: Split(*own) for part, own in zip(counts, pieces, strict=True)}


def _rows(path: Path) -> Iterator[tuple[bytes | None, int | None]]:
    types = require("pyarrow.types", "data")
    errors = require("pyarrow", "data").ArrowException
    file = _open(path)
    schema = {field.name: field.type for field in file.schema_arrow}
    image = next((name for name in ("image", "img") if name in schema), None)
    if image is None or not types.is_struct(schema[image]) or schema[image].get_field_index("bytes") < 0:
        raise DataError(f"{path} needs a column 'image' with the field 'bytes'; it has {list(schema)}")
    if "label" not in schema or not types.is_integer(schema["label"]):
        raise DataError(f"{path} has no labels: it needs a column 'label' of integers; it has {list(schema)}")
    try:
        for batch in file.iter_batches(_BATCH, columns=[image, "label"]):
            contents = batch.column(image).field("bytes").to_pylist()
            yield from zip(contents, batch.column("label").to_pylist(), strict=True)
    except (errors, OSError) as error:
        raise _damaged(path, error) from error


def _open(path: Path) -> Any:
    parquet = require("pyarrow.parquet", "data")
    try:
        return parquet.ParquetFile(path)
    except (require("pyarrow", "data").ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} is damaged or no parquet file: {error}; download it again")


def _class_names(path: Path) -> tuple[str, ...]:
    """Names that the `datasets` library stores with a ClassLabel column; none where the schema has none."""
    metadata = _open(path).schema_arrow.metadata or {}
    features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return tuple(features.get("label", {}).get("names", ()))
