"""The fault test, small: what it draws, and (slow) that a run under some faults ends as the undisturbed one."""

from collections import Counter
from pathlib import Path

import pytest

from benchmarks import faults
from benchmarks._faulty import DOOMS, NAN, doom, victim
from netmorph.search.births import Birth
from netmorph.search.jobs import Joint, Training


def test_what_is_drawn_has_its_shares_and_follows_from_seeds() -> None:
    drawn = faults.disturbances(100, seed=3)
    assert drawn == faults.disturbances(100, seed=3) != faults.disturbances(100, seed=4)
    assert Counter(drawn) == {faults.WORKER: 60, faults.DRIVER: 30, faults.DISK: 10}
    assert faults.disturbances(0, seed=3) == []
    dooms = Counter(doom(Training(2, seed, 1)) for seed in range(1200))
    assert dooms == {None: 900, **dict.fromkeys(DOOMS, 100)}
    spared = (Training(1, 0, 1), Training(2, 0, 1, source=1), Birth(2, 1, 0))
    assert [doom(job) for job in spared] == [None, None, None]
    together = [Joint((5, 6, 7), seed, 1, (2,)) for seed in range(0, 1200, 12)]
    assert {doom(job) for job in together} == {NAN}
    assert {victim(job) for job in together} == {5, 6, 7}


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["inherited", "shared"])
def test_a_run_under_faults_ends_as_if_there_were_none(
    weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faults.main(["--faults", "16", "--seed", "1", "--weights", weights, "--folder", str(tmp_path)])
    told = dict(line.strip("| ").split(" | ")[:2] for line in capsys.readouterr().out.splitlines() if " | " in line)
    assert [value for what, value in told.items() if ", of" in what] == ["the same", "the same"]
    assert told["children lost for another reason"] == told["processes that outlived their driver"] == "0"
