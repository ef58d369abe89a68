"""The comparison of agents on small banks: it runs, and its differences are those within a seed."""

import pytest
from rich.console import Console

from benchmarks import chain_agents
from benchmarks.chain_agents import Found


def test_it_compares_agents_with_random(capsys: pytest.CaptureFixture[str]) -> None:
    chain_agents.main(["actor-critic", "--seeds", "2", "--budget", "8", "--reward", "layer", "--state", "layers"])
    told = capsys.readouterr().out
    assert "actor-critic" in told
    assert "random" in told


def test_differences_are_paired_by_seed() -> None:
    console = Console(width=100, record=True)
    console.print(
        chain_agents.table({"random": [Found(0.5, 0.0), Found(0.7, 0.0)], "beam": [Found(0.4, 0.1), Found(0.6, 0.3)]})
    )
    told = console.export_text()
    assert "0.5000" in told
    assert "-0.1000 ± 0.0000" in told
    assert "0.20 ± " in told
