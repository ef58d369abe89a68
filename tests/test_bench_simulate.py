"""Workers in simulated time: what the clock says, and the tables."""

import re
from pathlib import Path

import pytest

from benchmarks import simulate, store
from benchmarks.simulate import DISPATCH, Recorded, Simulated, Workers, recorded, steady_state
from netmorph.run.records import Records
from netmorph.search.births import Birth
from netmorph.search.jobs import Training
from tests.report.synthetic import write_run


def test_a_job_begins_when_a_worker_is_free_and_the_driver_has_handed_it_out() -> None:
    staff = Workers(2)
    ends = [staff.give(seconds) for seconds in (3.0, 1.0, 1.0, 0.5)]
    first = 2 * DISPATCH + 1.0  # the second job ends first
    assert ends == pytest.approx([DISPATCH + 3, first, first + DISPATCH + 1, first + 2 * DISPATCH + 1.5])


def test_jobs_end_in_the_order_of_simulated_time() -> None:
    executor = Simulated([Recorded(100, 1000, 8.0), Recorded(200, 2000, 4.0)], 2)
    born = [outcome.job.id for outcome in executor.run([Birth(1, None, 0), Birth(2, None, 1)])]
    began = executor.now
    jobs = [Training(1, 0, 3), Training(2, 1, 3), Training(3, 9, 6, source=2)]
    ends = [(outcome.job.id, executor.now - began) for outcome in executor.run(jobs)]
    assert born == [1, 2]
    assert [id for id, _ in ends] == [2, 1, 3]
    assert [end for _, end in ends] == pytest.approx([4.0, 8.0, 12.0], abs=0.01)
    assert executor.busy == pytest.approx(2 * 0.05 * 6.0 + 4 + 8 + 8)


def test_without_rounds_no_worker_waits_for_the_others() -> None:
    assert steady_state([10.0] * 400, 4) == pytest.approx(1, abs=0.001)
    assert steady_state([10.0, 1.0], 2) == pytest.approx(0.55, abs=0.001)


def test_the_real_driver_runs_in_it() -> None:
    found = simulate.simulation([Recorded(100, 1000, 8.0)], workers=4, children=8, rounds=2, arms=simulate.LEAD)
    assert found.networks == 4 + 2 * 8
    # Founders and each round of eight on four workers: births of 0.4 s, then trainings of 8 s, with nobody idle.
    assert found.utilization == pytest.approx(1, abs=0.005)
    assert min(found.milliseconds, found.stored, found.held) > 0


def test_costs_are_those_of_a_run(tmp_path: Path) -> None:
    costs = recorded(write_run(tmp_path / "run", rounds=1, finished=False))
    with Records.open(tmp_path / "run") as records:
        assert costs == [Recorded(one.parameters, one.flops, one.seconds) for one in records.networks() if one.score]
    made_up = recorded(None)
    assert sum(cost.seconds for cost in made_up) / len(made_up) == pytest.approx(simulate.MEAN)


def test_the_document_tells_of_these_costs() -> None:
    costs = recorded(None)
    text = (Path(__file__).parents[1] / "docs" / "watch.md").read_text("utf-8").replace("\n", " ")
    told = re.search(r"those of (\d+) networks .* at (\d+) s of training on average and (\d+) s for the longest", text)
    assert told is not None
    longest = max(cost.seconds for cost in costs)
    assert [*map(int, told.groups())] == [len(costs), simulate.MEAN, round(longest)]


def test_it_tells_tables(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "NETWORKS", (30, 60))
    simulate.main("--children 12 --workers 2".split())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[2:6]] == [
        ["2", "6", "1"],
        ["2", "24", "1"],
        ["2", "24", "3"],
        ["2", "no", "rounds"],
    ]
    assert lines[-1].startswith("bytes a network")
