"""Sizes that lie in what modules hold: they follow an edit, and nobody else's copy of them changes."""

from __future__ import annotations

import argparse
import collections
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from netmorph import Graph, apply, trace, undo
from netmorph.edit import widen_all
from netmorph.edit.apply import difference
from netmorph.edit.journal import load, save
from netmorph.edit.replace import structure
from netmorph.export import write_code
from netmorph.graph.held import look

EXACT = 1e-12


@dataclass
class Args:
    heads: int = 3


@dataclass(frozen=True, slots=True)
class Slots:
    heads: int = 3


class ByClass:
    heads = 3


class Guarded(dict[str, Any]):
    """A dict that refuses to be written to, but for the base class's own methods."""

    def __setitem__(self, key: str, value: Any) -> None:
        raise TypeError("refused")

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(name)
        return self[name]


class Mapped:
    """A configuration under another name of its own, as those of transformers are."""

    names: ClassVar = {"heads": "n_head"}

    def __init__(self) -> None:
        self.n_head = 3

    def __getattribute__(self, name: str) -> Any:
        return super().__getattribute__(super().__getattribute__("names").get(name, name))


class Tree:
    """Nodes that know what they lie in, as OmegaConf's do."""

    def __init__(self) -> None:
        self.content = {"heads": types.SimpleNamespace(parent=self, value=3)}

    @property
    def heads(self) -> int:
        return self.content["heads"].value  # type: ignore[no-any-return]


Pair = collections.namedtuple("Pair", "heads name")


def by_name(held: Any) -> int:
    return held.heads  # type: ignore[no-any-return]


# What the modules hold, how they read three heads of it, and what the place is called.
HOLDERS: dict[str, tuple[Callable[[], Any], Callable[[Any], int], str]] = {
    "dataclass": (Args, by_name, "held.heads"),
    "frozen dataclass in slots": (Slots, by_name, "held.heads"),
    "attribute of a class": (ByClass, by_name, "held.heads"),
    "namespace": (lambda: types.SimpleNamespace(heads=3), by_name, "held.heads"),
    "arguments": (lambda: argparse.Namespace(heads=3), by_name, "held.heads"),
    "dict": (lambda: {"heads": 3}, lambda held: held["heads"], "held['heads']"),
    "dict in dict": (lambda: {"a": {1: 3}}, lambda held: held["a"][1], "held['a'][1]"),
    "ordered dict": (lambda: collections.OrderedDict(heads=3), lambda held: held["heads"], "held['heads']"),
    "default dict": (lambda: collections.defaultdict(int, heads=3), lambda held: held["heads"], "held['heads']"),
    "dict that refuses": (lambda: Guarded(heads=3), by_name, "held['heads']"),
    "other name": (Mapped, by_name, "held.n_head"),
    "tree with parents": (Tree, by_name, "held.content['heads'].value"),
    "list of dataclasses": (lambda: [Args(2), Args(3)], lambda held: held[1].heads, "held[1].heads"),
    "named tuple": (lambda: Pair(3, "x"), by_name, "held[0]"),
    "nested lists": (lambda: [[1, 2], ("a", [4, 3])], lambda held: held[1][1][1], "held[1][1]"),
}


class Layer(nn.Module):
    def __init__(self, held: Any, read: Callable[[Any], int]) -> None:
        super().__init__()
        self.held, self.read = held, read
        self.up, self.down = nn.Linear(4, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.up(x).view(*x.shape[:2], self.read(self.held), -1)
        return self.down(heads.tanh().flatten(2))


def build(name: str, held: Any = None) -> nn.Sequential:
    torch.manual_seed(0)
    make, read, _ = HOLDERS[name]
    held = make() if held is None else held
    return nn.Sequential(Layer(held, read), Layer(held, read), nn.Linear(4, 2)).double().eval()


def inputs() -> Tensor:
    return torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1)).double()


def counts(model: nn.Sequential) -> list[int]:
    """What each layer reads."""
    return [layer.read(layer.held) for layer in model if isinstance(layer, Layer)]  # type: ignore[no-any-return]


def six_heads(graph: Graph) -> Graph:
    free = {group.name: 6 for group in graph.editable() if group.size == 3}
    return apply(graph, widen_all(graph, free))


