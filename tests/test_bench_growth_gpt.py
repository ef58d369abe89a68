"""The benchmark of growing GPTs: a branch is as good as the whole training, and the tables tell what was measured."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import _growing_tables as tables
from benchmarks import growth_gpt
from benchmarks._growing import Row, Setting, Text, branches, finished, started
from netmorph.policy import WAYS, rise, to_depth
from netmorph.train import Recipe

SETTING = Setting(
    data="stdlib",
    window=8,
    steps=10,
    recipe=Recipe(batch_size=2, schedule="stable", learning_rate=3e-3, warmup=0.2, decay_share=0.2),
    full={"depth": 3, "channels": 8, "heads": 2, "tied": False},
    held=8,
    looks=5,
)
LATE = ((0.5, to_depth(2, WAYS["copied"])), (0.8, to_depth(3, WAYS["zero"])))


@pytest.fixture(scope="module")
def text() -> Text:
    return Text(SETTING)


def test_a_branch_equals_the_whole_training(text: Text) -> None:
    row = Row("late", {"depth": 1}, LATE, rise(2))
    short = Row("short", {"depth": 1}, length=0.5)
    branched = {found.name: learner for found, learner in branches([row, Row("small", {"depth": 1}), short], text, 3)}
    for one in (row, short):
        alone = finished(one, started(text, one.start, 3), text, 3)
        there = branched[one.name]
        assert (there.curve, there.jumps, there.flops) == (alone.curve, alone.jumps, alone.flops)
        state = alone.model.state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in there.model.state_dict().items())
    depths = {name: len(list(learner.model.get_submodule("blocks").children())) for name, learner in branched.items()}
    assert depths == {"late": 3, "small": 1, "short": 1}
    assert branched["small"].flops < branched["late"].flops
    assert [step for step, *_ in branched["late"].curve] == [2, 4, 6, 8, 10]
    assert branched["short"].step == 5


def test_seeds_and_steps_differ(text: Text) -> None:
    one, same, step, seed = (text.batch(*place)[0] for place in ((0, 1), (0, 1), (0, 2), (1, 1)))
    assert torch.equal(one, same)
    assert not torch.equal(one, step)
    assert not torch.equal(one, seed)
    inputs, targets = text.batch(0, 1)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])


def test_fresh_state_is_fresh(text: Text) -> None:
    row = Row("fresh", {"depth": 1}, ((0.9, to_depth(2)),), fresh=True)
    learner = finished(row, started(text, row.start, 0), text, 0)
    assert {int(state["step"]) for state in learner.optimizer.state.values()} == {1}


def test_a_run_goes_on_and_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = (Row(tables.FULL), Row("late", {"depth": 1}, LATE))
    monkeypatch.setattr(growth_gpt, "SETTING", SETTING)
    asked = (growth_gpt.Table("Depth", rows), growth_gpt.Table("Fewer", (replace(rows[1], name="again"),), 1))
    monkeypatch.setattr(growth_gpt, "tables", lambda full: asked)
    growth_gpt.main([str(tmp_path), "--seeds", "1"])
    journal = tmp_path / "rows.jsonl"
    written = journal.read_text()
    assert len(written.splitlines()) == 3
    growth_gpt.main([str(tmp_path), "--seeds", "2"])
    assert journal.read_text().startswith(written)
    assert len(journal.read_text().splitlines()) == 5
    told = (tmp_path / "tables.md").read_text()
    assert "| late | 2 |" in told
    assert "| again | 1 |" in told
    assert (tmp_path / "growth-text.png").stat().st_size > 10_000


def test_the_tables_compare_within_a_seed() -> None:
    def line(row: str, seed: int, loss: float, flops: int, **other: object) -> tables.Line:
        return {"row": row, "seed": seed, "loss": loss, "flops": flops, "grown": [], "jumps": [], "curve": [], **other}

    late = {"grown": [8], "jumps": [(2.0, 2.5)], "curve": [(8, 1, 2.0), (9, 2, 1.52), (10, 3, 1.5)]}
    lines = [
        line(tables.FULL, 0, 1.0, 30, curve=[(8, 1, 1.6), (9, 2, 1.5), (10, 3, 1.5)]),
        line(tables.FULL, 1, 2.0, 30, curve=[(8, 1, 1.6), (9, 2, 1.5), (10, 3, 1.4)]),
        line("late", 0, 1.01, 10, **late),
        line("late", 1, 2.06, 10, **late),
    ]
    told = tables.table([tables.FULL, "late", "none"], lines).splitlines()
    assert len(told) == 4
    end = "| +0.50 | 2 steps (1 of 2 seeds) |"
    assert told[3] == f"| late | 2 | 1.5350 ± 6.6708 | +2.00 ± 12.71% | 0.333 | below 0.33 {end}"
    lines += [line(tables.THIRD, seed, 2.08, 10) for seed in (0, 1)]
    full = {line["seed"]: line for line in lines if line["row"] == tables.FULL}
    assert tables.needed(lines[3], lines, full) == pytest.approx(3 ** (0.02 / 0.08) / 3)
    assert tables.needed(line("best", 0, 0.9, 10), lines, full) == 1
