"""The command `netmorph ranks study`, from its options to its page."""

from pathlib import Path

import pytest

from netmorph.ranks import page
from tests.program import Program

FEW = (
    "--data",
    "digits",
    "--train-size",
    "100",
    "--narrowest",
    "4",
    "--widest",
    "8",
    "--epochs",
    "1",
    "--threads",
    "1",
)


def test_it_makes_a_page_and_goes_on_by_resume(
    netmorph: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "pictures", lambda rows: [])  # tests of the page draw them
    run = str(tmp_path / "study")

    done = netmorph("ranks", "study", *FEW, "--networks", "5", "--one-by-one", "--output", run)
    (tmp_path / "study" / "rows" / "true-0001.jsonl").unlink()
    again = netmorph("ranks", "study", "--resume", run, "--threads", "1")

    assert done.code == again.code == 0, done.err + again.err
    assert len([line for line in done.out.splitlines() if "test accuracy" in line]) == 20
    assert [line.split(":")[0] for line in again.out.splitlines() if "test accuracy" in line] == ["true 1"]
    assert f"Report: {run}/report.html" in again.out
    assert (tmp_path / "study" / "report.html").exists()
    assert "study: finished, 20 of 20 trainings" in netmorph("show", run).out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--networks", "3"), "--networks must be at least 5"),
        (("--resume", "nowhere"), "nowhere holds no run of netmorph ranks study"),
        (("--resume", "nowhere", "--networks", "9"), "--networks cannot be given with --resume"),
        (("--narrowest", "9", "--widest", "4"), "got 9 and 4"),
        (("--data", "diabetes", "--train-size", "100"), "no classes"),
    ],
)
def test_what_cannot_work_is_told_in_a_line(
    netmorph: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = netmorph("ranks", "study", *arguments)

    assert done.code in (1, 2)
    assert message in " ".join(done.err.split())
    assert "Traceback" not in done.err
