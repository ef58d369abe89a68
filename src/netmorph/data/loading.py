"""`load`: a name, a file or a folder -> a data set, split and measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from netmorph.data.arrays import read_npz, tensors
from netmorph.data.cache import cached, folder_state, user_cache
from netmorph.data.columns import Missing
from netmorph.data.dataset import DataError, Dataset, images_in_classes
from netmorph.data.images import ImageSize, check_size
from netmorph.data.layouts import find_layout
from netmorph.data.named import NAMES, existing_path, find_folder, read_diabetes, read_digits, read_stdlib
from netmorph.data.preparation import Pixels
from netmorph.data.source import RawData, check_source
from netmorph.data.splitting import check_fraction, split_parts
from netmorph.data.tables import check_column, read_table, readers
from netmorph.data.tabular import table_dataset
from netmorph.data.targets import Answered
from netmorph.data.text import mapped_dataset, read_texts, text_dataset
from netmorph.data.vocabulary import Unit
from netmorph.tasks import Task

TaskName = Answered | Literal["text"]


def load(
    source: str | Path,
    *,
    seed: int = 0,
    validation: float = 0.15,
    train_size: int | None = None,
    task: TaskName | Task | None = None,
    size: ImageSize | None = None,
    cache: Path | None = None,
    target: str | None = None,
    ignore: Sequence[str] = (),
    missing: Missing | None = None,
    window: int | None = None,
    unit: Unit | None = None,
) -> Dataset:
    """Load a data set into memory, split by a seed.

    Args:
        source: a name, a file or a folder, see below.
        seed: of the splits; the same seed gives the same splits.
        validation: fraction of the train samples held out, class by class where there are classes, unless the data
            brings a validation part. 0 holds none out and leaves the validation part empty. A missing test part is a
            fifth of all samples, taken first.
        train_size: keep so many train samples, evenly over the classes (160 of ten classes are 16 a class); of a text,
            windows.
        task: "classification", "regression" or "text", where the data is not to decide: "text" reads any file, or all
            files of a folder, as text. A `Task` of your own takes what the data gives by itself.
        size: height and width to resize every image to; an image folder of mixed sizes needs it.
        cache: folder for decoded images, `$XDG_CACHE_HOME/netmorph/tensors` by default. The next load maps them from
            there unless the files changed.
        target: the column of a table to answer. Strings, and at most 20 different integers, are classes; other numbers
            are values to regress.
        ignore: columns of a table to leave out.
        missing: "refuse" (by default) missing numbers of a table, or let the "mean" of the train rows stand for them.
        window: tokens in a window of a text, 128 by default.
        unit: a token of a text is a "character" (by default) or a "byte".

    What is loaded:
        Images: `digits` (embedded), `mnist`, `kmnist`, `fashion_mnist`, `cifar10`, looked for in
        `$NETMORPH_DATA/<name>`, then in the user's cache, then downloaded; or a folder that holds Hugging Face parquet,
        MNIST's idx files, CIFAR-10's binary files, or images in a folder a class, with or without train/, validation/
        and test/ above them. Tables: `diabetes` (embedded), a .csv, .tsv or .parquet file, see `table_dataset`. Arrays:
        a .npz file with x and y, see `tensors`. Text: `stdlib` (the sources of Python's own library), a .txt file, any
        file or folder with task="text", see `text_dataset`.

    Raises:
        DataError: the data cannot be found, read or split as asked, or an option is for other data.
        MissingExtra: a package that reads this data is not installed.
    """
    check_fraction(validation)
    if isinstance(ignore, str):
        raise DataError(f"ignore takes a list of columns, ignore=[{ignore!r}] for one")
    options: dict[str, Any] = {"task": task, "size": size, "cache": cache, "target": target}
    options |= {"ignore": tuple(ignore) or None, "missing": missing, "window": window, "unit": unit}
    own_task = options.pop("task") if isinstance(task, Task) else None
    given = {name: value for name, value in options.items() if value is not None}
    kind = _kind(source, given.get("task"))
    _check_options(source, kind, given)
    if len(kind.options["task"]) == 1:  # and goes without saying
        given.pop("task", None)
    dataset = kind.load(source, {"seed": seed, "validation": validation, "train_size": train_size}, **given)
    return dataset if own_task is None else replace(dataset, task=own_task)


class Kind(NamedTuple):
    """A kind of data: what it is, what loads it, and the values of `load`'s further options that it takes."""

    what: str
    load: Callable[..., Dataset]
    options: Mapping[str, tuple[str, ...]]  # no values: any


def _load_images(
    source: str | Path, split: Mapping[str, Any], size: ImageSize | None = None, cache: Path | None = None
) -> Dataset:
    check_size(size)
    cache = cache or user_cache() / "tensors"
    if source == "digits":
        content, fingerprint = cached(cache, source, f"{source} {size}", state="", read=lambda: read_digits(size))
    else:
        folder = find_folder(str(source)) if source in NAMES else existing_path(source)
        content, fingerprint = _read_folder(folder.resolve(), size, cache)
    parts = split_parts(content.parts, content.classes, **split)
    return images_in_classes(_name(source), parts, content.classes, Pixels.measured(parts[0].inputs), fingerprint)


def _read_folder(folder: Path, size: ImageSize | None, cache: Path) -> tuple[RawData, str]:
    read = find_layout(folder)

    def checked() -> RawData:
        source = read(folder, size)
        check_source(source, folder)
        return source

    return cached(cache, folder.name, identity=f"{folder} {size}", state=folder_state(folder), read=checked)


def _load_table(
    source: str | Path, split: Mapping[str, Any], target: str | None = None, ignore: Sequence[str] = (), **options: Any
) -> Dataset:
    if source == "diabetes":
        table, progression = read_diabetes()
        for name in ignore:
            check_column(name, table)
        kept = {name: column for name, column in table.items() if name not in ignore}
        return table_dataset("diabetes", kept, target or progression, **split, **options)
    return table_dataset(_name(source), read_table(existing_path(source), ignore=ignore), target, **split, **options)


def _load_arrays(source: str | Path, split: Mapping[str, Any], **options: Any) -> Dataset:
    arrays: dict[str, Any] = read_npz(existing_path(source))
    return tensors(**arrays, name=_name(source), **split, **options)


def _load_text(source: str | Path, split: Mapping[str, Any], unit: Unit = "character", **options: Any) -> Dataset:
    if source == "stdlib":
        return text_dataset("stdlib", read_stdlib(), unit=unit, **split, **options)
    path = existing_path(source)
    if unit == "byte" and path.is_file():
        stretches = {name: value for name, value in split.items() if name != "seed"}  # one text is not drawn from
        return mapped_dataset(_name(source), path, **stretches, **options)
    return text_dataset(_name(source), read_texts(path, unit), unit=unit, **split, **options)


IMAGES = Kind("images", _load_images, {"task": ("classification",), "size": (), "cache": ()})
TABLE = Kind(
    "a table",
    _load_table,
    {"task": ("classification", "regression"), "target": (), "ignore": (), "missing": get_args(Missing)},
)
ARRAYS = Kind("arrays", _load_arrays, {"task": ("classification", "regression")})
TEXT = Kind("a text", _load_text, {"task": ("text",), "window": (), "unit": get_args(Unit)})
EMBEDDED = {"diabetes": TABLE, "stdlib": TEXT}
SUFFIXES = {**dict.fromkeys(readers(), TABLE), ".npz": ARRAYS, ".txt": TEXT}


def _kind(source: str | Path, task: str | None) -> Kind:
    if source in NAMES:
        return EMBEDDED.get(str(source), IMAGES)
    path = existing_path(source)
    if task == "text":
        return TEXT
    if path.is_dir():
        return IMAGES
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{path} is a file of no known kind; expected {', '.join(SUFFIXES)}, or a folder; to read it as text, take "
            "task='text' (--task text)"
        )
    return SUFFIXES[path.suffix.lower()]


def _check_options(source: str | Path, kind: Kind, given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if name not in kind.options:
            raise DataError(f"{name} is not for {kind.what}, which {source} is taken for; leave it out")
        if kind.options[name] and value not in kind.options[name]:
            raise DataError(
                f"{name} must be {' or '.join(map(repr, kind.options[name]))} for {kind.what}, which {source} is taken "
                f"for; got {value!r}"
            )


def _name(source: str | Path) -> str:
    return str(source) if source in NAMES else Path(source).expanduser().resolve().name
