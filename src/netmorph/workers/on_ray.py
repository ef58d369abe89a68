"""Jobs on Ray: actors, one for each worker, on the machines of a cluster or on this one.

Of Ray only its core is used. Deaths, retries and timeouts are those of `Supervised`, as in processes of this machine.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import TracebackType
from typing import Any, Generic, Self

from netmorph.cores import available_cores
from netmorph.errors import NetmorphError, require
from netmorph.files import SaveError
from netmorph.workers.allocator import keep_freed_memory
from netmorph.workers.outcomes import Factory, Job, Outcome, Result, attempt
from netmorph.workers.supervision import Ready, Supervised, Worker, WorkersError
from netmorph.workers.threads import plan_workers, set_threads


class OnRay(Supervised[Job, Result]):
    """Runs jobs in actors of Ray.

    Args:
        factory: what the machines of the cluster can import; called once in each worker to make what handles its jobs.
        workers: None is as many as the cluster has room for when the `with` block begins.
        threads: of each worker, and the CPUs that it asks Ray for.
        gpus: that each worker asks for.
        timeout: see `Supervised`.
        address: of a cluster that this machine is part of (`auto`, `HOST:PORT`), as `ray.init` takes it. None: a Ray
            of this machine alone, which starts and ends with the `with` block, and with this process.

    Raises:
        MissingExtra: Ray is not installed.
    """

    def __init__(
        self,
        factory: Factory[Job, Result],
        workers: int | None = None,
        threads: int = 1,
        gpus: float = 0,
        timeout: float | None = None,
        address: str | None = None,
    ) -> None:
        if address is None:
            prepare_own_ray()
        self._ray = require("ray", "ray")
        self._factory, self._address = factory, address
        plan = plan_workers(workers, threads)
        self._wanted, self._gpus = workers, gpus
        self._threads = plan.threads if address is None else threads
        self._opened = contextlib.ExitStack()
        super().__init__(plan.workers, timeout)

    def __enter__(self) -> Self:
        """Raises: WorkersError: there is no such cluster, or no room in it for a single worker."""
        with contextlib.ExitStack() as opened:
            address = self._address or opened.enter_context(own_ray())
            try:
                self._ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except Exception as error:  # Ray has many
                raise WorkersError(f"cannot join the Ray cluster at {address}: {error}") from error
            opened.callback(self._ray.shutdown)
            room = sum(
                _room(node["Resources"], self._threads, self._gpus) for node in self._ray.nodes() if node["Alive"]
            )
            if not room:
                raise WorkersError(
                    f"no machine of the Ray cluster has {self._threads} CPUs and {self._gpus:g} GPUs for a worker; "
                    "use fewer threads, or another device"
                )
            self._size = min(room, self._wanted or room)
            actor = self._ray.remote(num_cpus=self._threads, num_gpus=self._gpus, max_restarts=0)
            self._actor = actor(_Life)
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._opened:
            super().__exit__(kind, error, trace)

    def _hire(self) -> Worker[Job, Result]:
        return _Actor(self._ray, self._actor.remote(self._factory, self._threads))

    def _speaking(self, workers: Sequence[Worker[Job, Result]], seconds: float | None) -> Iterable[Worker[Job, Result]]:
        by_answer = {worker.answer: worker for worker in workers if isinstance(worker, _Actor)}
        found, _ = self._ray.wait([*by_answer], num_returns=1, timeout=seconds, fetch_local=True)
        return [by_answer[answer] for answer in found]


class _Actor(Generic[Job, Result]):
    """Attributes: answer: Ray's reference to what the worker says next."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor
        self._how = "ended"
        self.answer = actor.prepare.remote()

    def give(self, job: Job) -> None:
        self.answer = self._actor.attempt.remote(job)

    def take(self) -> Ready | Outcome[Job, Result] | NetmorphError | None:
        try:
            return self._ray.get(self.answer)  # type: ignore[no-any-return]
        except self._ray.exceptions.RayTaskError as error:  # of Python there: a module that it lacks, say
            self._how = f"{type(error.cause).__name__}: {error.cause}"
        except self._ray.exceptions.RayError as error:
            self._how = type(error).__name__
        return None

    def stop(self) -> str:
        self._ray.kill(self._actor)
        return f"under Ray ({self._how})"


class _Life(Generic[Job, Result]):
    """What lives in the process of a worker. Errors of netmorph are given back: Ray would wrap them."""

    def __init__(self, factory: Factory[Job, Result], threads: int) -> None:
        self._factory = factory
        set_threads(threads)
        keep_freed_memory()

    def prepare(self) -> Ready | NetmorphError:
        try:
            self._handle = self._factory()
        except NetmorphError as error:
            return NetmorphError(str(error))
        return Ready()

    def attempt(self, job: Job) -> Outcome[Job, Result] | SaveError:
        try:
            return attempt(self._handle, job)
        except SaveError as error:
            return error


def _room(resources: Mapping[str, float], threads: int, gpus: float) -> int:
    """How many workers one machine has room for."""
    room = resources.get("CPU", 0) // threads
    return int(min(room, resources.get("GPU", 0) // gpus) if gpus else room)


@contextlib.contextmanager
def own_ray() -> Iterator[str]:
    """A Ray of this machine alone, at the address that is given, until the block or this process ends."""
    folder = tempfile.mkdtemp(prefix="ray-")
    head = subprocess.Popen(
        [sys.executable, "-m", "netmorph.workers.ray_head", folder, str(available_cores())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # Ctrl-C is for this process, which then ends it
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "TMPDIR": folder,  # what killed workers leave goes with it
            "RAY_USAGE_STATS_ENABLED": "0",
        },
    )
    assert head.stdin is not None
    assert head.stdout is not None
    try:
        address = head.stdout.readline().strip()
        if not address:
            raise WorkersError("Ray does not start on this machine; run `ray start --head` to see why")
        yield address
    finally:
        head.stdin.close()
        head.wait()
        head.stdout.close()


@cache
def _own_settings() -> dict[str, str]:
    """The same ones as long as this process lives, because Ray reads them once."""
    return {
        # Who reaches a Ray can run code as its user; so it asks for a token, which this process and its own know.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        # Where Ray is told that there can be no further machines, it listens on the loopback interface alone.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }


def prepare_own_ray() -> None:
    """Make the settings that `own_ray` needs; once for a process, before Ray is imported.

    Raises:
        WorkersError: Ray is imported already, with other settings.
    """
    if "ray" in sys.modules and not _own_settings().items() <= os.environ.items():
        raise WorkersError(
            "Ray was imported before its settings for this machine alone could be made; import it later, or give the "
            "address of a Ray that runs"
        )
    os.environ |= _own_settings()
