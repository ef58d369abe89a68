"""The benchmark over a zoo of models: it sees wrong edits, tells what went wrong, and goes on where it was."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import _zoo_stages as stages
from benchmarks import zoo
from benchmarks._vision import nothing_trivial
from benchmarks._zoo_report import Model, markdown, rows, summary
from netmorph import EditError, apply
from netmorph.edit import WidthEdit
from netmorph.graph import Graph

MODEL = Model("torchvision", "squeezenet1_1", "3x64x64")


def small(suite: str, name: str) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.GELU(), nn.Flatten(),
        nn.Linear(96, 12), nn.LayerNorm(12), nn.Linear(12, 5),
    ).eval()  # fmt: skip


def run(stage: stages.Stage) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in stage(stages.classifier("suite", "name", [3, 8, 8])):
        found |= part
    return found


@pytest.fixture(autouse=True)
def _small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "zoo_model", small)


def test_a_network_that_edits_well() -> None:
    speed, widen, halve = run(stages.speed), run(stages.widen), run(stages.halve)
    assert speed["groups"] == {"any": 2, "uniform": 1, "frozen": 2}
    assert speed["parameters_left"] < 0.5 * speed["parameters"]
    assert (widen["status"], widen["groups"], widen["single"]["tried"]) == ("exact", 3, 3)
    assert widen["single"]["failed"] == 0
    assert (halve["status"], halve["groups"], halve["missing_gradients"]) == ("equal", 3, [])


def test_a_wrong_edit_is_seen_and_placed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: Graph, edit: WidthEdit) -> Graph:
        after = apply(graph, edit)
        after.model.get_parameter("3.bias").data[0] += 1e-6
        return after

    monkeypatch.setattr(stages, "apply", wrong)
    widen, halve = run(stages.widen), run(stages.halve)
    assert widen["status"] == halve["status"] == "differs"
    assert widen["single"]["failed"] == widen["single"]["tried"]
    assert "'3' (Conv2d)" in halve["why"]


def test_lost_gradients_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def freezing(graph: Graph, edit: WidthEdit) -> Graph:
        after = apply(graph, edit)
        after.model.get_parameter("6.weight").requires_grad_(False)
        return after

    monkeypatch.setattr(stages, "apply", freezing)
    halve = run(stages.halve)
    assert (halve["status"], halve["missing_gradients"]) == ("no gradient", ["6.weight"])


def test_a_refused_edit_names_the_groups_that_cause_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(graph: Graph, edit: WidthEdit) -> Graph:
        if "3" in edit.changes:
            raise EditError("not this one")
        return apply(graph, edit)

    monkeypatch.setattr(stages, "apply", refusing)
    for stage in (stages.widen, stages.halve):
        found = run(stage)
        assert (found["status"], found["message"]) == ("refused", "not this one")
        assert found["single"]["failures"] == {"3": "EditError: not this one"}


def test_nothing_is_trivial() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.PReLU())
    nn.init.zeros_(model[0].weight)
    nothing_trivial(model)
    tensors = dict(model.named_parameters()) | {"mean": model[1].running_mean, "variance": model[1].running_var}
    assert all(bool((tensor != tensor.flatten()[0].round()).all()) for tensor in tensors.values())
    assert model[1].running_var.min() > 0.4


def test_a_process_out_of_time_is_a_result() -> None:
    record = zoo.measure("netmorph", MODEL, seconds=0.01)
    assert (record["ended"], record["stages"]) == ("timeout", {})


def test_a_model_that_cannot_be_built_is_a_result() -> None:
    record = zoo.measure("netmorph", Model("nobody", "nothing", "3x64x64"), seconds=60)
    assert record["ended"] == "done"
    assert "unknown suite 'nobody'" in record["stages"]["speed"]["message"]
    assert record["stages"].keys() == {"speed"}


def record(side: str, model: str, **stages: dict[str, Any]) -> dict[str, Any]:
    return {"side": side, "suite": "timm", "model": model, "input": "3x8x8", "ended": "done", "wall_seconds": 1.0,
            "stages": stages}  # fmt: skip


def test_the_report_counts_what_it_should() -> None:
    models = [Model("timm", name, "3x8x8") for name in ("good", "wrong", "stuck", "untried")]
    speed = {"parameters": 100, "parameters_left": 30, "trace_seconds": 1.0, "edit_seconds": 0.5, "groups": {"any": 2}}
    exact, equal = {"status": "exact", "single": {"failures": {}}}, {"status": "equal"}
    records = [
        record("netmorph", "good", speed=speed, widen=exact, halve=equal),
        record(
            "torch_pruning", "good", prune={"status": "ok", "seconds": 3.0, "parameters": 100, "parameters_left": 25}
        ),
        record("netmorph", "wrong", speed=speed, widen=exact, halve={"status": "differs", "error": 0.1, "why": "here"}),
        record("torch_pruning", "wrong", prune={"status": "fail_forward", "seconds": 9.0, "message": "x", "type": "E"}),
        record("netmorph", "stuck", speed={"type": "UnknownOp", "message": "no rule", "location": "there"}),
    ]
    found = rows(models, {(entry["side"], f"timm/{entry['model']}"): entry for entry in records})
    assert [row.widened for row in found] == ["exact", "exact", "no trace"]
    assert [row.wrong for row in found] == [False, True, False]
    assert found[1].troubles == {"halve": "differs by 1.0e-01, here"}
    told = dict(summary(found))
    assert told["(a) every group widened exactly"] == "2 of 3 (67%)"
    assert told["(b) every group halved, equal to the masked original"] == "1 of 3 (33%)"
    assert told["results that are wrong without an error"] == "1 wrong"
    assert told["median seconds to trace and halve, where it does"] == "1.50, Torch-Pruning 3.00: 0.50 times"
    assert "above 1.1: timm/good 1.20" in told["parameters left beside Torch-Pruning's, where it succeeds"]
    assert told["share of parameters left elsewhere"] == "median 0.300"
    table = markdown(models, {(entry["side"], f"timm/{entry['model']}"): entry for entry in records})
    assert "| good | 2 + 0 | exact | equal | 1.50 | 3.00 | 0.300 | 0.250 |" in table


def test_a_run_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "zoo.csv"
    table.write_text("suite,model,input\ntimm,one,3x8x8\ntorchvision,two,3x8x8\n")
    measured: list[tuple[str, str]] = []

    def measure(side: str, model: Model, seconds: float) -> dict[str, Any]:
        measured.append((side, model.name))
        return record(side, model.name)

    monkeypatch.setattr(zoo, "measure", measure)
    options = ["--zoo", str(table), "--output", str(tmp_path / "out")]
    zoo.main([*options, "--suite", "timm"])
    assert measured == [("netmorph", "one"), ("torch_pruning", "one"), ("checks", "one")]
    zoo.main([*options, "--sides", "netmorph", "checks"])
    assert measured[3:] == [("netmorph", "two"), ("checks", "two")]
    zoo.main([*options, "--only", "one"])
    assert measured[5:] == [("netmorph", "one"), ("checks", "one")]
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["model"] for line in lines] == ["one", "one", "one", "two", "two", "one", "one"]


def test_what_is_timed_and_what_is_checked_is_one_record() -> None:
    timed = record("netmorph", "one", speed={"edit_seconds": 1.0})
    checked = record("checks", "one", widen={"status": "exact"}) | {"ended": "timeout"}
    joined = zoo.together({("netmorph", "one"): timed, ("checks", "one"): checked})
    assert joined["netmorph", "one"]["stages"] == {"speed": {"edit_seconds": 1.0}, "widen": {"status": "exact"}}
    assert joined["netmorph", "one"]["ended"] == "timeout"
    assert ("checks", "one") not in joined


def test_a_list_of_models_that_cannot_be_read(tmp_path: Path) -> None:
    table = tmp_path / "zoo.csv"
    with pytest.raises(SystemExit, match="is missing"):
        zoo.read_models(table)
    table.write_text("name\nresnet18\n")
    with pytest.raises(SystemExit, match="columns suite, model, input"):
        zoo.read_models(table)
