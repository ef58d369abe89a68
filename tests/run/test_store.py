from pathlib import Path

import pytest
import torch
from torch.nn import functional

from netmorph import LoadError, widen
from netmorph import apply as edit
from netmorph.edit import Base
from netmorph.files import SaveError
from netmorph.graph import Graph, trace
from netmorph.run.names import Stage
from netmorph.run.store import NetworkStore
from netmorph.train.optimizers import build_optimizer
from netmorph.train.recipe import Recipe

X = torch.linspace(-1, 1, 2 * 16).reshape(2, 1, 4, 4)


@pytest.fixture
def store(tmp_path: Path) -> NetworkStore:
    base = Base("mlp", {"input_shape": [1, 4, 4], "classes": 3, "hidden": [5]})
    return NetworkStore(tmp_path, base, Recipe(optimizer="adamw", learning_rate=0.1))


def trained(store: NetworkStore) -> tuple[Graph, torch.optim.Optimizer]:
    """A widened network after one step of its optimizer."""
    model = store.base.build()
    optimizer = build_optimizer(model, store.recipe)
    graph = trace(model, X)
    graph = edit(graph, widen(graph, "fc1", 8), optimizer)
    functional.cross_entropy(model(X), torch.tensor([0, 2])).backward()
    optimizer.step()
    return graph, optimizer


def test_a_network_comes_back_bit_for_bit_with_its_optimizer(store: NetworkStore) -> None:
    graph, optimizer = trained(store)
    store.put(4, Stage.TRAINED, graph.model, graph.journal, optimizer)
    model, journal, again = store.take(4)
    assert torch.equal(model(X), graph.model(X))
    assert [entry.edit for entry in journal] == [entry.edit for entry in graph.journal]
    assert again.param_groups[0]["lr"] == 0.1
    states = [
        [optimizer.state[p]["exp_avg"] for p in optimizer.param_groups[0]["params"]] for optimizer in (optimizer, again)
    ]
    assert len(states[0]) == 4
    assert all(torch.equal(one, other) for one, other in zip(*states, strict=True))


def test_a_network_without_its_optimizer_gets_a_new_one(store: NetworkStore) -> None:
    graph, optimizer = trained(store)
    store.put(4, Stage.BORN, graph.model, graph.journal, None)
    assert not store.take(4, Stage.BORN)[2].state
    store.put(5, Stage.TRAINED, graph.model, graph.journal, optimizer)
    store.drop_optimizer(5)
    assert not store.take(5)[2].state


def test_a_network_takes_the_place_of_another_with_its_optimizer(store: NetworkStore) -> None:
    graph, optimizer = trained(store)
    store.put(4, Stage.BORN, graph.model, graph.journal, optimizer)
    store.put(4, Stage.BORN, store.base.build(), (), None)
    assert not store.take(4, Stage.BORN)[2].state


def test_the_stages_of_a_network_are_apart(store: NetworkStore) -> None:
    graph, optimizer = trained(store)
    for stage in (Stage.BORN, Stage.TRAINED):
        store.put(1, stage, graph.model, graph.journal, optimizer)
    store.drop(1, Stage.BORN)
    with pytest.raises(LoadError, match=r"no file .*1\.born"):
        store.take(1, Stage.BORN)
    assert store.take(1)[2].state
    store.kept(1).touch()  # what the next network of this number shares
    store.drop(1, Stage.TRAINED)
    assert store.kept(1).exists()
    store.drop(1, Stage.BORN)
    assert not store.kept(1).exists()


def test_clear_keeps_trained_networks_only(store: NetworkStore) -> None:
    graph, optimizer = trained(store)
    for _ in range(2):  # the second time the optimizer's file before is kept as a spare
        store.put(1, Stage.BORN, graph.model, graph.journal, optimizer)
        store.put(2, Stage.TRAINED, graph.model, graph.journal, optimizer)
    (store.folder / ".3.born.safetensors.abc.tmp").mkdir()
    store.drop_optimizer(2)
    store.clear()
    assert [file.name for file in store.folder.iterdir()] == ["2.trained.safetensors"]


def test_what_killed_processes_had_not_finished_stands_in_nobodys_way(store: NetworkStore) -> None:
    graph, optimizer = trained(store)
    for _ in range(2):
        store.put(2, Stage.TRAINED, graph.model, graph.journal, optimizer)
    store.put_answers(2, {"logits": torch.zeros(1)})
    store.put(3, Stage.BORN, graph.model, graph.journal, optimizer)
    for file in [*store.folder.iterdir(), store.folder / "2.pool.safetensors"]:
        (store.folder / f".{file.name}.abc.tmp").mkdir()
    assert store.with_optimizers() == {2}
    assert store.take(2)[2].state
    store.keep_answers([2])
    assert store.answers(2) is not None
    store.clear()
    assert not [file.name for file in store.folder.iterdir() if file.name.startswith((".", "3"))]


def test_a_full_disk_leaves_no_half_network(store: NetworkStore, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, optimizer = trained(store)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("netmorph.tensor_files.save_file", full)
    with pytest.raises(SaveError, match="No space left"):
        store.put(1, Stage.TRAINED, graph.model, graph.journal, optimizer)
    assert not store.path(1).exists()
    assert not list(store.folder.glob(".*"))
