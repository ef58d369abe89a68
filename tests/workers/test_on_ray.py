"""Ray itself: minutes, so these are slow. What `Supervised` does is tested without it."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from netmorph import session
from netmorph.errors import NetmorphError
from netmorph.files import SaveError
from netmorph.search.executors import inline, on_ray
from netmorph.workers.executor import TRIES, Outcome
from netmorph.workers.on_ray import OnRay, own_ray, prepare_own_ray
from netmorph.workers.supervision import WorkersError
from tests.train.tiny import CONFIG, told, weights
from tests.workers.test_executor import broken_factory, factory, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray's own
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray"),
]


def processes_of(mark: str) -> list[str]:
    """Command lines of living processes with these words in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                found += [(folder / "cmdline").read_text().replace("\0", " ")] if state != "Z" else []
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A Ray for all tests: it takes seconds to start."""
    prepare_own_ray()
    with own_ray() as address:
        yield address


def test_jobs_on_ray_whatever_becomes_of_some(address: str, tmp_path: Path) -> None:
    with OnRay(partial(factory, tmp_path), timeout=3, address=address) as executor:
        found = {o.job: o for o in executor.run(["a", "die", "raise", "die once", "threads", "sleep", "greedy", "b"])}
        assert list(executor.run(["a"])) == [Outcome("a", "A")]
    assert (found["a"], found["b"]) == (Outcome("a", "A"), Outcome("b", "B"))
    assert found["raise"] == Outcome("raise", None, "RuntimeError: no luck")
    assert found["die once"] == Outcome("die once", "DIE ONCE")
    assert found["threads"].result == 1
    assert found["sleep"].failure == "timed out after 3 s"
    assert str(found["greedy"].failure).startswith("out of memory, RuntimeError")
    assert str(found["die"].failure).startswith("its worker process died under Ray (ActorDiedError), 3 times; perhaps")
    assert len(list(tmp_path.glob("die.*"))) == TRIES


def test_what_concerns_all_jobs_is_raised_on_ray(address: str, tmp_path: Path) -> None:
    with pytest.raises(NetmorphError, match="the data is gone"), OnRay(broken_factory, address=address) as executor:
        list(executor.run(["a"]))
    full = OnRay(partial(factory, tmp_path), address=address)
    with pytest.raises(SaveError, match="the disk is full"), full as executor:
        list(executor.run(["full"]))
    with pytest.raises(WorkersError, match="no machine of the Ray cluster has 1000 CPUs and 0 GPUs for a worker"):
        OnRay(broken_factory, threads=1000, address=address).__enter__()


def test_an_evolution_on_ray_has_the_same_networks(address: str, tmp_path: Path) -> None:
    for name, on in (("here", inline), ("there", partial(on_ray, address=address))):
        session.evolve(
            session.create(tmp_path / name, CONFIG, ""), None if name == "there" else 1, lambda progress: None, on=on
        )
    assert told(tmp_path / "there") == told(tmp_path / "here")
    assert weights(tmp_path / "there") == weights(tmp_path / "here")


DRIVER = """
import sys
from functools import partial
from pathlib import Path
from netmorph.workers.on_ray import OnRay, own_ray, prepare_own_ray
from tests.train.tiny import CONFIG, told, weights
from tests.workers.test_executor import factory
with OnRay(partial(factory, Path(sys.argv[1])), workers=2) as executor:
    for outcome in executor.run(["a", "sleep", "sleep"]):
        print(outcome.job, flush=True)
"""


def test_nothing_of_a_killed_drivers_ray_is_left(tmp_path: Path) -> None:
    mark, environment = f"NETMORPH_TEST={tmp_path}", {**os.environ, "NETMORPH_TEST": str(tmp_path)}
    arguments = [sys.executable, "-c", DRIVER, str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "a\n"
        wait_for(lambda: list(tmp_path.glob("sleep.*")))
        assert len(processes_of(mark)) > 5
        driver.kill()
        driver.wait()
    end = time.monotonic() + 60
    while processes_of(mark) and time.monotonic() < end:
        time.sleep(0.1)
    assert processes_of(mark) == []
