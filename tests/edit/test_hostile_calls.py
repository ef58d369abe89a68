"""What `apply` and its kin are given by mistake: errors that say so, and nothing has changed."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import nn

from netmorph import apply, factorize, load, narrow, residual, save, trace, widen
from netmorph.edit import widen_all
from netmorph.errors import EditError, NetmorphError
from netmorph.graph import Graph
from netmorph.graph.running import TraceError
from netmorph.memory import OutOfMemory


@pytest.fixture
def graph() -> Graph:
    return trace(
        nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)), torch.randn(3, 4)
    )


def test_only_optimizers_are_optimizers(graph: Graph) -> None:
    optimizer = torch.optim.SGD(graph.model.parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    before = copy.deepcopy(graph.model.state_dict())
    wrong: list[tuple[Any, str]] = [
        (None, "not NoneType; leave it out where none does"),
        ([None], "not NoneType"),
        (scheduler, "not StepLR; .*a scheduler follows its optimizer by itself"),
        ([optimizer, scheduler], "not StepLR"),
        (graph.model.parameters(), "not generator"),
        (list(graph.model.parameters()), "not Parameter"),
        (optimizer.state_dict(), "not dict"),
        ("adam", "not str"),
        (torch.optim.SGD, "not type"),
    ]
    for given, message in wrong:
        with pytest.raises(EditError, match=f"optimizer= takes the optimizer that trains the model.*{message}"):
            apply(graph, widen(graph, "0", 8), given)
    assert all(torch.equal(tensor, before[name]) for name, tensor in graph.model.state_dict().items())
    apply(graph, widen(graph, "0", 8), (optimizer,))


@pytest.mark.parametrize("twice", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_graph_is_neither_copied_nor_pickled(graph: Graph, twice: Any) -> None:
    with pytest.raises(NetmorphError, match="neither copied nor pickled; copy or save the model"):
        twice(graph)


def test_nothing_is_made_on_a_meta_device_by_accident(graph: Graph, tmp_path: Any) -> None:
    edit = widen(graph, "0", 8)
    with torch.device("meta"):
        for call in (
            lambda: trace(graph.model, graph.inputs),
            lambda: widen(graph, "0", 8),
            lambda: apply(graph, edit),
            lambda: apply(graph, residual(graph, "1")),
        ):
            with pytest.raises((EditError, TraceError), match="the default device is meta"):
                call()  # type: ignore[no-untyped-call]
        save(tmp_path / "net", graph.model)
        model, _ = load(tmp_path / "net", lambda: nn.Sequential(*(copy.deepcopy(layer) for layer in graph.model)))
    assert all(map(torch.equal, model.state_dict().values(), graph.model.state_dict().values()))
    apply(graph, edit)


def test_sizes_that_no_memory_holds_are_refused_before_any_is_taken(graph: Graph) -> None:
    for make in (
        lambda: widen(graph, "0", 10**12),
        lambda: widen_all(graph, {"0": 10**8, "2": 10**8}),
        lambda: widen(graph, "0", 2**62),
    ):
        with pytest.raises(OutOfMemory, match=r"takes [\d,]+ GiB of memory, and there are"):
            make()  # type: ignore[no-untyped-call]
    for other in (
        lambda: apply(graph, residual(graph, "1", hidden=10**12)),
        lambda: apply(graph, factorize(graph, "0", 10**12)),
        lambda: narrow(graph, "0", [10**12]),
    ):
        with pytest.raises(NetmorphError):
            other()  # type: ignore[no-untyped-call]
    apply(graph, widen(graph, "0", 8))


class Broken(nn.Module):
    """Its forward is compiled in two parts."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        if torch.compiler.is_compiling():
            torch._dynamo.graph_break()
        return self.last(y.relu())  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("model", "group", "parts"),
    [(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), "0", 1), (Broken(), "first", 2)],
)
def test_a_compiled_network_is_compiled_after_every_edit(model: nn.Module, group: str, parts: int) -> None:
    made = []

    def backend(program: Any, inputs: Any) -> Any:
        made.append(program)
        return program.forward

    torch._dynamo.reset()
    compiled, x = torch.compile(model, backend=backend), torch.randn(3, 4)
    graph = trace(compiled, x)
    for number in range(torch._dynamo.config.recompile_limit + 4):
        with torch.no_grad():
            compiled(x)
        assert len(made) == parts * (number + 1)
        with torch.no_grad():
            compiled(x)
        assert len(made) == parts * (number + 1), "once for an edit"
        graph = apply(graph, widen(graph, group, graph.group(group).size + 1))
    torch._dynamo.reset()
