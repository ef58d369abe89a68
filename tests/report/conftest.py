from collections.abc import Iterator
from pathlib import Path

import pytest
from synthetic import write_run

from netmorph.run.lock import RunLock


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture(scope="session")
def running_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = write_run(tmp_path_factory.mktemp("running") / "run", rounds=2, finished=False)
    with RunLock(folder):
        yield folder
