"""Names of before an edit: what the forward keeps is looked for where its module is afterwards."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from netmorph import Graph, apply, residual, shallow, trace, undo
from netmorph.edit import Edit, copy_block
from netmorph.edit.moved import kept_now, names_now, paths_now
from netmorph.graph.slots import ABSENT, Kept, Slot

X = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Gate(nn.Module):
    """A scale that is made at the first call, or one of the user's, which is for training."""

    def __init__(self, given: Tensor | None = None) -> None:
        super().__init__()
        self.is_given, self.scale = given is not None, given
        self.layer, self.drop = nn.Linear(4, 4), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        if self.scale is None and not self.is_given:
            self.scale = torch.ones(4, dtype=x.dtype)
        scaled = self.scale is not None and (self.training or not self.is_given)
        return x + self.drop(self.layer(x) * self.scale if scaled else self.layer(x))


class Gates(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Gate(), Gate(), Gate(torch.full((4,), 3.0).double()), Gate()])
        self.first, self.head = Gate(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def gates() -> Gates:
    torch.manual_seed(0)
    return Gates().double()


@pytest.mark.parametrize("edit", [shallow, copy_block, residual])
def test_what_a_user_gave_to_an_entry_stays_when_it_moves(edit: Callable[[Graph, str], Edit]) -> None:
    model = gates()
    model(X)
    given, cached = model.blocks[2], model.blocks[3]
    scale, table = given.scale, cached.scale
    graph = trace(model, X)
    graph = apply(graph, edit(graph, "blocks.1"))
    assert len(model.blocks) == (3 if edit is shallow else 5)
    assert given.scale is scale
    assert cached.scale is table
    apply(graph, undo(graph))
    assert list(model.blocks)[2:] == [given, cached]
    assert given.scale is scale
    assert cached.scale is table


def test_what_a_module_keeps_stays_with_it_in_a_container() -> None:
    model = gates()
    model(X)
    first, table = model.first, model.first.scale
    graph = trace(model, X)
    graph = apply(graph, residual(graph, "first"))
    assert model.first[0] is first
    assert "scale" not in vars(model.first)
    assert first.scale is table
    apply(graph, undo(graph))
    assert model.first is first
    assert first.scale is table


def test_copies_keep_theirs() -> None:
    model, twin = gates(), gates()
    model(X), twin(X)
    given, scale = twin.blocks[2], twin.blocks[2].scale
    graph = trace(model, X, copies=[twin])
    graph = apply(graph, shallow(graph, "blocks.1"))
    assert twin.blocks[1] is given
    assert given.scale is scale


def test_names_go_by_modules() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    before = dict(model.named_modules())
    one = model[1]
    del model[0]
    model[1] = nn.Sequential(model[1], nn.ReLU())
    paths = paths_now(before, model)
    assert paths == {"": "", "1": "0", "2": "1.0"}
    assert names_now(["0.weight", "1.weight", "2.bias", "scale"], paths) == {"0.weight", "1.0.bias", "scale"}
    kept = [Kept(Slot(path, ("table",)), None, ABSENT) for path in ("0", "1")]
    assert [entry.slot for entry in kept_now(kept, paths)] == [Slot("0", ("table",))]
    assert model[0] is one
