"""Where jobs run: here, or in supervised processes of this machine.

A job is a value, and what handles it is made by a factory inside the worker, so that the same two can go to other
machines. One worker that dies takes one job with it: the job is tried again in a new process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from netmorph.errors import NetmorphError
from netmorph.files import SaveError
from netmorph.workers.allocator import keep_freed_memory
from netmorph.workers.threads import plan_workers, set_threads

Job = TypeVar("Job")
Result = TypeVar("Result")
Handler = Callable[[Job], Result]
Factory = Callable[[], Handler[Job, Result]]

TRIES = 3


@dataclass(frozen=True)
class Outcome(Generic[Job, Result]):
    """A job with its result, or with why it failed."""

    job: Job
    result: Result | None
    failure: str | None = None


class Executor(Protocol[Job, Result]):
    """Runs jobs, several at a time perhaps, and gives their outcomes as they finish, in any order."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome[Job, Result]]:
        """Run the jobs, the first ones first."""
        ...


class Inline(Generic[Job, Result]):
    """Runs jobs one after another in this process."""

    def __init__(self, factory: Factory[Job, Result]) -> None:
        self._handle = factory()

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome[Job, Result]]:
        """See `Executor`."""
        for job in jobs:
            yield _attempt(self._handle, job)


class Processes(Generic[Job, Result]):
    """Runs jobs in worker processes of this machine; workers x threads never exceed its cores.

    Args:
        factory: picklable; called once in each worker to make what handles its jobs.
        workers: None is as many as the cores allow.
        threads: of each worker.
    """

    def __init__(self, factory: Factory[Job, Result], workers: int | None = None, threads: int = 1) -> None:
        self._factory = factory
        self.plan = plan_workers(workers, threads)
        self._workers: list[_Worker[Job, Result]] = []

    def __enter__(self) -> Processes[Job, Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.stop()
        self._workers = []

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome[Job, Result]]:
        """See `Executor`.

        Raises:
            NetmorphError: a worker cannot even start (the data is gone, say), or cannot save what it made.
        """
        waiting = deque((job, 1) for job in jobs)
        busy: dict[_Worker[Job, Result], tuple[Job, int]] = {}
        try:
            while waiting or busy:
                while waiting and len(busy) < self.plan.workers:
                    worker = self._idle(busy)
                    busy[worker] = waiting.popleft()
                    worker.give(busy[worker][0])
                for worker in _ready(busy):
                    job, attempt = busy.pop(worker)
                    outcome = worker.take()
                    if outcome is not None:
                        yield outcome
                        continue
                    self._workers.remove(worker)
                    died = f"its worker process died {worker.stop()}"
                    if attempt < TRIES:
                        waiting.appendleft((job, attempt + 1))
                    else:
                        yield Outcome(job, None, f"{died}, {TRIES} times; perhaps too little memory: use fewer workers")
        finally:
            for worker in busy:  # the caller stopped listening: what still runs belongs to nobody
                worker.stop()
            self._workers = [worker for worker in self._workers if worker not in busy]

    def _idle(self, busy: dict[_Worker[Job, Result], tuple[Job, int]]) -> _Worker[Job, Result]:
        free = next((worker for worker in self._workers if worker not in busy), None)
        if free is None:
            free = _Worker(self._factory, self.plan.threads)
            self._workers.append(free)
        return free


class _Worker(Generic[Job, Result]):
    def __init__(self, factory: Factory[Job, Result], threads: int) -> None:
        # Spawned, not forked: torch's thread pools do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(target=_work, args=(factory, threads, theirs), daemon=True)
        with _ctrl_c_held_back():
            self.process.start()
        theirs.close()

    def give(self, job: Job) -> None:
        with contextlib.suppress(OSError):  # it died just now: `take` finds out
            self.connection.send(job)

    def take(self) -> Outcome[Job, Result] | None:
        """The outcome, or None if the process died."""
        try:
            outcome = self.connection.recv()
        except (EOFError, OSError):
            return None
        if isinstance(outcome, NetmorphError):
            raise outcome
        return outcome  # type: ignore[no-any-return]

    def stop(self) -> str:
        """End the process; tells how it ended."""
        self.connection.close()
        self.process.kill()
        self.process.join()
        code = self.process.exitcode or 0
        return f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"


@contextlib.contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal; a process started in here never sees it, from its first moment.

    This process sees it when the block ends: half a start would leave a process that complains of its half orders.
    """
    resource_tracker.ensure_running()  # starting it later, as spawning does, would let the signal through again
    pressed: list[int] = []
    # Blocked for the new process, which inherits that. It is not enough here: another thread may take the signal, and
    # Python then interrupts this one all the same. Only the main thread can be interrupted, or say what happens then.
    here = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number)) if here else None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if here:
            signal.signal(signal.SIGINT, handler)
        if pressed:
            signal.raise_signal(signal.SIGINT)


def _ready(busy: Iterable[_Worker[Job, Result]]) -> list[_Worker[Job, Result]]:
    by_connection = {worker.connection: worker for worker in busy}
    return [by_connection[connection] for connection in wait(list(by_connection))]  # type: ignore[index]


def _work(factory: Factory[Job, Result], threads: int, connection: Connection) -> None:
    """A worker's life: make the handler, then handle jobs until the supervisor is gone."""
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    set_threads(threads)
    keep_freed_memory()
    try:
        handle = factory()
    except NetmorphError as error:
        connection.send(NetmorphError(str(error)))
        return
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            connection.send(_attempt(handle, job))
        except SaveError as error:
            connection.send(error)
            return


def _attempt(handle: Handler[Job, Result], job: Job) -> Outcome[Job, Result]:
    """One network's error is its own, and the search goes on; a disk that is full is everybody's."""
    try:
        return Outcome(job, handle(job))
    except SaveError:
        raise
    except Exception as error:
        return Outcome(job, None, f"{type(error).__name__}: {error}")


def _end_with_supervisor() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
