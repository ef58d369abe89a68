"""Where the jobs of an evolution run: in this process, in processes of this machine, or on Ray."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from socket import gethostname

from netmorph.data import Dataset
from netmorph.errors import NetmorphError, suggest
from netmorph.run.config import EvolveConfig
from netmorph.run.store import NetworkStore
from netmorph.search.jobs import Done, Job, Worker, handler
from netmorph.workers.executor import Executor, Handler, Inline, Processes
from netmorph.workers.on_ray import OnRay
from netmorph.workers.shelf import Carried, Folder, Parcel, Unpacked


@dataclass(frozen=True)
class Place:
    """A run that jobs are for, and how they are done.

    Attributes:
        folder: of the run.
        dataset: `config.data`, loaded.
        workers: None is as many as there is room for.
        timeout: seconds that a job may take; None is for ever.
    """

    folder: Path
    config: EvolveConfig
    dataset: Dataset
    workers: int | None = None
    timeout: float | None = None

    @property
    def gpus(self) -> int:
        """Of each worker."""
        return int(self.config.device.startswith("cuda"))


On = Callable[[Place], AbstractContextManager[Executor[Job, Done]]]
Far = Callable[[EvolveConfig, str], Handler[Parcel[Job], Parcel[Done]]]


@contextlib.contextmanager
def inline(place: Place) -> Iterator[Executor[Job, Done]]:
    """One job after another in this process; a job that brings it down brings down the run.

    Raises:
        NetmorphError: a job is to end after some time, or there is to be more than one worker.
    """
    if place.timeout is not None or (place.workers or 1) > 1:
        raise NetmorphError("in this process there is one worker, whose jobs nobody ends; choose processes")
    yield Inline(lambda: Worker(place.folder, place.config, place.dataset))


def processes(place: Place) -> AbstractContextManager[Executor[Job, Done]]:
    """Supervised processes of this machine. One accelerator, one worker: each brings a context of its own."""
    workers = 1 if place.workers is None and place.config.device != "cpu" else place.workers
    make = partial(handler, place.folder, place.config)
    return Processes(make, workers, place.config.threads, place.timeout)


@contextlib.contextmanager
def on_ray(place: Place, address: str | None = None, far: Far | None = None) -> Iterator[Executor[Job, Done]]:
    """Actors of Ray. Networks travel with their jobs: no worker sees the run folder.

    Args:
        address: see `OnRay`.
        far: makes what handles jobs there, in place of `far_handler`.
    """
    make = partial(far or far_handler, place.config, place.dataset.fingerprint)
    store = NetworkStore(place.folder, place.config.base(place.dataset), place.config.recipe)
    with OnRay(make, place.workers, place.config.threads, place.gpus, place.timeout, address) as actors:
        yield Carried(actors, Folder(store.folder), partial(read_by, store))


def read_by(store: NetworkStore, job: Job) -> list[str]:
    """The names of the files in the store's folder that a job reads."""
    return [file.name for network, stage in job.reads for file in store.files(network, stage)]


def far_handler(config: EvolveConfig, fingerprint: str) -> Unpacked[Job, Done]:
    """What does the jobs of a run on a machine that does not see its folder; the data is loaded there, by its name.

    Raises:
        NetmorphError: the data there is other data.
    """
    dataset = config.data.load()
    if dataset.fingerprint != fingerprint:
        raise NetmorphError(
            f"the data {config.data.source!r} on {gethostname()} is not that of this machine (its content differs); "
            "put the same data on all machines of the cluster"
        )
    folder = Path(tempfile.mkdtemp(prefix="netmorph-"))
    worker = Worker(folder, config, dataset)
    weakref.finalize(worker, shutil.rmtree, folder, ignore_errors=True)
    return Unpacked(worker, Folder(folder / "networks"))


def parse(text: str) -> On:
    """What `--on` says: inline, processes, ray, or ray://ADDRESS.

    Raises:
        NetmorphError: it is none of these.
    """
    known: dict[str, On] = {"inline": inline, "processes": processes, "ray": on_ray}
    scheme, _, address = text.partition("://")
    if scheme == "ray" and address:
        return partial(on_ray, address=address)
    if text not in known:
        raise NetmorphError(
            f"jobs run on {', '.join(known)} or ray://ADDRESS (auto, or HOST:PORT); {text!r} was given"
            f"{suggest(text, known)}"
        )
    return known[text]
