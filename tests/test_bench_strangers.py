"""The benchmark on strangers' models: every stage sees what it should, and the table counts it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks import _strangers_models as models
from benchmarks import _strangers_stages as stages
from benchmarks import strangers
from netmorph.export import ExportError


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.hidden, self.head = nn.Embedding(9, 6), nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, tokens: Tensor, scale: Tensor) -> dict[str, Tensor]:
        return {"scores": self.head(self.hidden(self.embedding(tokens)).relu() * scale)}


@pytest.fixture(autouse=True)
def _tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = {"tokens": torch.arange(8).reshape(2, 4), "scale": torch.ones(())}
    monkeypatch.setattr(models, "MODELS", {"library/tokens": lambda: (Tokens(), inputs)})


def run(stage: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in stage(stages.stranger("library/tokens")):
        found |= part
    return found


def test_a_network_that_edits_well() -> None:
    assert run(stages.traced)["groups"] == {"any": 2, "frozen": 1}
    assert run(stages.saved)["status"] == "equal"
    assert run(stages.written)["status"] == "equal"


def test_wrong_gradients_of_written_code_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    write = stages.write_code

    def without_the_hidden_layer(graph: Any, path: Path) -> None:
        write(graph, path)
        path.write_text(path.read_text().replace("self.hidden(", "self.hidden.requires_grad_(False)("))

    monkeypatch.setattr(stages, "write_code", without_the_hidden_layer)
    assert run(stages.written)["status"] == "differs"


def test_what_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refusing(graph: Any, path: Path) -> None:
        raise ExportError("not this one")

    monkeypatch.setattr(stages, "write_code", refusing)
    stages.measure((stages.written,), stages.stranger("library/tokens"))
    assert "not this one" in capsys.readouterr().out


def record(name: str, **stages: dict[str, Any]) -> dict[str, Any]:
    return {"model": name, "ended": "done", "wall_seconds": 2.0, "stages": stages}


def test_the_table_counts_what_is_clean() -> None:
    traced = {"trace_seconds": 0.1, "parameters": 1000, "groups": {"any": 2, "frozen": 1}, "seconds": 2.0}
    equal, exact = {"status": "equal"}, {"status": "exact", "single": {"failed": 0}}
    good = record("a/good", traced=traced, widen=exact, halve=equal, saved=equal, written=equal)
    wrong = record(
        "a/wrong", traced=traced, widen=exact, halve={"status": "differs", "error": 0.5}, saved=equal, written=equal
    )
    refused = record(
        "a/refused", traced=traced, widen={"status": "refused", "type": "E", "message": "no", "location": "l"}
    )
    assert [strangers.clean(found) for found in (good, wrong, refused)] == [True, False, False]
    assert [strangers.wrong(found) for found in (good, wrong, refused)] == [False, True, False]
    assert strangers.cells(good) == ["a/good", "1,000", "2 + 1", "exact", "equal", "equal", "equal", "2.0"]
    told = dict(strangers.summary([good, wrong, refused]))
    assert told["clean: all of the following"] == "1 of 3"
    assert told["wrong without an error"] == "a/wrong"
    assert "| a/good | 1,000 | 2 + 1 | exact |" in strangers.markdown([good, wrong, refused])
