"""The original setting of shared weights: what is selected, and the rows and table of a tiny run."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from benchmarks import original_setting
from benchmarks.original_setting import BASE, LONGER, SEARCHES, Row, Setting, arms, best, covering, table
from netmorph.data import load


def test_co_evolution_covers_what_the_best_leaves_out() -> None:
    right = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 1, 0]], dtype=torch.bool)
    assert best(right, 2) == [0, 1]
    right[1, 1] = False
    assert covering(right, 3) == [0, 2, 1]


@pytest.mark.slow
def test_every_arm_ends_and_those_that_are_known_are_not_trained_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(original_setting, "NETWORKS", 4)
    monkeypatch.setattr(original_setting, "SURVIVORS", 2)
    digits = load("digits", train_size=256)
    setting = Setting(digits, 2500.0, 2)
    rows = list(arms(setting, 0, {}))
    assert [row.arm for row in rows] == [BASE, *SEARCHES, LONGER]
    by_arm = {row.arm: row for row in rows}
    assert by_arm["shared"].weights < by_arm["copies"].weights
    assert by_arm[LONGER].flops == pytest.approx(by_arm["shared"].flops, rel=0.2)
    again = list(arms(setting, 0, {name: row for name, row in by_arm.items() if name != "copies"}))
    assert [replace(row, seconds=0) for row in again] == [replace(by_arm["copies"], seconds=0)]
    assert Row(**json.loads(json.dumps(asdict(rows[0])))) == rows[0]
    assert "| shared, covering |" in table(rows)
