"""Trainings killed with SIGKILL at any moment end as if nothing had happened: see `killing`."""

import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
LIBRARY = (
    "sgd",
    "everything",
    "adamw",
    "patience",
    "edited",
    "edited by steps",
    "within epochs",
    "edited within epochs",
    "grown",
)
OTHER_TASKS = ("regression", "table", "text")
EACH = ("each_step", "each_edit")
BRIEF = ("everything", "patience", "edited within epochs", "grown", *OTHER_TASKS, *EACH)
COMMANDS = ("command on values", "command on classes", "command on a text")


def killed(folder: Path, seed: int, kills: int, *cases: str) -> dict[str, Any]:
    """What `killing` found; about so many kills a case."""
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    finished = subprocess.run(
        [sys.executable, "-m", "tests.train.killing", str(folder), str(seed), str(kills), *cases],
        cwd=REPOSITORY,
        env={**os.environ, **one_thread},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of one case after the other, in one process, which starts once."""
    return killed(tmp_path_factory.mktemp("killed"), 0, 2, *BRIEF)


@pytest.mark.parametrize("name", BRIEF)
def test_a_killed_training_ends_with_the_same_bits(found: dict[str, Any], name: str) -> None:
    assert found[name]["different"] == []


def test_so_many_were_killed(found: dict[str, Any]) -> None:
    assert found["everything"]["kills"] + found["patience"]["kills"] > 0
    assert found["edited within epochs"]["kills"] > 0
    assert sum(found[name]["kills"] for name in OTHER_TASKS) > 0
    # Three checkpoints, each written, flushed and renamed; the result; and the end of the damaged run.
    assert found["each_step"]["kills"] > 20
    # Two edits: the trace before, the change of model and average, tensor by tensor, the trace after, what follows.
    assert found["each_edit"]["kills"] > 20


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_kills_of_each_other_task_make_no_difference(tmp_path: Path) -> None:
    kills = Counter(dict.fromkeys(OTHER_TASKS + COMMANDS, 0))
    for seed in itertools.count(1):
        for name, case in killed(tmp_path / str(seed), seed, 8, *kills).items():
            assert case["different"] == [], name
            kills[name] += case["kills"]
        if min(kills.values()) >= 20:
            break
    print(f"{dict(kills)} kills, 0 differences")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_kills_make_no_difference(tmp_path: Path) -> None:
    kills: Counter[str] = Counter()
    for seed in itertools.count(1):
        for name, case in killed(tmp_path / str(seed), seed, 8, *LIBRARY, "command").items():
            assert case["different"] == [], name
            kills += Counter({f"{name}, {phase}": count for phase, count in case["phases"].items()})
        if kills.total() >= 50:
            break
    print(f"{kills.total()} kills, 0 differences: {dict(kills)}")
