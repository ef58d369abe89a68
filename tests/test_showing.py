"""Values in notebooks and at a prompt: short, escaped, and never a wall of tensors."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from netmorph import apply, edit, factorize, identity, load, narrow, save, shallow, trace, undo, widen, zoo
from netmorph.chain import Chain, Link, Outcome, Record
from netmorph.chain.features import Counts
from netmorph.chaining import Finished
from netmorph.graph.journal import Description, Edits, Entry
from netmorph.report.searched import Searched
from netmorph.run.result import ArmResult, NetworkResult, Result
from netmorph.showing import LONGEST, MOST, Shows, View
from netmorph.train import Recipe
from netmorph.train.history import Epoch, History


class Odd(nn.Module):
    """A module whose children have names that HTML takes for something else."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module('<b>&"', nn.Linear(4, 6))
        self.last = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.get_submodule('<b>&"')(x).relu())


@pytest.fixture(scope="module")
def graph():
    before = trace(zoo.build("lenet5", (1, 28, 28), 10), torch.randn(2, 1, 28, 28))
    return apply(before, widen(before, "conv1", to=9))


def told(value: Shows) -> str:
    """The page of a value, which is short as its line is."""
    page, line = value._repr_html_(), repr(value)
    assert "tensor(" not in page + line
    assert len(line) < 250
    assert "\n" not in line
    assert len(page) < 12_000
    return page


def test_graphs_and_groups(graph) -> None:
    assert repr(graph) == "<Graph of Sequential: 6 channel groups, 4 may change, 1 edit made>"
    page = told(graph)
    assert page.count("<tr>") == 7
    assert "the model&#x27;s output" in page
    assert "conv2.weight" in told(graph.groups["conv1"])
    assert "9 channels" in repr(graph.groups["conv1"])


def test_names_are_escaped() -> None:
    odd = trace(Odd(), torch.randn(2, 4))
    graph = apply(odd, widen(odd, '<b>&"', 8))
    for value in (graph, graph.groups['<b>&"'], graph.journal, graph.journal[0], widen(graph, '<b>&"', 9)):
        page = told(value)
        assert "&lt;b&gt;&amp;&quot;" in page
        assert '<b>&"' not in page


def test_edits(graph) -> None:
    images = [torch.randn(4, 1, 28, 28)]
    for made in (
        widen(graph, "fc1", 130),
        narrow(graph, "fc1", range(60)),
        identity(graph, "relu1"),
        factorize(graph, "fc1", 4),
        shallow(graph, "relu3"),
        edit.linearize(graph, "relu3", images),
        undo(graph),
    ):
        assert repr(made) == f"<{made.describe()}>"
        assert "<table>" in told(made)
    several = edit.widen_all(graph, {"conv1": 12, "fc1": 130})
    assert told(several).count("<tr>") == 3


def test_journals_and_those_of_files(graph, tmp_path: Path) -> None:
    assert repr(graph.journal) == "<Journal of 1 edit>"
    assert graph.journal == (graph.journal[0],)
    told(graph.journal)
    page = told(Edits(Entry(Description("widen", "r2r", f"conv{number}", 4, 8), 0.0) for number in range(1000)))
    assert page.count("<tr>") == MOST + 2
    assert "… 980 more …" in page
    assert "conv999" in page
    save(tmp_path / "network.safetensors", graph.model, graph.journal)
    _, journal = load(tmp_path / "network.safetensors", lambda: zoo.build("lenet5", (1, 28, 28), 10))
    assert repr(journal) == "<Journal of 1 edit>"


def test_histories_with_the_best_epoch_in_bold() -> None:
    losses = [0.5, 0.25, 0.375]
    history = History(
        Epoch(number, {"loss": loss}, {"loss": loss, "accuracy": 1 - loss}, -loss, 0.1, 1.0)
        for number, loss in enumerate(losses, start=1)
    )
    assert repr(history) == "<History of 3 epochs, the best 2: validation loss 0.25, accuracy 0.75>"
    assert re.findall(r"<b>(\S+)</b>", told(history)) == ["2", "0.25", "0.25", "0.75", "0.1", "1"]
    assert "no epoch" in told(History())


def test_recipes_tell_what_is_not_usual() -> None:
    recipe = Recipe(epochs=3, optimizer="sgd", class_weights=(1.0, 2.0))
    assert repr(recipe) == "Recipe(epochs=3, optimizer='sgd', class_weights=(1.0, 2.0))"
    assert eval(repr(recipe)) == recipe
    assert "As usual: batch_size 64," in told(recipe)
    assert "<table>" not in told(Recipe())


def test_results() -> None:
    network = NetworkResult(7, {"loss": 0.25, "accuracy": 0.75}, {"loss": 0.5, "accuracy": 0.625}, 12345, 67890)
    random = ArmResult(network, 10**9, None, 3)
    page = told(Result(network, "evolve", network, None, (), {"random": random}, 10**9, 1.0, (7,)))
    assert "random, best network" in page
    assert "12,345" in page
    assert "no network" in told(Result(None, None, None, None, (), {}, 0, None, ()))


def test_chains() -> None:
    record = Record(Chain(("a1", "b2"), "solved"), Outcome(0.1, 0.9, 2000, 300), 10**6)
    links = (Link("layer1", "a1", "<net>", "conv1"), Link("head", "solved"))
    searched = Searched("beam", (record,) * 500, (-0.1,) * 500, record, 0.875, Counts())
    found = Finished(record, links, nn.Sequential(), 0.875, 0, (searched,), Path("network.py"), Path("report.html"))
    assert repr(found).startswith("<Chain of 2 layers: test accuracy 87.50%, 300 parameters")
    page = told(found)
    assert "&lt;net&gt;" in page
    assert "beam: 500 chains judged" in page


def test_long_cells_are_cut() -> None:
    page = View("title", ("name", "number"), [("a" * 1000, 1000), (None, 0.125)]).html()
    assert f"{'a' * (LONGEST - 1)}…<" in page
    assert "1,000" in page
    assert "–" in page
