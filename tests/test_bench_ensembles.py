"""The benchmark of ensembles: its table, from rows; and that it runs."""

import json
from pathlib import Path

import pytest

from benchmarks import ensembles
from benchmarks._records import read_records


def row(name: str, seed: int, accuracy: float) -> dict:
    numbers = dict.fromkeys(("ece", "ece_scaled", "nll", "brier"), 0.5)
    return {"row": name, "seed": seed, "accuracy": accuracy, **numbers, "training_flops": 4e9, "flops": 1e6}


def test_differences_are_paired_by_seed() -> None:
    rows = [row(ensembles.BASELINE, seed, 0.5 + seed / 10) for seed in range(3)]
    rows += [row("average", seed, 0.52 + seed / 10) for seed in range(3)]
    table = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in ensembles.table(rows).splitlines() if "|" in line
    ]
    assert table[2][0:3] == ["the best member", "60.00 ± 24.84", ""]
    assert table[3][0:3] == ["average", "62.00 ± 24.84", "+2.00 ± 0.00"]


def test_rows_that_are_there_are_not_written_again(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    for _ in range(2):
        ensembles.keep(file, row("average", 0, 0.5))
    ensembles.keep(file, row("average", 1, 0.5))
    assert [json.loads(line)["seed"] for line in file.read_text().splitlines()] == [0, 1]


@pytest.mark.slow
def test_every_way_is_measured(tmp_path: Path) -> None:
    arguments = [str(tmp_path), "--data", "digits", "--images", "100", "--epochs", "2", "--seeds", "1"]
    ensembles.main(arguments)
    assert {record["row"] for record in read_records(tmp_path / "rows.jsonl")} == {*ensembles.ROWS}
    before = (tmp_path / "rows.jsonl").read_text()
    ensembles.main(arguments)
    assert (tmp_path / "rows.jsonl").read_text() == before
