"""Planted faults: which there are, that each is one, and that those which a test notices are told from the others."""

import ast
import json
from pathlib import Path

import pytest

from benchmarks import mutants
from benchmarks._mutations import count, drawn, plant

SOURCE = '''"""A text with 1 number."""
from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    most: int = 3


def larger(a: int, b: int = 0) -> int:
    """The larger one; 2 are compared."""
    assert a != 7
    if a < 0 or b < 0:
        raise ValueError(f"below {0}")
    return max(a, b) if not a == b else a + 1
'''


def test_every_fault_is_another_program_and_texts_are_spared() -> None:
    programs = {ast.unparse(plant(SOURCE, place).tree) for place in range(count(SOURCE))}
    assert len(programs | {ast.unparse(ast.parse(SOURCE))}) == count(SOURCE) + 1 == 17
    assert all(SOURCE.splitlines()[0] in program and "a != 7" in program for program in programs)
    assert all("frozen=True" in program for program in programs)
    changed = {line for place in range(count(SOURCE)) for line in plant(SOURCE, place).diff.splitlines()}
    assert {"+    most: int = 4", "-    if a < 0 or b < 0:", "+    if a < 0 and b < 0:", "+        pass"} <= changed
    assert [plant(SOURCE, place).line for place in (0, count(SOURCE) - 1)] == [7, 15]


def test_what_is_drawn_follows_from_the_seed_and_grows() -> None:
    assert drawn(SOURCE, 5, "0") == drawn(SOURCE, 5, "0") != drawn(SOURCE, 5, "1")
    assert set(drawn(SOURCE, 5, "0")) < set(drawn(SOURCE, 9, "0"))
    assert drawn(SOURCE, 99, "0") == [*range(count(SOURCE))]


@pytest.mark.slow  # forks, each of which collects tests
def test_faults_are_caught_or_survive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mutants, "FIRST", ())
    (tmp_path / "mutated_program.py").write_text("UNUSED = 5\n\n\ndef twice(x):\n    return x + x\n")
    (tmp_path / "test_mutated_program.py").write_text(
        "from mutated_program import twice\n\n\ndef test_twice():\n    assert twice(3) == 6\n"
    )
    tried = {"mutated_program.py": mutants.Tried(3, (str(tmp_path / "test_mutated_program.py"),))}
    log = tmp_path / "log.jsonl"
    mutants.main(["--output", str(log)], tried, tmp_path)
    told = capsys.readouterr().out
    assert "| `mutated_program.py` | 3 | 3 | 2 | 67% |" in told
    assert "-UNUSED = 5\n+UNUSED = 6" in told
    lines = log.read_text()
    caught = [row["by"].rpartition("::")[2] for row in map(json.loads, lines.splitlines()) if row["by"]]
    assert caught == ["test_twice"] * 2

    mutants.main(["--output", str(log)], tried, tmp_path)  # known by now
    assert log.read_text() == lines
    assert "| all | 3 | 3 | 2 | 67% |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        mutants.main(["--only", "nothing"], tried, tmp_path)


def test_the_files_and_tests_named_are_there() -> None:
    for file, tried in mutants.TRIED.items():
        assert (mutants.PACKAGE / file).is_file(), file
        assert all((mutants.ROOT / test).is_file() for test in tried.tests), file
