"""How much memory there is: what cannot fit is refused before any of it is taken."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from netmorph.errors import NetmorphError

# Where Linux tells what a container may use, in the second and the first version of its control groups.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_GIBI = 2**30
# How PyTorch says that there is none left: of the CPU (Linux and macOS, Windows), and of Apple's GPUs.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "MPS backend out of memory")


class OutOfMemory(NetmorphError):
    """Something is larger than the memory of the machine."""


def check_fits(needed: int, what: str, device: torch.device | str = "cpu") -> None:
    """Refuse what is larger than all the memory there is, in use or free. Where nobody tells, everything fits.

    Args:
        needed: bytes.
        what: the subject of the message: "group 'conv' with 10 channels".

    Raises:
        OutOfMemory: it cannot fit.
    """
    there = total(torch.device(device))
    if there is not None and needed > there:
        raise OutOfMemory(
            f"{what} takes {needed / _GIBI:,.0f} GiB of memory, and there are {there / _GIBI:,.0f}; "
            "choose smaller sizes"
        )


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory; of some devices, PyTorch raises a plain RuntimeError."""
    if isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY):
        return True
    return isinstance(error, MemoryError | torch.OutOfMemoryError)


def total(device: torch.device) -> int | None:
    """Bytes of memory of a device, or that this process may use of the machine's; None where nobody tells."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if device.type != "cpu":
        return None
    try:
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows, say
        return None
    return min([found, *filter(None, map(_limit, _LIMITS))]) if found > 0 else None


def highest() -> int:
    """Bytes that this process had in use at most until now; 0 where nobody tells (Windows)."""
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _limit(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or "max"
        return None
