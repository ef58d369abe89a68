"""The live page in a real browser: small and large runs, on a phone, in the dark, while the run goes on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import store
from netmorph.live.server import Answer
from netmorph.report.logs import as_jsonl
from netmorph.run.records import Records
from netmorph.train.history import Epoch
from tests.browser import contrast, needs_browser, told_by
from tests.live import pages
from tests.report.synthetic import VALUES, write_run

pytestmark = [pytest.mark.slow, needs_browser]


def seen(folder: Path, scratch: Path, width: int = 390, *, dark: bool = False) -> dict[str, Any]:
    with pages.framing(folder) as url:
        told = told_by(f"{url}frame-{width}", scratch, dark=dark)
    assert told["messages"] == []
    assert told["overflow"] == 0
    assert told["nameless"] == 0
    return told


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("dark", [False, True])
def test_five_thousand_networks(width: int, dark: bool, tmp_path: Path) -> None:
    told = seen(store.write(tmp_path / "run", 5000), tmp_path, width, dark=dark)
    assert told["pictures"] == 4
    assert "4,895 networks trained" in told["text"]
    assert "6 planned or in training" in told["text"]
    assert "99 networks failed" in told["text"]
    assert max(told["paper"]) < 60 if dark else min(told["paper"]) > 240
    assert all(contrast(ink, told["paper"]) > 7 for ink in told["ink"])


def test_a_finished_run(tmp_path: Path) -> None:
    told = seen(write_run(tmp_path / "run", kind=VALUES), tmp_path)
    assert told["pictures"] == 4
    assert "Ensemble of the survivors" in told["text"]


def test_a_run_that_has_not_begun(tmp_path: Path) -> None:
    with Records.create(tmp_path / "run"):
        pass
    assert "Nothing is recorded yet." in seen(tmp_path / "run", tmp_path)["text"]


def test_a_training(tmp_path: Path) -> None:
    with Records.create(tmp_path / "run") as records:
        records.set_meta("config", {"task": "train"})
    numbers = {"loss": 0.5, "accuracy": 0.75}
    epochs = [Epoch(number, numbers, numbers, 0.75, 0.1, 1.0) for number in (1, 2, 3)]
    (tmp_path / "run" / "metrics.jsonl").write_text(as_jsonl(epochs))
    told = seen(tmp_path / "run", tmp_path)
    assert told["pictures"] == 1
    assert "3 epochs. The best, 1, reaches 75.00% (accuracy)" in told["text"]


def test_it_follows_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, asked = store.write(tmp_path / "run", 60), []
    answer = pages.Framed.answer

    def going_on(server: pages.Framed, target: str) -> Answer | None:
        found = answer(server, target)
        if target.startswith("/run.json"):
            asked.append(target)
            with Records.resume(folder) as records:  # one more is trained after each question
                records.put_network(replace(store.made_up(54 + len(asked), 999), failure=None))
        return found

    monkeypatch.setattr(pages.Framed, "answer", going_on)
    monkeypatch.setattr(pages.Framed, "until", 'html[data-shown="2"]')
    monkeypatch.setattr("netmorph.live.snapshot.status", lambda records: "running")
    text = seen(folder, tmp_path)["text"]
    assert asked[:2] == ["/run.json?from=0", "/run.json?from=55"]
    assert "54 networks trained" in text
    assert "5 planned or in training" in text
