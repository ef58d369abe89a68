"""Where tests find real data, and a cache of their own."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tests.program import Program

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """The folder of a real data set (mnist, cifar10); the test is skipped where it is missing."""
    root = Path(os.environ.get("NETMORPH_DATA") or REPOSITORY.parent / "shared" / "data")

    def find(name: str) -> Path:
        folder = root / name
        if not folder.is_dir():
            pytest.skip(f"no {name} in {root}; set NETMORPH_DATA to a folder that holds {name}/")
        return folder

    return find


@pytest.fixture(scope="module", autouse=True)
def _one_thread_for_what_tests_share() -> None:
    torch.set_num_threads(1)  # as below: what a module's tests share is made before the first of them


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Small networks gain nothing from a second one, and sums depend on their number: workers have one, too."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests out of the user's cache; all tests of a run share one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def netmorph(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Program:
    """The program, run in this process."""
    return Program(monkeypatch, capfd)
