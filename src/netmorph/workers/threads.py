"""How many workers, and threads for each: never more threads than cores.

Threads wait for each other after every operation; with more threads than cores one always waits for its turn
on a core, and training becomes many times slower instead of faster.
"""

from typing import NamedTuple

import torch

from netmorph.cores import available_cores
from netmorph.errors import NetmorphError

# Where threads cannot be started, OpenMP ends the process without a word.
MOST_THREADS = 4096


class WorkerPlan(NamedTuple):
    """So many worker processes, each with so many threads; their product is at most the number of cores."""

    workers: int
    threads: int


def plan_workers(workers: int | None = None, threads: int = 1) -> WorkerPlan:
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
    return WorkerPlan(min(workers, room), threads)


def set_threads(threads: int) -> None:
    """Let torch use so many threads in this process.

    Raises:
        NetmorphError: `threads` is below 1, or more than any machine has cores.
    """
    _at_least_one("threads", threads)
    if threads > MOST_THREADS:
        raise NetmorphError(f"threads must be at most {MOST_THREADS}; {threads} was given")
    torch.set_num_threads(threads)


def _at_least_one(what: str, number: int) -> None:
    if number < 1:
        raise NetmorphError(f"{what} must be at least 1; {number} was given")
