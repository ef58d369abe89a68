"""The old network is taken out of the grown one where it is inside, and an error says where it is not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from nets import output, same, small, trained
from torch import nn

import netmorph
from netmorph import EditError, apply, load, narrow, residual, save, shallow, trace, widen, zoo
from netmorph.edit import copy_block, old_network, widen_all
from netmorph.graph import Graph
from netmorph.widenings import WIDENINGS, copied_pairs, lemon, net2net, r2r, random_pad, rms_pad, unequal_split, zero


def without_new(graph: Graph, place: int = 0) -> dict[str, Any]:
    return dict(old_network(graph, graph.journal[place]).model.state_dict())


@pytest.mark.parametrize("method", [r2r, copied_pairs, zero, random_pad, lemon])
def test_what_was_not_trained_is_as_it_was(method: netmorph.widenings.Widening) -> None:
    model, x = small()
    before, text = dict(model.state_dict()), repr(model)
    graph = trace(model, x)
    graph = apply(graph, widen(graph, "0", 7, method))
    grown = {name: held.clone() for name, held in model.state_dict().items()}
    inner = old_network(graph)
    assert same(dict(inner.model.state_dict()), before)
    assert repr(inner.model) == text
    assert inner.journal == ()
    assert same(dict(model.state_dict()), grown)
    assert not {id(p) for p in inner.model.parameters()} & {id(p) for p in model.parameters()}


def test_what_was_trained_comes_without_what_is_new() -> None:
    model, x = small()
    graph = trace(model, x)
    graph = apply(graph, widen(graph, "0", 7, copied_pairs))
    trained(model, x, torch.optim.SGD(model.parameters(), 0.1))
    inner = old_network(graph)
    assert torch.equal(inner.model.get_parameter("0.weight"), model[0].weight[:4])
    assert torch.equal(inner.model.get_parameter("3.weight"), model[3].weight[:, :4])
    assert all(p.grad is None for p in inner.model.parameters())
    apply(inner, widen(inner, "0", 9))  # a graph like any other


def test_before_any_of_several_edits_and_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = zoo.build("resnet", (3, 8, 8), 3, width=0.25, blocks=(1, 1), channels=(8, 16)).double()
    x = torch.randn(2, 3, 8, 8).double()
    start, states = repr(model), [dict(model.state_dict())]
    graph = trace(model, x)
    for make in (
        lambda graph: widen_all(graph, {"conv1": 5, "stage1.0.conv1": 4}),
        lambda graph: copy_block(graph, "stage1.0"),
        lambda graph: residual(graph, after="stage2.0.relu1"),
        lambda graph: widen(graph, "stage2.0.conv1", 7, copied_pairs),
    ):
        graph = apply(graph, make(graph))
        states.append({name: held.clone() for name, held in model.state_dict().items()})
    for place in range(4):
        inner = old_network(graph, graph.journal[place])
        assert same(dict(inner.model.state_dict()), states[place])
        assert len(inner.journal) == place
    save(tmp_path / "net.safetensors", model, graph.journal)
    again, journal = load(
        tmp_path / "net.safetensors",
        lambda: zoo.build("resnet", (3, 8, 8), 3, width=0.25, blocks=(1, 1), channels=(8, 16)).double(),
    )
    read = trace(again, x, journal)
    inner = old_network(read, journal[0])
    assert same(dict(inner.model.state_dict()), states[0])
    assert repr(inner.model) == start
    assert torch.equal(output(inner.model, x), output(old_network(graph, graph.journal[0]).model, x))


def test_gains_of_norms_are_divided_again() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2)).double()
    nn.init.normal_(model[1].weight)
    x = torch.randn(5, 4).double()
    before = output(model, x)
    graph = trace(model, x)
    graph = apply(graph, widen(graph, "0", 9, lemon))
    inner = old_network(graph)
    torch.testing.assert_close(output(inner.model, x), before, rtol=1e-12, atol=1e-12)
    assert inner.model.get_submodule("1").eps == 1e-5


@pytest.mark.parametrize("method", [net2net, unequal_split, rms_pad])
def test_shares_that_changed_are_told(method: netmorph.widenings.Widening) -> None:
    model, x = small()
    graph = trace(model, x)
    graph = apply(graph, widen(graph, "0", 8, method))
    with pytest.raises(EditError, match=rf"{method.__name__}\) of '0' from 4 to 8 changed the weights with which"):
        old_network(graph)


def test_what_is_not_inside_is_told() -> None:
    model, x = small()
    graph = trace(model, x)
    with pytest.raises(EditError, match="there is no network of before: the graph's journal is empty"):
        old_network(graph)
    first = apply(graph, widen(graph, "0", 6))
    graph = apply(first, narrow(first, "3", [0, 2]))
    with pytest.raises(EditError, match=r"not inside of this one: narrow \(keep\) of '3' .* took out what was there"):
        old_network(graph, graph.journal[0])
    graph = apply(graph, shallow(graph, "2"))
    with pytest.raises(EditError, match=r"shallow .* of '2' .* took out what was there"):
        old_network(graph)
    with pytest.raises(EditError, match="takes an entry of the graph's journal"):
        old_network(graph, "0")  # type: ignore[arg-type]
    assert r2r is WIDENINGS["r2r"]
