"""A Ray of one machine that nothing outlives: a process that starts it, waits for its driver, and ends all of it.

    python -m netmorph.workers.ray_head FOLDER CPUS

It prints the address. When the driver closes its end of the input, or is gone (`kill -9`), every process of this Ray
ends, its agents too, and FOLDER with its sockets and logs is removed. No other Ray on the machine is touched: on Linux
all that is started here stays below this process, whatever becomes of the processes between.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
from pathlib import Path

from netmorph.errors import require

PR_SET_CHILD_SUBREAPER = 36  # of Linux' prctl.h: who loses its parent becomes this process' child


def main(folder: str, cpus: str) -> None:
    """Args: folder: a new one, with a short path: the names of sockets have 107 characters at most."""
    linux = sys.platform == "linux"
    if linux:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    ends = [sys.stdin.fileno()]
    if linux:
        # A process that the driver forked may hold its end of the input open.
        with contextlib.suppress(ProcessLookupError):
            ends.append(os.pidfd_open(os.getppid()))
    try:
        ray = require("ray", "ray")
        ray.init(
            num_cpus=int(cpus),
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            _temp_dir=folder,
        )
        print(ray.get_runtime_context().gcs_address, flush=True)
        select.select(ends, [], [])
        ray.shutdown()
    finally:
        if linux:
            _end_all_below()
        shutil.rmtree(folder, ignore_errors=True)


def _end_all_below() -> None:
    """Kill the children, whose own become children of this process, until there are none."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    with contextlib.suppress(ChildProcessError):
        while True:
            for child in map(int, children.read_text().split()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            os.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
