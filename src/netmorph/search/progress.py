"""Where a run is, for whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """What is told whenever a job is done, and at the end of a round.

    Attributes:
        round: the round that is running, 0 for the start network.
        done, jobs: networks trained and to train in it.
        seconds: wall time so far, all sessions together.
        best: highest score of the evolution so far, on the validation set.
        finished: the round is over.
        left: seconds until the end of the run, as it looks now; None while that cannot be told.
    """

    round: int
    done: int
    jobs: int
    seconds: float
    best: float | None
    finished: bool
    left: float | None = None
