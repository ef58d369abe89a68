from pathlib import Path

import torch
from torch import nn

from netmorph import apply, save, trace, widen
from netmorph.draw import Change
from netmorph.edit import Base
from netmorph.report.changes import changes
from netmorph.run.store import network_file


def written(folder: Path, base: Base, edits: int, model: nn.Module) -> Path:
    graph = trace(model, torch.randn(4, 6))
    for _ in range(edits):
        widest = max(graph.editable(), key=lambda group: group.size)
        graph = apply(graph, widen(graph, widest.name, to=widest.size + 2))
    network_file(folder, 3).parent.mkdir(parents=True)
    save(network_file(folder, 3), graph.model, graph.journal, base)
    return folder


def test_the_start_network_and_the_one_that_was_found_are_one_picture(tmp_path):
    base = Base("mlp", {"input_shape": (6,), "classes": 3})
    diagram = changes(written(tmp_path, base, 2, base.build()), 3)

    assert diagram is not None
    assert diagram.title == "Start network → network 3, 2 edits"
    assert diagram.root.change == Change.OTHER or diagram.root.change == Change.WIDER
    assert "gives 128 → 132" in diagram.svg()


def test_there_is_none_without_edits_without_a_file_and_of_constructors_that_a_file_names(tmp_path):
    base = Base("mlp", {"input_shape": (6,), "classes": 3})
    own = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))

    assert changes(written(tmp_path / "same", base, 0, base.build()), 3) is None
    assert changes(tmp_path, 3) is None
    assert changes(written(tmp_path / "own", Base("nowhere:build"), 1, own), 3) is None
