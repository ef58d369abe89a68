"""Depth edits: exact from the start, trainable, and taken out again."""

import pytest
import torch
from nets import output, small, trained
from torch import Tensor, nn

from netmorph import EditError, apply, identity, residual, shallow, trace, widen
from netmorph.edit import DEEPENINGS, places


@pytest.mark.parametrize("method", DEEPENINGS)
@pytest.mark.parametrize("after", ["0", "1", "2", "4", "6"])
def test_exact_behind_any_layer(method: str, after: str) -> None:
    model, x = small()
    before = output(model, x)
    graph = trace(model, x)
    assert after in places(graph)
    graph = apply(graph, DEEPENINGS[method](graph, after))
    assert torch.allclose(before, output(model, x), rtol=0, atol=1e-14)
    assert graph.journal[-1].edit.kind == "deepen"


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("method", DEEPENINGS)
def test_any_number_of_dimensions(method: str, rank: int) -> None:
    layer = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[rank]
    model = nn.Sequential(layer(2, 3, 3), nn.ReLU(), layer(3, 2, 1)).double()
    x = torch.randn(2, 2, *[5] * rank).double()
    before = output(model, x)
    graph = trace(model, x)
    apply(graph, DEEPENINGS[method](graph, "1"))
    assert torch.allclose(before, output(model, x), rtol=0, atol=1e-14)


def test_the_new_block_can_be_widened_and_trains() -> None:
    model, x = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    graph = trace(model, x)
    graph = apply(graph, residual(graph, "2", hidden=6), optimizer)
    assert graph.group("3.body.0").size == 6
    graph = apply(graph, widen(graph, "3.body.0", 8), optimizer)
    block = model[3]
    before = [p.detach().clone() for p in block.parameters()]
    trained(model, x, optimizer)
    assert all((p != b).any() for p, b in zip(block.parameters(), before, strict=True))


def test_identity_behind_an_idempotent_activation_ends_in_it() -> None:
    model, x = small()
    graph = trace(model, x)
    apply(graph, identity(graph, "2", kernel=1))
    assert [type(layer) for layer in model[3]] == [nn.Conv2d, nn.ReLU]
    graph = trace(model, x)
    apply(graph, identity(graph, "0"))
    assert [type(layer) for layer in model[1]] == [nn.Conv2d]


def test_calls_in_an_inserted_block_are_told_by_the_users_line() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)])

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x)
            return x

    graph = trace(Net(), torch.randn(2, 4))
    graph = apply(graph, residual(graph, "layers.1"))
    assert {call.location.rpartition(":")[0] for call in graph.recording.calls} == {__file__}


def test_shallow_takes_a_layer_out_again() -> None:
    model, x = small()
    before = output(model, x)
    optimizer = trained(model, x, torch.optim.Adam(model.parameters(), lr=0.0))
    graph = apply(trace(model, x), residual(trace(model, x), "2"), optimizer)
    assert len(optimizer.param_groups[0]["params"]) == 12
    graph = apply(graph, shallow(graph, "3"), optimizer)
    assert len(model) == 7
    assert torch.allclose(before, output(model, x), atol=1e-1)
    held = {id(p) for p in optimizer.param_groups[0]["params"]}
    assert held == {id(p) for p in model.parameters()}
    assert {id(p) for p in optimizer.state} <= held
    assert [entry.edit.kind for entry in graph.journal] == ["deepen", "shallow"]


def test_shallow_refuses_what_changes_the_shape() -> None:
    model, x = small()
    graph = trace(model, x)
    with pytest.raises(EditError, match=r"shallow .* of '3' .* not possible"):
        apply(graph, shallow(graph, "3"))
    assert isinstance(model[3], nn.Conv2d)


def test_a_module_called_at_several_places_is_deepened_at_all() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act, self.a, self.b = nn.ReLU(), nn.Linear(3, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.b(self.act(self.a(x)))) + 0

    model = Shared().double()
    x = torch.randn(2, 3).double()
    before = output(model, x)
    graph = trace(model, x)
    apply(graph, residual(graph, "act"))
    assert torch.allclose(before, output(model, x), atol=1e-14)


def test_train_and_eval_modes_are_inherited() -> None:
    model, x = small()
    model.eval()
    graph = trace(model, x)
    apply(graph, residual(graph, "2"))
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda g: residual(g, "99"), r"no module '99' to edit"),
        (lambda g: shallow(g, ""), r"no module '' to edit"),
        (lambda g: identity(g, "5"), None),
        (lambda g: residual(g, "2", hidden=3), "must be even and at least 2, got 3"),
        (lambda g: residual(g, "2", hidden=0), "must be even and at least 2, got 0"),
        (lambda g: residual(g, "2", kernel=2), "odd and at least 1, got 2"),
        (lambda g: identity(g, "2", kernel=-1), "odd and at least 1, got -1"),
    ],
)
def test_messages(make, message: str | None) -> None:  # type: ignore[no-untyped-def]
    model, x = small()
    graph = trace(model, x)
    if message is None:  # behind a flatten: a linear layer over all features is possible
        assert apply(graph, make(graph)).journal[-1].error < 1e-12
    else:
        with pytest.raises(EditError, match=message):
            make(graph)


def test_no_place_behind_a_module_that_does_not_run() -> None:
    model, x = small()
    model.idle = nn.Linear(2, 2)
    graph = trace(nn.Sequential(*list(model)[:7]), x)
    graph.model.unused = nn.Linear(2, 2)
    with pytest.raises(EditError, match=r"not called by the traced forward.*possible places are 0, 1"):
        residual(graph, "unused")
