"""When a training writes its checkpoint: after each epoch, and within one that takes long."""

from __future__ import annotations

import math
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.train.average import MovingAverage
from netmorph.train.editing import Editing
from netmorph.train.history import History
from netmorph.train.position import Position
from netmorph.train.resume import Snapshot, save_progress

# Seconds: what a kill may cost at most, beside which the writing is short.
SECONDS = 600.0


class Keeper:
    """Writes the checkpoints of one training.

    Attributes:
        history: the finished epochs; the loop keeps it, as the next.
        best: the state after the best of them.
    """

    def __init__(
        self,
        path: Path,
        known: dict[str, Any],
        seconds: float | None,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: MovingAverage | None,
        editing: Editing | None,
        history: History,
        best: Snapshot,
    ) -> None:
        """Nothing is written yet; the time counts from now.

        Args:
            known: the run's identity.
            seconds: see `check_seconds`.
        """
        self.history, self.best = history, best
        self._path, self._known, self._seconds = path, known, math.inf if seconds is None else seconds
        self._model, self._optimizer, self._average, self._editing = model, optimizer, average, editing
        self._written = monotonic()

    def is_due(self) -> bool:
        """Whether the last checkpoint is so long ago that one is written within the epoch."""
        return monotonic() - self._written >= self._seconds

    def write(self, position: Position) -> None:
        """Write where the training stands: `history`, and this position in the epoch that follows.

        Within an epoch, weights that are not finite are not written: nobody goes on from them, and the loss of the next
        batch tells it.

        Raises:
            SaveError: the file cannot be written; the checkpoint before is still there.
        """
        if position.step and not all(bool(parameter.isfinite().all()) for parameter in self._model.parameters()):
            return
        history = self.history
        at_best = not position.step and history.best is history[-1] and self._average is None
        last = self.best if at_best else Snapshot.take(self._model, self._optimizer, self._editing)
        best = self.best if history else last  # before the first epoch ends, there is nothing to come back to
        save_progress(self._path, self._known, history, last, best, self._average, position)
        self._written = monotonic()  # a disk that takes long to write is not asked for more


def check_seconds(seconds: float | None) -> None:
    """Refuse what is no time between two checkpoints: seconds, from 0 (after each step); None is never within an epoch.

    Raises:
        NetmorphError: it is something else.
    """
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if seconds is not None and not (is_number and seconds >= 0):
        raise NetmorphError(
            f"checkpoint_seconds is a number of seconds, at least 0, or None for a checkpoint after each epoch only; "
            f"{seconds!r} was given"
        )
