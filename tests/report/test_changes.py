from dataclasses import replace
from pathlib import Path

import torch
from synthetic import START
from torch import nn

from netmorph import apply, save, trace, widen
from netmorph.edit import Base
from netmorph.report import changes as module
from netmorph.report.changes import changes
from netmorph.run.rows import EditRecord, NetworkRecord
from netmorph.run.store import network_file

MLP = Base("mlp", {"input_shape": (6,), "classes": 3})


def written(folder: Path, base: Base, edits: int, model: nn.Module) -> list[NetworkRecord]:
    """A run whose last network is on disk, and its ancestry: one edit each."""
    graph, ancestry = trace(model, torch.randn(4, 6)), [START]
    for id in range(1, edits + 1):
        widest = max(graph.editable(), key=lambda group: group.size)
        graph = apply(graph, widen(graph, widest.name, to=widest.size + 2))
        record = EditRecord("widen r2r", "<fc>", widest.size, widest.size + 2, 0.1, 0.0, 0.0)
        ancestry.append(replace(START, id=id, parent=id - 1, round=id, edits=(record,)))
    file = network_file(folder, ancestry[-1].id)
    file.parent.mkdir(parents=True)
    save(file, graph.model, graph.journal, base)
    return ancestry


def test_the_whole_way_and_each_child_beside_its_parent(tmp_path: Path) -> None:
    whole, *steps = changes(tmp_path, written(tmp_path, MLP, 2, MLP.build()))

    assert whole.title == "Start network → network 2, 2 edits"
    assert "gives 128 → 132" in whole.svg
    assert [step.id for step in steps] == [1, 2]
    assert steps[0].title == "Network 0 → network 1: widen r2r <fc> 128 → 130"
    assert "gives 128 → 130" in steps[0].svg
    assert "gives 130 → 132" in steps[1].svg


def test_the_latest_for_which_there_is_room(tmp_path: Path, monkeypatch) -> None:
    ancestry = written(tmp_path, MLP, 3, MLP.build())
    monkeypatch.setattr(module, "STEPS", 2)
    whole, *steps = changes(tmp_path, ancestry)
    assert [step.id for step in steps] == [2, 3]
    monkeypatch.setattr(module, "MOST_BYTES", len(whole.svg.encode()) + len(steps[-1].svg.encode()))
    assert [step.id for step in changes(tmp_path, ancestry)[1:]] == [3]
    monkeypatch.setattr(module, "MOST_BYTES", 0)
    assert changes(tmp_path, ancestry) == [whole]


def test_one_child_is_the_whole_way(tmp_path: Path) -> None:
    assert len(changes(tmp_path, written(tmp_path, MLP, 1, MLP.build()))) == 1


def test_there_is_none_without_edits_without_a_file_and_of_constructors_that_a_file_names(tmp_path: Path) -> None:
    own = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))

    assert changes(tmp_path / "same", written(tmp_path / "same", MLP, 0, MLP.build())) == []
    assert changes(tmp_path, [START]) == []
    assert changes(tmp_path / "own", written(tmp_path / "own", Base("nowhere:build"), 1, own)) == []
