"""Files by name, as bytes: how networks reach workers that do not see the run folder, and come back.

A job travels with the files that it reads, and its result with those that it wrote, by whatever carries jobs: Ray's
object store, or a pipe. Only the driver writes in the run folder, so workers whose driver is gone can spoil nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from netmorph.files import SaveError, atomic_write
from netmorph.workers.executor import Executor
from netmorph.workers.outcomes import Handler, Job, Outcome, Result

Content = TypeVar("Content")


class Shelf(Protocol):
    """Bytes by name. What has the same name up to its second dot belongs together: `5.trained.safetensors`, say, and
    `5.trained.optimizer`.
    """

    def put(self, name: str, content: bytes) -> None:
        """Keep these bytes, in place of those of this name.

        Raises:
            SaveError: they could not be written.
        """
        ...

    def take(self, name: str) -> bytes:
        """Raises: OSError: there is nothing of this name."""
        ...

    def drop(self, name: str) -> None:
        """Forget what has this name, if anything has."""
        ...

    def names(self, stem: str = "*") -> Iterable[str]:
        """All names that begin with `STEM.`, or simply all."""
        ...


@dataclass(frozen=True)
class Folder:
    """Files of a folder, each whole or absent."""

    path: Path

    def put(self, name: str, content: bytes) -> None:
        """See `Shelf`."""
        if Path(name).name != name:
            raise SaveError(f"{name!r} is no name of a file in {self.path}; a worker sent it")

        def write(file: Path) -> None:
            file.write_bytes(content)

        atomic_write(self.path / name, write)

    def take(self, name: str) -> bytes:
        """See `Shelf`."""
        return (self.path / name).read_bytes()

    def drop(self, name: str) -> None:
        """See `Shelf`."""
        (self.path / name).unlink(missing_ok=True)

    def names(self, stem: str = "*") -> list[str]:
        """See `Shelf`."""
        return sorted(file.name for file in self.path.glob(f"{stem}.*") if file.is_file())


@dataclass(frozen=True)
class Parcel(Generic[Content]):
    """A job with the files that it reads, or a result with those that were written."""

    content: Content
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Carried(Generic[Job, Result]):
    """An executor whose workers are far from the files: a job takes along what it reads, and brings back what it wrote.

    Attributes:
        executor: its workers handle parcels as `Unpacked` does.
        shelf: the files.
        reads: the names of those that a job reads.
    """

    executor: Executor[Parcel[Job], Parcel[Result]]
    shelf: Shelf
    reads: Callable[[Job], Iterable[str]]

    def run(self, jobs: Iterable[Job]) -> Iterator[Outcome[Job, Result]]:
        """See `Executor`."""
        for outcome in self.executor.run(map(self._packed, jobs)):
            job, done = outcome.job.content, outcome.result
            if done is not None:
                self._keep(done.files)
            yield Outcome(job, None if done is None else done.content, outcome.failure)

    def _packed(self, job: Job) -> Parcel[Job]:
        return Parcel(job, {name: self.shelf.take(name) for name in self.reads(job)})

    def _keep(self, files: Mapping[str, bytes]) -> None:
        """In place of all that was there of the same networks; the optimizer first, as the store does it."""
        for stem in {_stem(name) for name in files}:
            for name in self.shelf.names(stem):
                if name not in files:
                    self.shelf.drop(name)
        for name in sorted(files):
            self.shelf.put(name, files[name])


@dataclass(frozen=True)
class Unpacked(Generic[Job, Result]):
    """Handles parcels far away: `handle` finds the files of its job on a shelf of its own, and leaves what it wrote."""

    handle: Handler[Job, Result]
    shelf: Shelf

    def __call__(self, parcel: Parcel[Job]) -> Parcel[Result]:
        """Do the job of a parcel; the shelf is empty afterwards."""
        try:
            for name, content in parcel.files.items():
                self.shelf.put(name, content)
            result = self.handle(parcel.content)
            found = {name: self.shelf.take(name) for name in self.shelf.names()}
            changed = {_stem(name) for name, content in found.items() if parcel.files.get(name) != content}
            return Parcel(result, {name: content for name, content in found.items() if _stem(name) in changed})
        finally:
            for name in self.shelf.names():
                self.shelf.drop(name)


def _stem(name: str) -> str:
    return ".".join(name.split(".")[:2])
