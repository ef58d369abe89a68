"""An evolution whose jobs go wrong on purpose: the half of `benchmarks.faults` that runs in its drivers and workers.

What ends a child for good (NaN, no memory, a job that hangs) is drawn by the seed of its training, so a run without any
other disturbance loses the same children. On a full disk no file may be larger than a thousand bytes: so it is for the
process that finds the token which asks for it.
"""

from __future__ import annotations

import math
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from netmorph import session
from netmorph.run.config import EvolveConfig
from netmorph.run.names import Stage
from netmorph.search.births import Birth, Born
from netmorph.search.executors import Place, far_handler, on_ray
from netmorph.search.jobs import Done, Job, Joint, Learning, Lost, Training, Worker
from netmorph.sharing.files import load_kept, save_kept
from netmorph.workers.executor import Executor, Handler, Inline, Processes
from netmorph.workers.shelf import Unpacked

NAN, MEMORY, HANG = DOOMS = ("NaN in a child", "no memory", "a job that hangs")
TOKEN, LOG = "the-next-job-finds-a-full-disk", "jobs.log"


def doom(job: Job) -> str | None:
    """What ends the job's child, of a training from a birth (but the first, without which there is no run).

    Networks that are trained together lose one of them to a NaN, and all to the rest.
    """
    if isinstance(job, Birth) or job.seed % 4 or (isinstance(job, Training) and (job.source or job.id == 1)):
        return None
    return DOOMS[job.seed // 4 % len(DOOMS)]


def quiet(job: Job, handle: Handler[Job, Done]) -> Done:
    """Do a job, or lose its child without any harm to the process: what happens where nothing disturbs a run."""
    fault = doom(job)
    if isinstance(job, Joint) and fault == NAN and len(job.ids) > 1:
        rest = tuple(id for id in job.ids if id != victim(job))
        done = handle(replace(job, ids=rest))
        assert not isinstance(done, Born)
        return {**done, victim(job): Lost(f"{RuntimeError.__name__}: {fault}")}
    if fault is not None:
        raise RuntimeError(fault)
    return handle(job)


def victim(job: Learning) -> int:
    """The network of a training that a NaN ends."""
    return job.ids[job.seed // 16 % len(job.ids)]


@dataclass(frozen=True)
class Faulty:
    """Does a worker's jobs, or what dooms them; tells in a log which process begins and ends which."""

    worker: Worker
    faults: Path
    driver: int

    def __call__(self, job: Job) -> Done:
        self._log("begin", job)
        match doom(job):
            case fault if fault == NAN:
                self._poison(job)
            case fault if fault == MEMORY:
                torch.empty(2**60, dtype=torch.uint8)
            case fault if fault == HANG:
                time.sleep(10**8)
            case _ if self._finds_a_full_disk():
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        done = self.worker(job)
        self._log("end", job)
        return done

    def _poison(self, job: Job) -> None:
        """Put NaNs into a network before it is trained; where it shares weights, into what it does not share then."""
        assert not isinstance(job, Birth)
        network, store = victim(job), self.worker.store
        model, journal, optimizer = store.take(network, Stage.BORN)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(math.nan)
        if isinstance(job, Joint):
            parent, _ = load_kept(store.kept(network))
            save_kept(store.kept(network), parent, {})
        store.put(network, Stage.BORN, model, journal, None if isinstance(job, Joint) else optimizer)

    def _finds_a_full_disk(self) -> bool:
        try:
            (self.faults / TOKEN).unlink()
        except FileNotFoundError:
            return False
        return True

    def _log(self, what: str, job: Job) -> None:
        first = job.id if isinstance(job, Birth) else job.ids[0]
        line = f"{what} {os.getpid()} {self.driver} {type(job).__name__} {first}\n"
        with open(self.faults / LOG, "a") as file:
            file.write(line)


def faulty_handler(folder: Path, config: EvolveConfig, faults: Path, driver: int) -> Handler[Job, Done]:
    return Faulty(Worker(folder, config, config.data.load()), faults, driver)


def faulty_processes(place: Place, faults: Path) -> AbstractContextManager[Executor[Job, Done]]:
    make = partial(faulty_handler, place.folder, place.config, faults, os.getpid())
    return Processes(make, place.workers, place.config.threads, place.timeout)


def far_faulty_handler(config: EvolveConfig, fingerprint: str, faults: Path, driver: int) -> Unpacked[Job, Done]:
    made = far_handler(config, fingerprint)
    assert isinstance(made.handle, Worker)
    return replace(made, handle=Faulty(made.handle, faults, driver))


def faulty_ray(place: Place, faults: Path) -> AbstractContextManager[Executor[Job, Done]]:
    return on_ray(place, far=partial(far_faulty_handler, faults=faults, driver=os.getpid()))


PLACES: dict[str, Callable[[Place, Path], AbstractContextManager[Executor[Job, Done]]]] = {
    "processes": faulty_processes,
    "ray": faulty_ray,
}


@contextmanager
def undisturbed(place: Place) -> Iterator[Executor[Job, Done]]:
    worker = Worker(place.folder, place.config, place.dataset)
    yield Inline(lambda: partial(quiet, handle=worker))


def main(folder: str, faults: str, workers: str, timeout: str, place: str) -> None:
    """A driver: go on with the run until it ends."""

    def on(given: Place) -> AbstractContextManager[Executor[Job, Done]]:
        return PLACES[place](given, Path(faults))

    session.evolve(Path(folder), int(workers), lambda progress: None, on=on, timeout=float(timeout))


if __name__ == "__main__":
    main(*sys.argv[1:])
