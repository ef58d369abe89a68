from pathlib import Path

import pytest
import torch
from torch.nn import functional

from netmorph.edit import Base, LoadError, widen
from netmorph.edit import apply as edit
from netmorph.engine.recipe import Recipe, build_optimizer
from netmorph.engine.shelf import BORN, TRAINED, Shelf
from netmorph.files import SaveError
from netmorph.graph import Graph, trace

X = torch.linspace(-1, 1, 2 * 16).reshape(2, 1, 4, 4)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    base = Base("mlp", {"input_shape": [1, 4, 4], "classes": 3, "hidden": [5]})
    return Shelf(tmp_path, base, Recipe(optimizer="adamw", learning_rate=0.1))


def trained(shelf: Shelf) -> tuple[Graph, torch.optim.Optimizer]:
    """A widened network after one step of its optimizer."""
    model = shelf.base.build()
    optimizer = build_optimizer(model, shelf.recipe)
    graph = trace(model, X)
    graph = edit(graph, widen(graph, "fc1", 8), optimizer)
    functional.cross_entropy(model(X), torch.tensor([0, 2])).backward()
    optimizer.step()
    return graph, optimizer


def test_a_network_comes_back_bit_for_bit_with_its_optimizer(shelf: Shelf) -> None:
    graph, optimizer = trained(shelf)
    shelf.put(4, TRAINED, graph.model, graph.journal, optimizer)
    model, journal, again = shelf.take(4)
    assert torch.equal(model(X), graph.model(X))
    assert [entry.edit for entry in journal] == [entry.edit for entry in graph.journal]
    assert again.param_groups[0]["lr"] == 0.1
    states = [
        [optimizer.state[p]["exp_avg"] for p in optimizer.param_groups[0]["params"]] for optimizer in (optimizer, again)
    ]
    assert len(states[0]) == 4
    assert all(torch.equal(one, other) for one, other in zip(*states, strict=True))


def test_a_network_without_its_optimizer_gets_a_new_one(shelf: Shelf) -> None:
    graph, optimizer = trained(shelf)
    shelf.put(4, BORN, graph.model, graph.journal, None)
    assert not shelf.take(4, BORN)[2].state
    shelf.put(5, TRAINED, graph.model, graph.journal, optimizer)
    shelf.drop_optimizer(5)
    assert not shelf.take(5)[2].state


def test_a_network_takes_the_place_of_another_with_its_optimizer(shelf: Shelf) -> None:
    graph, optimizer = trained(shelf)
    shelf.put(4, BORN, graph.model, graph.journal, optimizer)
    shelf.put(4, BORN, shelf.base.build(), (), None)
    assert not shelf.take(4, BORN)[2].state


def test_the_stages_of_a_network_are_apart(shelf: Shelf) -> None:
    graph, optimizer = trained(shelf)
    for stage in (BORN, TRAINED):
        shelf.put(1, stage, graph.model, graph.journal, optimizer)
    shelf.drop(1, BORN)
    with pytest.raises(LoadError, match=r"no file .*1\.born"):
        shelf.take(1, BORN)
    assert shelf.take(1)[2].state
    shelf.drop(1, BORN)


def test_clear_keeps_trained_networks_only(shelf: Shelf) -> None:
    graph, optimizer = trained(shelf)
    for _ in range(2):  # the second time the optimizer's file before is kept as a spare
        shelf.put(1, BORN, graph.model, graph.journal, optimizer)
        shelf.put(2, TRAINED, graph.model, graph.journal, optimizer)
    (shelf.folder / ".3.born.safetensors.abc.tmp").mkdir()
    shelf.drop_optimizer(2)
    shelf.clear()
    assert [file.name for file in shelf.folder.iterdir()] == ["2.trained.safetensors"]


def test_a_full_disk_leaves_no_half_network(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, optimizer = trained(shelf)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("netmorph.edit.journal.save_file", full)
    with pytest.raises(SaveError, match="No space left"):
        shelf.put(1, TRAINED, graph.model, graph.journal, optimizer)
    assert not shelf.path(1).exists()
    assert not list(shelf.folder.glob(".*"))
