"""The benchmark of chains: classes are halved, and a tiny run ends in a table and goes on where it was."""

from pathlib import Path

import pytest
import torch

from benchmarks import chains
from benchmarks._chain_banks import Case, from_the_zoo, some_classes
from netmorph.bank import Bank, Kind, Signature
from netmorph.data import load


def test_some_classes_have_labels_from_zero() -> None:
    digits = load("digits")

    half = some_classes(digits, range(5, 10))

    assert half.classes == digits.classes[5:]
    assert half.outputs == 5
    assert sorted(half.test.targets.unique().tolist()) == [0, 1, 2, 3, 4]
    assert len(half.test) == int((digits.test.targets >= 5).sum())


def test_a_tiny_run_ends_in_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(bank: Bank, options: object, seed: int) -> None:
        bank.add_whole(torch.nn.Conv2d(1, 4, 3, padding=1), torch.randn(2, 1, 8, 8), "way in", Kind.RANDOM)
        bank.add_random(Signature((4, 8, 8), "float32", 0, (False,) * 3), 2, seed)

    case = Case(lambda options: load("digits"), fill, from_the_zoo("lenet5"), longest=2)
    monkeypatch.setattr(chains, "CASES", {"tiny": case})
    sizes = "--only tiny --seeds 0 --budget 4 --samples 100 --choice 50 --images 64 --test-images 50 --tuned beam"

    for _ in range(2):
        chains.main(["--output", str(tmp_path), *sizes.split(), "--agents", "beam", "random"])

    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 5
    table = (tmp_path / "results.md").read_text()
    assert all(f"| tiny | 0 | {way} |" in table for way in ("beam", "random", "probe", "cut", "scratch"))
