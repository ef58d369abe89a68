"""The loop that keeps workers busy: those that die are replaced, those that hang are ended."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from time import monotonic
from types import TracebackType
from typing import Generic, Protocol, Self

from netmorph.errors import NetmorphError
from netmorph.workers.outcomes import Job, Outcome, Result

TRIES = 3


class WorkersError(NetmorphError):
    """There are no workers, or none that starts."""


@dataclass(frozen=True)
class Ready:
    """A worker's first word: it takes jobs from now on."""


class Worker(Protocol[Job, Result]):
    """A process that does one job after another, here or on another machine."""

    def give(self, job: Job) -> None:
        """Send it a job; it is idle."""
        ...

    def take(self) -> Ready | Outcome[Job, Result] | NetmorphError | None:
        """What it says, which is there; an error that concerns all jobs, or None if the process has died."""
        ...

    def stop(self) -> str:
        """End the process; tells how it ended: "by signal SIGKILL"."""
        ...


@dataclass
class _Task(Generic[Job]):
    """A job with how often it was begun, and when it has taken too long, by `monotonic`."""

    job: Job
    tries: int = 0
    ends: float = math.inf


class Supervised(ABC, Generic[Job, Result]):
    """An executor with several workers. They start when there are jobs for them, and end with the `with` block.

    Args:
        size: how many workers.
        timeout: seconds that a job may take; one that takes longer fails, and its worker is ended. None: forever.
    """

    def __init__(self, size: int, timeout: float | None = None) -> None:
        if timeout is not None and not timeout > 0:
            raise NetmorphError(f"a job may take some seconds, more than 0; the timeout given is {timeout}")
        self._size = size
        self._timeout = math.inf if timeout is None else timeout
        self._workers: list[Worker[Job, Result]] = []
        self._starting: set[Worker[Job, Result]] = set()
        self._lost = 0  # workers in a row that have died before they were ready

    @abstractmethod
    def _hire(self) -> Worker[Job, Result]:
        """A new worker, which will say that it is ready."""

    @abstractmethod
    def _speaking(self, workers: Sequence[Worker[Job, Result]], seconds: float | None) -> Iterable[Worker[Job, Result]]:
        """Those of the workers that have something to say or have died; after so many seconds none."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in [*self._workers]:
            self._end(worker)

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome[Job, Result]]:
        """See `Executor`.

        A job whose worker died is tried again, `TRIES` times in all; one that failed or took too long is not.

        Raises:
            WorkersError: no worker starts.
            NetmorphError: a worker cannot do any job (the data is gone, say), or cannot save what it made.
        """
        coming = (_Task(job) for job in jobs)  # looked at when there is a worker soon: jobs may be large
        waiting: deque[_Task[Job]] = deque()
        busy: dict[Worker[Job, Result], _Task[Job]] = {}
        outcomes: list[Outcome[Job, Result]] = []
        try:
            while True:
                waiting.extend(islice(coming, max(0, self._size - len(waiting))))
                self._employ(waiting, busy)
                yield from outcomes  # while the workers are busy
                if not waiting and not busy:
                    return
                outcomes = self._listen(waiting, busy)
        finally:
            for worker in busy:  # the caller stopped listening: what still runs belongs to nobody
                self._end(worker)

    def _employ(self, waiting: deque[_Task[Job]], busy: dict[Worker[Job, Result], _Task[Job]]) -> None:
        """Give jobs to those who are idle, and start workers for the others."""
        for worker in self._workers:
            if waiting and worker not in busy and worker not in self._starting:
                task = waiting.popleft()
                task.tries, task.ends = task.tries + 1, monotonic() + self._timeout
                busy[worker] = task
                worker.give(task.job)
        while len(self._workers) < self._size and len(self._starting) < len(waiting):
            worker = self._hire()
            self._workers.append(worker)
            self._starting.add(worker)

    def _listen(
        self, waiting: deque[_Task[Job]], busy: dict[Worker[Job, Result], _Task[Job]]
    ) -> list[Outcome[Job, Result]]:
        """Wait until a worker says something, or has taken too long."""
        seconds = min((task.ends for task in busy.values()), default=math.inf) - monotonic()
        listened = [*self._starting, *busy]
        outcomes = []
        for worker in self._speaking(listened, None if seconds == math.inf else max(0.0, seconds)):
            task, message = busy.pop(worker, None), worker.take()
            if isinstance(message, Outcome):
                outcomes.append(message)
            elif isinstance(message, Ready):
                self._starting.remove(worker)
                self._lost = 0
            elif isinstance(message, NetmorphError):
                self._end(worker)
                raise message
            else:
                outcomes += self._died(worker, task, waiting)
        for worker in [worker for worker, task in busy.items() if task.ends <= monotonic()]:
            self._end(worker)
            outcomes.append(Outcome(busy.pop(worker).job, None, f"timed out after {self._timeout:g} s"))
        return outcomes

    def _died(
        self, worker: Worker[Job, Result], task: _Task[Job] | None, waiting: deque[_Task[Job]]
    ) -> list[Outcome[Job, Result]]:
        """Args: task: what the worker was at; None if it was starting."""
        died = f"died {self._end(worker)}, {TRIES} times; perhaps too little memory: use fewer workers"
        if task is None:
            self._lost += 1
            if self._lost == TRIES:
                raise WorkersError(f"no worker starts: its process {died}")
        elif task.tries < TRIES:
            waiting.appendleft(task)
        else:
            return [Outcome(task.job, None, f"its worker process {died}")]
        return []

    def _end(self, worker: Worker[Job, Result]) -> str:
        self._workers.remove(worker)
        self._starting.discard(worker)
        return worker.stop()
