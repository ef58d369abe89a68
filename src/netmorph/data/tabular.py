"""Tables with a target column -> data sets."""

import hashlib

import torch

from netmorph.data.columns import Missing, learn
from netmorph.data.dataset import DataError, Dataset, Split
from netmorph.data.preparation import Columns
from netmorph.data.splitting import split_parts
from netmorph.data.tables import Numbers, Table, check_column
from netmorph.data.targets import Answered, answering, table_targets
from netmorph.wording import listed


def table_dataset(
    name: str,
    table: Table,
    target: str | None,
    *,
    task: Answered | None = None,
    missing: Missing = "refuse",
    seed: int = 0,
    validation: float = 0.15,
    train_size: int | None = None,
) -> Dataset:
    """Split the rows of a table, by a seed, and encode them as the train rows say.

    Args:
        name: of the data set.
        table: with the target among its columns.
        target: the column that is to be answered; all others are features.
        task: see `table_targets`.
        missing: "refuse" missing numbers, or let the "mean" of the train rows stand for them.
        seed, validation, train_size: of the splits, see `load`. Rows of values are held out at random.

    Raises:
        DataError: the target is not there, or does not suit the task; values are missing; there are too few rows.
    """
    if target is None:
        raise DataError(
            f"name the column of the table {name!r} to learn (target=..., or --target); it has {_names(table)}"
        )
    check_column(target, table)
    targets, classes = table_targets(target, table[target], task)
    features = {column: values for column, values in table.items() if column != target}
    rows = Split(torch.arange(len(targets))[:, None], targets)  # stand for their features until these are learnt
    parts = split_parts({"train": rows}, classes, seed, validation, train_size)
    encoder = learn(features, parts[0].inputs.flatten(), missing)
    encoded = encoder.features_of(features)
    train, held_out, test = (Split(encoded[part.inputs.flatten()], part.targets) for part in parts)
    preparation = Columns.measured(train.inputs)
    return answering(name, (train, held_out, test), classes, preparation, _fingerprint(table, target), encoder)


def _names(table: Table) -> str:
    return listed([*map(repr, table)])


def _fingerprint(table: Table, target: str) -> str:
    """SHA-256 of all columns, and of which of them is the target."""
    digest = hashlib.sha256(repr(target).encode())
    for name, column in table.items():
        names, values = ((), column.values) if isinstance(column, Numbers) else (column.names, column.codes)
        digest.update(repr((name, names)).encode())
        digest.update(values.contiguous().numpy().data)
    return digest.hexdigest()
