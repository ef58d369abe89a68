"""What is to be answered: labels of classes or values, told apart by the data, and the data set that this makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from netmorph.data.dataset import DataError, Dataset, Encoder, Split, describe
from netmorph.data.precision import in_float32
from netmorph.data.preparation import Columns, Preparation
from netmorph.data.source import numbered
from netmorph.data.tables import Column, Names, Numbers
from netmorph.tasks import Task, classification, regression
from netmorph.wording import listed

# So many different whole numbers in a table's target are still taken for classes.
FEW = 20
# Whole numbers up to here are told apart in float64, as which tables are held.
LARGEST_WHOLE = 2**53

Answered = Literal["classification", "regression"]
Targets = tuple[Tensor, tuple[str, ...]]  # labels int64 [N] and the classes' names, or values [N, K] and none


def table_targets(name: str, column: Column, task: Answered | None) -> Targets:
    """The target column of a table as labels and the classes' names, or as values float32 [N, 1].

    Args:
        name: of the column.
        task: None decides by the column: strings, and at most `FEW` different integers, are classes; other numbers are
            values.

    Raises:
        DataError: a value is missing or infinite, all are equal, or they do not suit the task.
    """
    if count := int(column.missing.sum()):
        raise DataError(
            f"the target {name!r} is missing in {count} of {len(column.missing)} rows; remove the rows without one"
        )
    if isinstance(column, Numbers) and (count := int(column.values.float().isinf().sum())):
        raise DataError(f"the target {name!r} is infinite (or beyond 3e38) in {count} rows; remove or correct them")
    if isinstance(column, Numbers) and column.whole and int(column.values.abs().max()) > LARGEST_WHOLE:
        raise DataError(
            f"the target {name!r} has whole numbers beyond 2**53, not all of which can be told apart here; give "
            "classes as strings, and values as smaller numbers"
        )
    labels, classes = _labels(column)
    if len(classes) < 2:
        raise DataError(
            f"the target {name!r} is {classes[0]} in every row; there is nothing to learn. Choose another target column"
        )
    if task is None:
        in_classes = isinstance(column, Names) or (column.whole and len(classes) <= FEW)
    else:
        in_classes = task == "classification"
    if in_classes:
        _check_classes(name, column, classes)
        return labels, classes
    if isinstance(column, Names):
        raise DataError(
            f"the target {name!r} holds strings such as {column.names[0]!r}, and regression is for numbers; correct "
            "the column, or take task='classification'"
        )
    return in_float32(column.values[:, None], f"the values of the target {name!r}"), ()


def array_targets(y: Tensor, task: Answered | None, classes: Sequence[str] | None) -> Targets:
    """Targets that are given as a tensor: integers are labels, floating numbers values, unless the task says otherwise.

    Args:
        y: labels [N] from 0, or values [N] or [N, K].
        classes: their names, by label; None numbers them.

    Raises:
        DataError: another dtype or shape, a label without a class, or a value that is not finite.
    """
    in_classes = not y.is_floating_point() if task is None else task == "classification"
    if not in_classes:
        values = y.float()
        if y.ndim not in (1, 2) or not len(y):
            raise DataError(f"values to regress must be [N] or [N, K], got {describe(y)}")
        if classes is not None:
            raise DataError(
                f"classes name labels, which are integers, and the targets are values, {describe(y)}; leave classes "
                "out, or give labels"
            )
        if count := int((~values.isfinite()).sum()):
            raise DataError(f"{count} of {values.numel()} targets are NaN or infinite; remove these samples")
        if bool((y == y[0]).all()):
            raise DataError(f"every target is {y[0].tolist()}; there is nothing to learn. Give other targets")
        return in_float32(y.view(len(y), -1), "the targets"), ()
    if y.ndim != 1 or y.is_floating_point() or not len(y):
        raise DataError(
            f"labels must be integers [N], each the number of a class from 0, got {describe(y)}; for values take "
            "task='regression'"
        )
    labels = y.long()
    low, high = int(labels.min()), int(labels.max())
    if classes is None and not 0 <= low <= high < len(labels):
        raise DataError(
            f"labels run from {low} to {high} in {len(labels)} samples; each must be the number of a class from 0. "
            "Number the classes anew, or name them all (classes=[...])"
        )
    names = numbered(labels) if classes is None else tuple(classes)
    if len(set(names)) < len(names):
        raise DataError(f"classes must have different names, got {listed([*map(repr, names)])}")
    if low < 0 or high >= len(names):
        raise DataError(f"labels run from {low} to {high}; for {len(names)} classes they must be 0 to {len(names) - 1}")
    if low == high:
        raise DataError(f"every sample is of class {names[low]!r}; a classifier needs samples of at least two classes")
    return labels, names


def answering(
    name: str,
    parts: tuple[Split, Split, Split],
    classes: tuple[str, ...],
    preparation: Preparation,
    fingerprint: str,
    encoder: Encoder | None = None,
) -> Dataset:
    """Samples that are to be put in classes, or, without classes, given values: the scale is that of the train part."""
    task: Task
    if classes:
        task, outputs = classification(), len(classes)
    else:
        values = parts[0].targets
        scale = Columns.measured(values)
        task, outputs = regression(scale.mean, scale.std), values.shape[1]
    return Dataset(name, *parts, task, preparation, outputs, fingerprint, classes, encoder)


def _labels(column: Column) -> Targets:
    """Labels int64 [N] of all that differs, in the order of names or numbers, and what they stand for."""
    if isinstance(column, Names):
        order = sorted(range(len(column.names)), key=column.names.__getitem__)
        rank = torch.empty(len(order), dtype=torch.long)
        rank[torch.tensor(order)] = torch.arange(len(order))
        return rank[column.codes], tuple(column.names[code] for code in order)
    different, labels = column.values.unique(return_inverse=True)
    form = ".0f" if column.whole else ".15g"
    return labels, tuple(f"{value:{form}}" for value in different.tolist())


def _check_classes(name: str, column: Column, classes: tuple[str, ...]) -> None:
    count = len(column.missing)
    if 3 * len(classes) <= count:  # a row in each of three parts
        return
    other = "group its values" if isinstance(column, Names) else "take task='regression'"
    raise DataError(
        f"the target {name!r} has {len(classes)} different values in {count} rows, too few rows of each for "
        f"classification, which needs three; {other}, or choose another target column"
    )
