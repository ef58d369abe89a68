"""The benchmark of the cache: it runs, the walk is the same for all limits, and none is exceeded."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import chain_speed
from benchmarks.chain_speed import CASES, EVERYTHING, WithoutCache, limits, walked

pytest.importorskip("gymnasium")


@pytest.mark.slow
def test_limits_are_held_and_cost_layers(tmp_path: Path) -> None:
    case = replace(CASES["digits"], samples=100)
    dataset, bank, steps = case.data(), case.fill(tmp_path), 20
    bounds = limits(case, bank, dataset, steps)

    _, without = walked(case.problem(bank, dataset, EVERYTHING, WithoutCache), steps)
    counts = {name: walked(case.problem(bank, dataset, memory), steps)[1] for name, memory in bounds.items()}

    assert all(counts[name].most <= memory for name, memory in bounds.items())
    assert counts["all of it"].evicted == 0 < counts["one step"].evicted
    assert counts["all of it"].layers <= counts["a quarter"].layers <= counts["one step"].layers < without.layers


@pytest.mark.slow
def test_it_tells_of_each_limit(capsys: pytest.CaptureFixture[str]) -> None:
    chain_speed.main(["--only", "digits", "--steps", "4", "--rounds", "1"])
    told = capsys.readouterr().out
    assert all(text in told for text in ("all of it", "a quarter", "one step", "none"))
