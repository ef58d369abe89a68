"""Arrays in memory, or in a .npz file -> data sets."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from netmorph.data.dataset import DataError, Dataset, Split, describe
from netmorph.data.precision import in_float32
from netmorph.data.preparation import Columns, Pixels, Preparation
from netmorph.data.source import RawData, fingerprint
from netmorph.data.splitting import check_fraction, split_parts
from netmorph.data.targets import Answered, answering, array_targets
from netmorph.tasks import Task
from netmorph.wording import listed


def tensors(
    x: Any,
    y: Any,
    *,
    x_validation: Any = None,
    y_validation: Any = None,
    x_test: Any = None,
    y_test: Any = None,
    task: Answered | Task | None = None,
    classes: Sequence[str] | None = None,
    outputs: int | None = None,
    name: str = "tensors",
    seed: int = 0,
    validation: float = 0.15,
    train_size: int | None = None,
) -> Dataset:
    """A data set of tensors, NumPy arrays or nested lists.

    Args:
        x: inputs: images uint8 [N, C, H, W], or grey ones [N, H, W]; floating features [N, F], or [N, C, ...] in
            channels, which are kept in float32. Both are given mean 0 and variance 1, by feature or channel, when a
            network takes them.
        y: targets: integers [N] are the labels of classes, floating numbers [N] or [N, K] are values.
        x_validation: inputs of this part, where it is given and not held out of x and y.
        y_validation: its targets.
        x_test: likewise.
        y_test: likewise.
        task: "classification" or "regression" if y is not to decide, or a `Task` of your own: targets [N, ...] stay
            what they are then.
        classes: their names, by label; None numbers them. Every class is in every part.
        outputs: how many numbers a network answers with, for a `Task` of your own without classes.
        name: of the data set.
        seed: of the splits, see `netmorph.data.load`.
        validation: fraction that is held out, likewise.
        train_size: how many samples are kept, likewise.

    Raises:
        DataError: inputs or targets of another dtype or shape, that do not fit each other, or are not finite.
    """
    check_fraction(validation)
    if not isinstance(task, Task) and task not in (None, *get_args(Answered)):
        known = listed([*map(repr, get_args(Answered)), "a Task of your own"], " or ")
        raise DataError(f"task must be {known}; got {task!r}")
    if outputs is not None and not isinstance(task, Task):
        raise DataError("outputs is for a Task of your own; y tells how many others have. Leave it out")
    given = {"train": (x, y), "validation": (x_validation, y_validation), "test": (x_test, y_test)}
    published = {part: _split(part, *pair) for part, pair in given.items() if any(each is not None for each in pair)}
    _check_shapes(published)
    if isinstance(task, Task):
        names = tuple(classes or ())
        if not outputs and not names:
            raise DataError(f"how many numbers answer the task {task.name!r}? Give outputs=... or classes=[...]")
    else:
        targets, names = array_targets(torch.cat([part.targets for part in published.values()]), task, classes)
        pieces = targets.split([len(part) for part in published.values()])
        published = {
            part: replace(split, targets=own) for (part, split), own in zip(published.items(), pieces, strict=True)
        }
    digest = fingerprint(RawData(published, names))
    labelled = published["train"].targets.ndim == 1 and not published["train"].targets.is_floating_point()
    parts = split_parts(published, names if labelled else (), seed, validation, train_size)
    preparation = _measured(parts[0].inputs)
    if isinstance(task, Task):
        return Dataset(name, *parts, task, preparation, outputs or len(names), digest, names)
    return answering(name, parts, names, preparation, digest)


def read_npz(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a .npz file as arguments of `tensors`: x and y, or x_train and y_train, and those of other parts.

    Raises:
        DataError: the file is damaged, lacks x or y, or holds Python objects, which are never loaded.
    """
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            found = {key.removesuffix("_train"): file[key] for key in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read: {error}; expected numbers that numpy.savez wrote, no arrays of objects"
        ) from error
    arguments = [f"{kind}{part}" for part in ("", "_validation", "_test") for kind in "xy"]
    if not {"x", "y"} <= found.keys():
        raise DataError(
            f"{path} must hold the arrays x and y (or x_train and y_train), and may hold x_test, y_test, x_validation "
            f"and y_validation; got {listed([*found]) or 'none'}"
        )
    return {key: found[key] for key in arguments if key in found}


def _split(part: str, x: Any, y: Any) -> Split:
    if x is None or y is None:
        raise DataError(f"{part} needs both inputs and targets, got {'targets' if x is None else 'inputs'} alone")
    inputs, targets = _tensor(x, f"inputs of {part}"), _tensor(y, f"targets of {part}")
    if inputs.dtype == torch.uint8 and inputs.ndim == 3:
        inputs = inputs[:, None]
    images = inputs.dtype == torch.uint8 and inputs.ndim == 4
    if not images and (not inputs.is_floating_point() or inputs.ndim < 2):
        raise DataError(
            "inputs must be images uint8 [N, C, H, W] or floating features [N, F] or [N, C, ...], got "
            f"{describe(inputs)} for {part}; x.float() makes features of integers"
        )
    if images and inputs.shape[1] > 4 >= inputs.shape[3] >= 3:
        raise DataError(
            f"images must be uint8 [N, C, H, W], and those of {part}, {describe(inputs)}, have their channels last; "
            "x.transpose(0, 3, 1, 2) of an array, x.permute(0, 3, 1, 2) of a tensor puts them in front"
        )
    if len(inputs) and not inputs.numel():
        raise DataError(f"the inputs of {part} have no features: {describe(inputs)}")
    if len(inputs) != len(targets):
        raise DataError(f"{part} has {len(inputs)} inputs and {len(targets)} targets; give a target for each input")
    if not images:
        _check_finite(inputs.float(), part)
        inputs = in_float32(inputs, f"the inputs of {part}")
    return Split(inputs, targets)


def _tensor(values: Any, what: str) -> Tensor:
    if isinstance(values, np.ma.MaskedArray):
        raise DataError(f"the {what} are a masked array, whose mask would be lost; leave these samples out, or fill it")
    try:
        return values.detach().cpu().to_dense() if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    except (TypeError, ValueError, NotImplementedError) as error:  # objects, strings, ragged rows, no values (meta)
        raise DataError(f"the {what} must be an array of numbers: {error}") from error


def _check_finite(inputs: Tensor, part: str) -> None:
    wrong = (~inputs.isfinite()).transpose(0, 1).flatten(1).sum(1)
    if wrong.any():
        found = [f"{column} ({wrong[column]} values)" for column in wrong.nonzero().flatten().tolist()]
        raise DataError(
            f"the inputs of {part} are NaN or infinite in the columns {listed(found)} of {len(wrong)}, counted from 0; "
            "remove these samples, or put numbers in their place"
        )


def _check_shapes(published: Mapping[str, Split]) -> None:
    train = published["train"]
    for part, split in published.items():
        if not len(split):
            raise DataError(f"{part} has no samples; give some, or leave it out")
        for kind, own, expected in (("inputs", split.inputs, train.inputs), ("targets", split.targets, train.targets)):
            if (own.shape[1:], own.dtype) != (expected.shape[1:], expected.dtype):
                raise DataError(f"the {kind} of {part} are {describe(own)}, and those of train {describe(expected)}")


def _measured(inputs: Tensor) -> Preparation:
    return Pixels.measured(inputs) if inputs.dtype == torch.uint8 else Columns.measured(inputs)
