"""The benchmark of shrinking by rank: every way follows ours, spends what it says, and is told truly."""

from functools import partial
from typing import Any

import pytest
import torch

from benchmarks import _shrink_tables as tables
from benchmarks import shrink
from benchmarks.shrink import FIRST, WAYS, Start, Task
from netmorph.data import Dataset, Pixels, Split, images_in_classes
from netmorph.train.recipe import Recipe

RECIPE = Recipe(epochs=1, batch_size=32)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.setattr(shrink, "TOLERANCE", 1.0)
    monkeypatch.setattr(shrink, "STEPS", 40)
    torch.manual_seed(0)
    train, validation, test = (
        Split(torch.randint(256, (count, 1, 6, 6), dtype=torch.uint8), torch.arange(count) % 10)
        for count in (128, 32, 32)
    )
    dataset: Dataset = images_in_classes(
        "noise", (train, validation, test), tuple("0123456789"), Pixels((0.5,), (0.3,)), "noise"
    )
    build = partial(shrink.mlp, hidden=(24, 24))
    small = partial(shrink.mlp, hidden=(4, 4))
    task = Task("MLP", build, small, RECIPE, lambda number: RECIPE, 2, (2,), {})
    return Start(task, dataset, build(dataset), 10**7, 0)


def test_every_way_follows_ours(start: Start) -> None:
    pytest.importorskip("torch_pruning")
    before = {name: tensor.clone() for name, tensor in start.model.state_dict().items()}
    mine = WAYS[FIRST](start, [])
    assert len(mine) == 3
    assert mine[2]["parameters"] < mine[1]["parameters"] < mine[0]["parameters"]
    assert mine[0]["spent"] == 10**7 < mine[1]["spent"] < mine[2]["spent"]
    for way, run in WAYS.items():
        found = run(start, mine)
        if way.endswith("same widths"):
            assert [told["widths"] for told in found] == [told["widths"] for told in mine]
        if way.endswith("same FLOPs"):
            assert all(theirs["flops"] <= told["flops"] for theirs, told in zip(found, mine, strict=True))
            assert found[-1]["flops"] > 0.7 * mine[-1]["flops"]
        if way.startswith("from scratch"):
            assert found[-1]["widths"] == mine[-1]["widths"]
            assert found[-1]["spent"] == pytest.approx(mine[-1]["spent"], rel=0.05)
    after = start.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_regrowing_pays_for_its_own_start(start: Start) -> None:
    found = shrink.regrown(start, [], shrink.by_rank(fill=0.5, growth=1.5))
    assert found[0]["widths"] == {"fc1": 4, "fc2": 4}
    assert found[0]["epochs"] == 1
    assert 0 < found[0]["spent"] == found[0]["training_flops"]


def test_a_decay_is_halved_in_each_round() -> None:
    tuning = shrink.lowered(lambda number: RECIPE, 0.4)
    assert [tuning(number).weight_decay for number in (1, 2, 3)] == [0.4, 0.2, 0.1]


def told(number: int, parameters: int, test: float, **other: Any) -> dict[str, Any]:
    return {"number": number, "kept": True, "widths": {"fc1": parameters}, "parameters": parameters,
            "flops": 2 * parameters, "spent": 1e12, "test": test, **other}  # fmt: skip


def test_the_tables_tell_mean_range_and_what_was_kept() -> None:
    first, second = told(0, 100, 0.9), told(0, 100, 0.8)
    lines = [
        {"way": FIRST, "seed": 0, "rounds": [first, told(1, 50, 0.875), told(2, 10, 0.2, kept=False)]},
        {"way": FIRST, "seed": 1, "rounds": [second, told(1, 25, 0.825)]},
        {"way": "cut", "seed": 0, "rounds": [first, told(1, 50, 0.5)]},
    ]
    found = tables.ends(lines, {0: first, 1: second})
    assert found == [
        ["the trained network", "1", "1", "85.00% (80.00% to 90.00%)", "", "1.0"],
        [FIRST, "3.0 (2.0 to 4.0)", "3.0 (2.0 to 4.0)", "85.00% (82.50% to 87.50%)", "+0.00 (-2.50 to +2.50)", "1.0"],
        ["cut", "2.0", "2.0", "50.00%", "+40.00", "1.0"],
    ]
    assert tables.at_marks(lines, {0: first, 1: second}, (2, 4, 9)) == [
        [FIRST, "+0.00 (-2.50 to +2.50)", "1 of 2 seeds: -2.50", ""],
        ["cut", "+40.00", "", ""],
    ]
    assert tables.by_round(lines, [FIRST, "cut"]) == [
        ["100", "1.0", "85.00%", "90.00%"],
        ["50", "3.0 (2.0 to 4.0)", "85.00%", "50.00%"],
    ]
    assert tables.table(["a", "b"], [["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |\n"
