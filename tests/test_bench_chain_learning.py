"""The comparison of modes of learning: it runs, and keeps to the FLOPs."""

import pytest

from benchmarks import chain_learning


@pytest.mark.slow
def test_it_compares_modes_and_agents(capsys: pytest.CaptureFixture[str]) -> None:
    chain_learning.main(["--seeds", "1", "--budget", "12", "--looked", "6"])
    told = capsys.readouterr().out
    assert all(name in told for name in ("never", "after-stitches", "searching", "actor-critic", "random", "half"))
