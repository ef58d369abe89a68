"""One process at a time works in a run folder."""

import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType

from netmorph.errors import NetmorphError


class RunInUse(NetmorphError):
    """Another process works in this run folder."""


def in_use(folder: Path) -> bool:
    """Whether a process holds the run folder's lock at this moment."""
    try:
        file = os.open(Path(folder) / "lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(file)
    return False


class RunLock:
    """Holds `folder/lock` while the `with` block runs; the folder is made if it is missing.

    The operating system lets go of the lock when the process ends, however it ends: a lock file that lies
    around is harmless. A child made by `fork` shares the lock, and holds it on when its parent is killed.

    Raises:
        RunInUse: on entering, if another process (or another lock in this one) holds it.
        NetmorphError: the folder cannot be made, written or locked.
    """

    def __init__(self, folder: Path) -> None:
        self.path = Path(folder) / "lock"
        self._file: int | None = None

    def __enter__(self) -> "RunLock":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise NetmorphError(f"cannot lock {self.path.parent}: {error}; choose another folder") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(file, 1000).decode(errors="replace").strip() or "another process"
            os.close(file)
            raise RunInUse(
                f"{self.path.parent} is in use by {holder}; wait until it ends, stop it, or choose another folder"
            ) from error
        except OSError as error:
            os.close(file)
            raise NetmorphError(
                f"the file system of {self.path.parent} has no locks ({error}); choose a folder on a local disk"
            ) from error
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            # Unlocking by name, not by closing alone, ends the lock for children that share it, too.
            fcntl.flock(self._file, fcntl.LOCK_UN)
            os.close(self._file)
            self._file = None
