"""Files that are whole or absent: what a crash or a full disk cannot leave half-written."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from netmorph.errors import NetmorphError


class SaveError(NetmorphError):
    """A file could not be written; what stood there before is untouched."""


def atomic_write(path: Path, write: Callable[[Path], None], *, keep: Path | None = None) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in the place of `path` in one step.

    The file reaches the disk before it gets its name, so that after a crash `path` holds either the old content
    or the new one. A process that is killed meanwhile leaves a temporary folder, see `remove_unfinished`.

    Args:
        keep: the name that the file now at `path` gets. There are two steps then, and a crash between them leaves
            the old content at `keep` and nothing at `path`.

    Raises:
        SaveError: the file could not be written (disk full, no permission). What was at `path` is there, or at `keep`.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A folder, because some writers put temporary files of their own beside what they write.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp") as folder:
            temporary = Path(folder, path.name)
            write(temporary)
            temporary.chmod(0o666 & ~_umask())  # some writers make files that nobody else can read
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            if keep is not None and path.exists():
                os.replace(path, keep)
            os.replace(temporary, path)
    except BaseException as error:
        if _is_write_failure(error):
            raise SaveError(
                f"could not write {path}: {error}. Free some space or choose another folder; "
                "what was there before is untouched"
            ) from error
        raise


def write_text(path: Path, text: str) -> None:
    """`atomic_write` of a text in UTF-8."""

    def write(file: Path) -> None:
        file.write_text(text, encoding="utf-8")

    atomic_write(path, write)


def check_free(folder: Path, error: type[NetmorphError], otherwise: str = "choose another folder") -> None:
    """Refuse a folder that holds something, or a file in its place.

    Args:
        error: what is raised then.
        otherwise: what can be done then.

    Raises:
        NetmorphError: of the type `error`.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise error(f"{folder} is not an empty folder; {otherwise}")


def remove_unfinished(folder: Path, name: str = "*") -> None:
    """Remove what killed processes left in `folder` when they wrote files there.

    Only for a caller who knows that no other process writes these files now.

    Args:
        name: a glob pattern of the files that were to be written.
    """
    for left in folder.glob(f".{name}.*.tmp"):
        shutil.rmtree(left, ignore_errors=True)  # it takes space, and does no other harm


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _is_write_failure(error: BaseException) -> bool:
    # safetensors reports an I/O error (a full disk, say) as its own SafetensorError.
    return isinstance(error, OSError) or type(error).__name__ == "SafetensorError"
