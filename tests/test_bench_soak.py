"""The soak: what is told of it, and (slow) that a short one loses nothing."""

import random
from pathlib import Path

import pytest

from benchmarks import soak
from benchmarks.faults import WORKER, Storm
from netmorph.run.records import Records


def test_what_is_told(tmp_path: Path) -> None:
    with Records.create(tmp_path):
        pass
    storm = Storm(tmp_path, tmp_path, [], random.Random(0), workers=2, timeout=6, place="processes", networks=0)
    storm.done[WORKER] = 3
    looks = [soak.Look(minute, 10 * minute, 0, 1.0, 200.0 + minute, 150.0, 3, 20, 0.5) for minute in range(8)]
    told = soak.table(storm, looks, lost=[], unread=[]).splitlines()
    assert {"| kill -9 of a worker | 3 |", "| networks trained | 70 |", "| networks lost | 0 |"} <= set(told)
    assert {"| median of a quarter | 1 | 2 | 3 | 4 |", "| driver_mb | 200.5 | 202.5 | 204.5 | 206.5 |"} <= set(told)
    assert soak.unreadable(tmp_path) == []


@pytest.mark.slow
def test_a_short_one_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        soak.main(["--hours", "0.01", "--every", "6", "--timeout", "20", "--folder", str(tmp_path)])
    assert ended.value.code == 0
    assert "| networks lost | 0 |" in capsys.readouterr().out
    assert len((tmp_path / "soak.csv").read_text().splitlines()) > 3