@pytest.mark.parametrize("name", HOLDERS)
@torch.no_grad()
def test_followed_set_undone_saved_and_written(name: str, tmp_path: Path) -> None:
    model, x = build(name), inputs()
    held = model[0].held
    before = model(x)
    graph = trace(model, x)
    assert all(layer.held is held for layer in model[:2])
    assert any(a.name == HOLDERS[name][2] for group in graph.groups.values() for a in group.attributes)
    graph = six_heads(graph)
    assert counts(model) == [6, 6]
    assert all(type(count) is int for count in counts(model))
    assert type(model[0].held) is type(held)
    assert difference(before, model(x)) <= EXACT
    save(tmp_path / "network.safetensors", model, graph.journal)
    loaded, _ = load(tmp_path / "network.safetensors", lambda: build(name))
    assert torch.equal(loaded(x), model(x))
    assert counts(loaded) == [6, 6]  # type: ignore[arg-type]
    write_code(graph, tmp_path / "written.py")
    graph = apply(graph, undo(graph))
    assert counts(model) == [3, 3]
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("name", HOLDERS)
@torch.no_grad()
def test_another_model_of_the_same_configuration_stays_as_it_was(name: str) -> None:
    held, x = HOLDERS[name][0](), inputs()
    model, other = build(name, held), build(name, held)
    before = other(x)
    six_heads(trace(model, x))
    assert HOLDERS[name][1](held) == 3
    assert counts(other) == [3, 3]
    assert torch.equal(other(x), before)


def test_modules_go_on_sharing_a_configuration_and_change_together() -> None:
    model = build("dataclass")
    graph = trace(model, inputs())
    heads = [group for group in graph.editable() if group.size == 3]
    assert len(heads) == 1
    six_heads(graph)
    assert model[0].held is model[1].held


def test_lists_are_each_modules_own() -> None:
    model = build("nested lists")
    graph = trace(model, inputs())
    heads = [group.name for group in graph.editable() if group.size == 3]
    apply(graph, widen_all(graph, {heads[0]: 6}))
    assert counts(model) == [6, 3]


def test_copies_of_the_model_that_share_its_configuration_get_the_same_edit() -> None:
    held = Args()
    model, average = build("dataclass", held), build("dataclass", held)
    six_heads(trace(model, inputs(), copies=[average]))
    assert counts(model) == counts(average) == [6, 6]
    assert held.heads == 3


def test_the_structure_of_before_comes_back_with_all_that_shared_it() -> None:
    model = build("dataclass")
    held = model[0].held
    put_back = structure(model)
    graph = six_heads(trace(model, inputs()))
    put_back({name for entry in graph.journal for _, name, _ in entry.attributes})
    assert model[0].held is held
    assert model[1].held is held


def test_class_attributes_of_modules_are_followed_and_undone() -> None:
    class Heads(Layer):
        heads = 3

        def __init__(self) -> None:
            super().__init__(None, lambda _: self.heads)

    model = nn.Sequential(Heads(), nn.Linear(4, 2)).double()
    graph = six_heads(trace(model, inputs()))
    assert (model[0].heads, Heads.heads) == (6, 3)
    apply(graph, undo(graph))
    assert model[0].heads == 3


def test_what_acts_or_holds_data_is_left_alone() -> None:
    """No copy is made of a file or an iterator, nor of a container with more entries than there are sizes."""

    class Open:
        width = 12

        def __enter__(self) -> None: ...

    class Keeps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.file, self.words = Open(), {str(n): n for n in range(300)}
            self.layer = nn.Linear(4, 12)
            self.seen: list[Any] = []

        def forward(self, x: Tensor) -> Tensor:
            self.seen[:] = [self.file, self.words]
            assert type(self.file.width) is int
            assert type(self.words["7"]) is int
            return self.layer(x)

    trace(Keeps(), torch.randn(2, 4))


def test_a_name_that_is_no_place_is_an_error() -> None:
    for name in ("missing", "held.missing", "held['heads']", "read()", "1 +"):
        with pytest.raises(KeyError):
            look(build("dataclass")[0], name)
