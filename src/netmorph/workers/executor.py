"""Where jobs run: here, or in supervised processes of this machine.

A job is a value, and what handles it is made by a factory inside the worker, so that the same two can go to other
machines (`on_ray.py`). One worker that dies takes one job with it: the job is tried again in a new process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Generic, Protocol

from netmorph.errors import NetmorphError
from netmorph.files import SaveError
from netmorph.workers.allocator import keep_freed_memory
from netmorph.workers.outcomes import Factory, Handler, Job, Outcome, Result, attempt
from netmorph.workers.supervision import TRIES, Ready, Supervised, Worker
from netmorph.workers.threads import plan_workers, set_threads

__all__ = ["TRIES", "Executor", "Factory", "Handler", "Inline", "Job", "Outcome", "Processes", "Result"]


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
            yield attempt(self._handle, job)


class Processes(Supervised[Job, Result]):
    """Runs jobs in worker processes of this machine; workers x threads never exceed its cores.

    Args:
        factory: picklable; called once in each worker to make what handles its jobs.
        workers: None is as many as the cores allow.
        threads: of each worker.
        timeout: see `Supervised`.
    """

    def __init__(
        self,
        factory: Factory[Job, Result],
        workers: int | None = None,
        threads: int = 1,
        timeout: float | None = None,
    ) -> None:
        self._factory = factory
        self.plan = plan_workers(workers, threads)
        super().__init__(self.plan.workers, timeout)

    def _hire(self) -> Worker[Job, Result]:
        return _Process(self._factory, self.plan.threads)

    def _speaking(self, workers: Sequence[Worker[Job, Result]], seconds: float | None) -> Iterable[Worker[Job, Result]]:
        by_connection = {worker.connection: worker for worker in workers if isinstance(worker, _Process)}
        return [by_connection[connection] for connection in wait(list(by_connection), seconds)]  # type: ignore[index]


class _Process(Generic[Job, Result]):
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

    def take(self) -> Ready | Outcome[Job, Result] | NetmorphError | None:
        try:
            return self.connection.recv()  # type: ignore[no-any-return]
        except (EOFError, OSError):
            return None

    def stop(self) -> str:
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
    connection.send(Ready())
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            connection.send(attempt(handle, job))
        except SaveError as error:
            connection.send(error)
            return


def _end_with_supervisor() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
