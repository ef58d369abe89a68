"""The comparison of modes of learning: it runs."""

import pytest

from benchmarks import chain_learning


@pytest.mark.slow
def test_it_compares_modes_agents_and_stitches(capsys: pytest.CaptureFixture[str]) -> None:
    chain_learning.main(["--seeds", "1", "--budget", "12", "--looked", "6"])
    told = capsys.readouterr().out
    shown = ("never", "after-stitches", "searching", "actor-critic", "random", "half", "cut behind")
    assert all(name in told for name in shown)
