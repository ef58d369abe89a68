"""The benchmark of wide perceptrons, made small."""

import itertools
from pathlib import Path

import pytest

from benchmarks import rank_study
from benchmarks.rank_study import Setting
from netmorph.ranks.rows import read


@pytest.mark.slow
def test_it_alternates_batches_looks_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rank_study, "DEPTHS", (2, 3))
    settings = [Setting("adam", "adam", 1e-3, 0.0, (8, 32), 60), Setting("sgd-0.1", "sgd", 0.01, 0.1, (16,), 60)]
    monkeypatch.setattr(rank_study, "SETTINGS", settings)
    monkeypatch.setattr(rank_study, "LONG", Setting("long", "sgd", 0.01, 0.1, (16,), 60, least=6))
    drawn = rank_study.pictures
    monkeypatch.setattr(rank_study, "pictures", lambda rows: itertools.islice(drawn(rows), 2))
    arguments = ["--output", str(tmp_path), "--data", "digits", "--width", "6", "--epochs", "4"]

    rank_study.main(arguments)
    rank_study.main(arguments)

    assert sorted([look.epoch for look in row.looks] for row in read(tmp_path)) == [[0, 3, 4]] * 4 + [[0, 3, 6]]
    told = capsys.readouterr().out
    assert told.count("layers: 4 epochs") == 4, "nothing is trained twice"
    assert "By weight decay" in told
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "figures" / "layers-adam.png").exists()
