import gc
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from netmorph.cores import available_cores
from netmorph.errors import NetmorphError
from netmorph.files import SaveError
from netmorph.workers.executor import TRIES, Inline, Outcome, Processes


def factory(folder: Path) -> Callable[[str], object]:
    def handle(job: str) -> object:
        (folder / f"{job}.{len(list(folder.glob(f'{job}.*')))}").touch()
        match job:
            case "raise":
                raise RuntimeError("no luck")
            case "full":
                raise SaveError("the disk is full")
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "die once":
                if len(list(folder.glob("die once.*"))) == 1:
                    os._exit(3)
            case "sleep":
                time.sleep(60)
            case "greedy":
                torch.empty(2**60, dtype=torch.uint8)
            case "threads":
                return torch.get_num_threads()
        return job.upper()

    return handle


def broken_factory() -> Callable[[str], object]:
    raise NetmorphError("the data is gone")


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def wait_for(condition: Callable[[], object]) -> None:
    """Without a limit of its own: how long a process takes to start is the machine's affair; pytest's limit holds."""
    while not condition():
        time.sleep(0.02)


def test_inline_gives_results_and_failures_in_order(tmp_path: Path) -> None:
    executor = Inline(partial(factory, tmp_path))
    assert list(executor.run(["a", "raise", "b"])) == [
        Outcome("a", "A"),
        Outcome("raise", None, "RuntimeError: no luck"),
        Outcome("b", "B"),
    ]


def test_inline_lets_a_full_disk_through(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="the disk is full"):
        list(Inline(partial(factory, tmp_path)).run(["a", "full"]))


def test_what_no_memory_is_left_for_says_so(tmp_path: Path) -> None:
    (outcome,) = Inline(partial(factory, tmp_path)).run(["greedy"])
    assert re.match("out of memory, RuntimeError: .*can't allocate memory", outcome.failure or "")


def test_processes_run_all_jobs_whatever_becomes_of_some(tmp_path: Path) -> None:
    with Processes(partial(factory, tmp_path), workers=2) as executor:
        found = {outcome.job: outcome for outcome in executor.run(["a", "die", "raise", "die once", "threads", "b"])}
        again = list(executor.run(["a"]))
    assert found["a"] == Outcome("a", "A")
    assert found["b"] == Outcome("b", "B")
    assert found["raise"] == Outcome("raise", None, "RuntimeError: no luck")
    assert found["die once"] == Outcome("die once", "DIE ONCE")
    assert found["threads"].result == 1
    assert found["die"].result is None
    assert found["die"].failure == (
        f"its worker process died by signal SIGKILL, {TRIES} times; perhaps too little memory: use fewer workers"
    )
    assert len(list(tmp_path.glob("die.*"))) == TRIES
    assert len(list(tmp_path.glob("die once.*"))) == 2
    assert again == [Outcome("a", "A")]
    assert multiprocessing.active_children() == []


def test_a_job_that_hangs_is_ended_alone(tmp_path: Path) -> None:
    with Processes(partial(factory, tmp_path), workers=1, timeout=0.5) as executor:
        assert list(executor.run(["sleep"])) == [Outcome("sleep", None, "timed out after 0.5 s")]
    assert len(list(tmp_path.glob("sleep.*"))) == 1


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two workers at once")
def test_no_process_outlives_the_block_or_works_for_nobody(tmp_path: Path) -> None:
    with Processes(partial(factory, tmp_path), workers=2) as executor:
        outcomes = executor.run(["sleep", "a"])
        assert next(outcomes) == Outcome("a", "A")
        wait_for(lambda: list(tmp_path.glob("sleep.*")))
        outcomes.close()
        assert len(multiprocessing.active_children()) < 2  # who slept is gone
    assert multiprocessing.active_children() == []


def test_an_error_of_the_caller_leaves_nothing_behind(tmp_path: Path) -> None:
    def stopped() -> None:
        with Processes(partial(factory, tmp_path), workers=2) as executor:
            for _ in executor.run(["a", "sleep"]):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert multiprocessing.active_children() == []
    gc.collect()  # the generator ends here at the latest, silently: a warning would fail the test


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [(broken_factory, NetmorphError, "the data is gone"), (factory, SaveError, "the disk is full")],
)
def test_what_concerns_all_jobs_is_raised(
    tmp_path: Path, make: Callable[..., object], kind: type[Exception], message: str
) -> None:
    make = partial(factory, tmp_path) if make is factory else make
    with pytest.raises(kind, match=message), Processes(make, workers=1) as executor:
        list(executor.run(["full"]))
    assert multiprocessing.active_children() == []


def test_workers_and_threads_fit_the_cores() -> None:
    for workers, threads in ((None, 1), (1, 1), (100, 1), (2, 3), (None, 100)):
        plan = Processes(broken_factory, workers, threads).plan
        assert plan.workers * plan.threads <= available_cores()
    with pytest.raises(NetmorphError, match="workers must be at least 1"):
        Processes(broken_factory, 0)


SUPERVISOR = """
import multiprocessing, sys
from functools import partial
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_executor import factory
from netmorph.workers.executor import Processes
if __name__ == "__main__":
    with Processes(partial(factory, Path(sys.argv[1])), workers=2) as executor:
        for outcome in executor.run(["a", "sleep", "sleep"]):
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)
"""


def test_workers_end_with_a_killed_supervisor(tmp_path: Path) -> None:
    script = tmp_path / "supervisor.py"
    script.write_text(SUPERVISOR)
    arguments = [sys.executable, str(script), str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        workers = [int(pid) for pid in supervisor.stdout.readline().split()]
        assert workers
        assert not any(gone(pid) for pid in workers)
        wait_for(lambda: list(tmp_path.glob("sleep.*")))
        supervisor.kill()
        assert supervisor.wait() == -signal.SIGKILL
        wait_for(lambda: all(gone(pid) for pid in workers))
