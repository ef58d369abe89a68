"""A training's epochs as files while it runs: CSV, JSON lines, TensorBoard.

Each log is a callback, `on_epoch` of `netmorph.train.train` (`every` joins several), and holds the whole history
at any time: a training that was killed and resumed leaves the same rows as one that never stopped.

    history = recorded(Path("checkpoint"))
    log = csv_log(Path("metrics.csv"), history)
    train(model, dataset, recipe, checkpoint=Path("checkpoint"), resume=True, on_epoch=log)
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType

from netmorph.errors import NetmorphError, require
from netmorph.files import write_text
from netmorph.train import checkpoint as checkpoints
from netmorph.train.history import Epoch, History

OnEpoch = Callable[[Epoch], None]
METRICS = "metrics.jsonl"  # of a training in a run's folder


def as_csv(epochs: Iterable[Epoch]) -> str:
    """A header, and one row for each epoch; numbers are read back as the same bits. Without an epoch, nothing.

    A number that some epochs did not tell is empty there: an earlier version may have begun the training.
    """
    rows = [as_row(epoch) for epoch in epochs]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    if rows:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_jsonl(epochs: Iterable[Epoch]) -> str:
    """One JSON object a line, with the entries of `as_row`; null for what is no finite number."""
    rows = ({key: value if math.isfinite(value) else None for key, value in as_row(epoch).items()} for epoch in epochs)
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_row(epoch: Epoch) -> dict[str, float]:
    """An epoch as a flat row: "epoch", "train_loss", ..., "validation_loss", ..., "learning_rate", "seconds"."""
    numbers = {
        column(part, name): value
        for part, told in (("train", epoch.train), ("validation", epoch.validation))
        for name, value in told.items()
    }
    return {"epoch": epoch.epoch, **numbers, "learning_rate": epoch.learning_rate, "seconds": epoch.seconds}


def column(part: str, name: str) -> str:
    """Where a row has a number of a part, which is "train" or "validation"."""
    return f"{part}_{name}"


def csv_log(path: Path, history: Iterable[Epoch] | None = None) -> FileLog:
    """A log as CSV; see `FileLog`."""
    return FileLog(path, as_csv, history)


def jsonl_log(path: Path, history: Iterable[Epoch] | None = None) -> FileLog:
    """A log as JSON lines; see `FileLog`."""
    return FileLog(path, as_jsonl, history)


class FileLog:
    """A small file of all epochs, written anew and in one step after each.

    Args:
        path: the file.
        render: epochs -> its content.
        history: the epochs before, of a training that goes on (see `recorded`); the file becomes these at once.
            None for a new training, which takes no other one's file.

    Raises:
        NetmorphError: there is such a file, and no history was given.
        SaveError: the file cannot be written.
    """

    def __init__(
        self, path: Path, render: Callable[[Sequence[Epoch]], str], history: Iterable[Epoch] | None = None
    ) -> None:
        if history is None and path.exists():
            raise NetmorphError(
                f"{path} exists; give the history of the training that it belongs to, delete it, or take another path"
            )
        self._path = path
        self._render = render
        self._epochs = list(history or ())
        if history is not None:
            self._write()

    def __call__(self, epoch: Epoch) -> None:
        """Add an epoch."""
        self._epochs.append(epoch)
        self._write()

    def _write(self) -> None:
        write_text(self._path, self._render(self._epochs))


class TensorBoardLog:
    """TensorBoard's event files in a folder; a context manager, whose end closes them.

    Args:
        folder: what `tensorboard --logdir` is given.
        history: the epochs before, of a training that goes on (see `recorded`). All are written again, and
            TensorBoard is told to forget what earlier sessions wrote, so that none is missing or there twice.

    Raises:
        MissingExtra: tensorboard is not installed.
    """

    def __init__(self, folder: Path, history: Iterable[Epoch] = ()) -> None:
        require("tensorboard", extra="tensorboard")
        new_writer = require("torch.utils.tensorboard", extra="tensorboard").SummaryWriter
        self._writer = new_writer(str(folder), purge_step=1)
        for epoch in history:
            self(epoch)

    def __enter__(self) -> TensorBoardLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __call__(self, epoch: Epoch) -> None:
        """Add an epoch; it is in the file when this returns."""
        for tag, value in _scalars(epoch).items():
            self._writer.add_scalar(tag, value, epoch.epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


def every(*callbacks: OnEpoch) -> OnEpoch:
    """One callback that calls several, in order."""

    def call(epoch: Epoch) -> None:
        for callback in callbacks:
            callback(epoch)

    return call


def recorded(checkpoint: Path) -> History:
    """The epochs in the checkpoint of a training; empty if there is none yet.

    Raises:
        CheckpointError: it is damaged, or no checkpoint of a training.
    """
    if not checkpoints.existing(checkpoint):
        return History()
    _, meta = checkpoints.load(checkpoint)
    try:
        return History(Epoch.all_from_json(meta["history"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise checkpoints.CheckpointError(
            f"{checkpoint} is no checkpoint of a training run ({error!r}); choose another file"
        ) from error


def _scalars(epoch: Epoch) -> dict[str, float]:
    """Train and validation of one quantity share the first part of the tag, and so a page of TensorBoard."""
    numbers = {
        f"{name}/{part}": told[name]
        for name in epoch.train
        for part, told in (("train", epoch.train), ("validation", epoch.validation))
    }
    return {**numbers, "learning_rate": epoch.learning_rate, "seconds": epoch.seconds}
