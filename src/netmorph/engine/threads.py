"""How many workers, and threads for each: never more threads than cores.

Threads wait for each other after every operation; with more threads than cores one always waits for its turn
on a core, and training becomes many times slower instead of faster.
"""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import torch

from netmorph.errors import NetmorphError


class Plan(NamedTuple):
    """So many worker processes, each with so many threads; their product is at most the number of cores."""

    workers: int
    threads: int


def available_cores() -> int:
    """Cores this process may use: at most what its affinity mask and its cgroup's quota allow."""
    if sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
        quota = _cgroup_quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"), cores)
        return max(1, min(cores, int(quota)))
    else:
        return os.cpu_count() or 1


def plan(workers: int | None = None, threads: int = 1) -> Plan:
    """Share the cores out among workers of so many threads, one being the fastest for small networks.

    More threads than cores, and then more workers than those leave room for, are cut down. The number of threads
    does not depend on that of the workers, because sums, and so a network's numbers, depend on it.

    Args:
        workers: None is as many as there is room for.

    Raises:
        NetmorphError: `workers` or `threads` is below 1.
    """
    _at_least_one("threads", threads)
    cores = available_cores()
    threads = min(threads, cores)
    room = cores // threads
    if workers is None:
        workers = room
    _at_least_one("workers", workers)
    return Plan(min(workers, room), threads)


def set_threads(threads: int) -> None:
    """Let torch use so many threads in this process.

    Raises:
        NetmorphError: `threads` is below 1.
    """
    _at_least_one("threads", threads)
    torch.set_num_threads(threads)


def _at_least_one(what: str, number: int) -> None:
    if number < 1:
        raise NetmorphError(f"{what} must be at least 1; {number} was given")


def _cgroup_quota(membership: Path, root: Path, default: float) -> float:
    """The smallest quota, in cores, on the way from this process' cgroup (version 2) up to the root."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return default
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if own is None:
        return default
    folder = root / own
    return min(_folder_quota(level, default) for level in (folder, *folder.parents) if level.is_relative_to(root))


def _folder_quota(folder: Path, default: float) -> float:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return default
    return default if quota == "max" else int(quota) / int(period)
