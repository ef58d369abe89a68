"""How long networks take to train, by those that were trained: what fits into the time that is left."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

KEPT = 64  # trainings that are looked back on: networks grow, and machines get busier


class Pace:
    """Seconds of trainings as `a * epochs + b * FLOPs`: small networks take time for their steps, large ones for FLOPs.

    Attributes:
        side_by_side: how many seconds of training went by in one of the clock, in the last round.
        round: seconds of a whole round for each child of it; None before there was one.
        end: seconds to keep free for what comes after the last round.
    """

    def __init__(self) -> None:
        self.side_by_side = 1.0
        self.round: float | None = None
        self.end = 0.0
        self._seen: deque[tuple[int, int, float]] = deque(maxlen=KEPT)

    def note(self, epochs: int, flops: int, seconds: float) -> None:
        """A network was trained."""
        self._seen.append((epochs, flops, seconds))

    def note_round(self, trained: float, elapsed: float) -> None:
        """Trainings of so many seconds in all took so long side by side."""
        if elapsed > 0:
            self.side_by_side = max(1.0, trained / elapsed)

    def of(self, planned: Sequence[tuple[int, int]]) -> float | None:
        """Seconds until trainings of so many epochs and FLOPs are done; None before any was seen."""
        if not self._seen or not planned:
            return None if planned else 0.0
        each, total = self._each()
        seconds = [each * epochs + total * flops for epochs, flops in planned]
        return max(max(seconds), sum(seconds) / self.side_by_side)

    def of_answers(self, flops: float) -> float:
        """Seconds of so many FLOPs without steps."""
        return self._each()[1] * flops if self._seen else 0.0

    def _each(self) -> tuple[float, float]:
        """The two numbers, none below zero, that fit the trainings best."""
        seen = np.array(self._seen, dtype=np.float64)
        work, seconds = seen[:, :2] / np.maximum(seen[:, :2].max(0), 1), seen[:, 2]
        found = np.linalg.lstsq(work, seconds, rcond=None)[0]
        if found.min() < 0:  # the best without the one that would be negative
            kept = int(found.argmax())
            found = np.zeros(2)
            found[kept] = max(0.0, work[:, kept] @ seconds / max(work[:, kept] @ work[:, kept], 1e-12))
        each, total = found / np.maximum(seen[:, :2].max(0), 1)
        return float(each), float(total)
