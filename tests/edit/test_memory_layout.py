"""Edits keep how weights lie in memory, and files give it back: the last bits of a result depend on it."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netmorph import apply, factorize, identity, load, merge, narrow, residual, save, shallow, trace, undo, widen
from netmorph.edit import stack
from netmorph.graph import Graph
from netmorph.memory_layout import is_dense, laid_out_like, layout
from netmorph.widenings import net2net

FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


def network(dims: int) -> nn.Sequential:
    conv, norm = ((nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d))[dims - 2]
    torch.manual_seed(0)
    return nn.Sequential(
        conv(2, 6, 3, padding=1),
        norm(6),
        nn.ReLU(),
        conv(6, 6, 3, padding=1, groups=6),
        conv(6, 8, 1),
        nn.ReLU(),
        nn.Sequential(conv(8, 8, 3, padding=1), nn.ReLU()),
        (nn.AdaptiveAvgPool2d if dims == 2 else nn.AdaptiveAvgPool3d)(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def trained(dims: int) -> tuple[Graph, torch.optim.Optimizer]:
    model = network(dims).to(memory_format=FORMATS[dims])
    x = torch.randn(4, 2, *[6] * dims).contiguous(memory_format=FORMATS[dims])
    optimizer = torch.optim.Adam(model.parameters())
    model(x).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    return trace(model, x), optimizer


def check(graph: Graph, optimizer: torch.optim.Optimizer, dims: int) -> None:
    for name, tensor in graph.model.named_parameters():
        if tensor.dim() == dims + 2:
            assert tensor.is_contiguous(memory_format=FORMATS[dims]), name
        else:
            assert tensor.is_contiguous(), name
        for key, state in optimizer.state.get(tensor, {}).items():
            if state.shape == tensor.shape:
                assert state.stride() == tensor.stride(), f"{name} {key}"


EDITS: dict[str, Callable[[Graph], Any]] = {
    "widen": lambda graph: widen(graph, "0", 9),
    "widen more": lambda graph: widen(graph, "4", 11),
    "narrow": lambda graph: narrow(graph, "4", [0, 2, 5, 6, 7]),
    "residual": lambda graph: residual(graph, "5"),
    "identity": lambda graph: identity(graph, "5"),
    "copy": lambda graph: stack(graph, "6"),
    "factorize": lambda graph: factorize(graph, "6.0", 5),
    "shallow": lambda graph: shallow(graph, "6"),
}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("kind", EDITS)
def test_channels_last_is_kept_saved_loaded_and_undone(kind: str, dims: int, tmp_path: Path) -> None:
    graph, optimizer = trained(dims)
    check(graph, optimizer, dims)
    graph = apply(graph, EDITS[kind](graph), optimizer)
    check(graph, optimizer, dims)
    if kind == "factorize":
        graph = apply(graph, merge(graph, "6.0.0"), optimizer)
        check(graph, optimizer, dims)
    graph.model(*graph.inputs).square().sum().backward()
    optimizer.step()
    save(tmp_path / "net", graph.model, graph.journal)
    again, _ = load(tmp_path / "net", lambda: network(dims))
    strides = {name: tensor.stride() for name, tensor in graph.model.state_dict().items()}
    assert {name: tensor.stride() for name, tensor in again.state_dict().items()} == strides
    with torch.no_grad():
        assert torch.equal(again.eval()(*graph.inputs), graph.model.eval()(*graph.inputs))
    graph.model.train()
    if kind in ("widen", "widen more", "residual", "identity"):  # the others cannot be undone once they were trained
        graph = apply(graph, undo(graph), optimizer)
        check(graph, optimizer, dims)


def test_channels_of_one_become_more_as_their_neighbours_lie() -> None:
    model = nn.Sequential(nn.Conv2d(3, 1, 3), nn.ReLU(), nn.Conv2d(1, 4, 3)).to(memory_format=torch.channels_last)
    graph = trace(model, torch.randn(2, 3, 6, 6))
    apply(graph, widen(graph, "0", 3, net2net))
    assert model[2].weight.stride() == (27, 1, 9, 3)
    assert model[0].weight.stride() == (27, 1, 9, 3)


def test_a_turned_weight_stays_turned() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    model[0].weight.data = torch.randn(4, 6).t()
    graph = trace(model, torch.randn(2, 4))
    apply(graph, widen(graph, "0", 8))
    assert model[0].weight.stride() == (1, 8)
    assert model[2].weight.stride() == (8, 1)


def test_networks_of_plain_memory_stay_plain(tmp_path: Path) -> None:
    model = network(2)
    graph = trace(model, torch.randn(2, 2, 6, 6))
    for kind in ("widen", "residual", "identity", "factorize"):
        graph = apply(graph, EDITS[kind](graph))
    assert all(tensor.is_contiguous() for tensor in model.state_dict().values())
    save(tmp_path / "net", model, graph.journal)
    again, _ = load(tmp_path / "net", lambda: network(2).to(memory_format=torch.channels_last))
    assert all(tensor.stride() == model.state_dict()[name].stride() for name, tensor in again.state_dict().items())


def test_copies_keep_theirs() -> None:
    graph, _ = trained(2)
    twin = copy.deepcopy(graph.model)
    graph = trace(graph.model, graph.inputs, copies=[twin])
    apply(graph, widen(graph, "4", 10))
    assert twin[4].weight.stride() == graph.model[4].weight.stride()


@pytest.mark.parametrize(
    "like",
    [
        torch.empty(4, 3, 2, 2).to(memory_format=torch.channels_last),
        torch.empty(4, 1, 3, 3).to(memory_format=torch.channels_last),
        torch.empty(4, 3, 1, 1).to(memory_format=torch.channels_last),
        torch.empty(1, 3, 2, 1).to(memory_format=torch.channels_last),
    ],
)
def test_another_size_lies_as_the_format_says(like: Tensor) -> None:
    for shape in ((5, 7, 3, 3), (5, 7, 1, 1), (1, 7, 3, 3)):
        expected = torch.empty(shape).to(memory_format=torch.channels_last).stride()
        made = laid_out_like(torch.arange(float(torch.Size(shape).numel())).reshape(shape), like)
        assert made.stride() == expected
        assert torch.equal(made.flatten(), torch.arange(float(made.numel())))


def test_what_is_dense() -> None:
    assert is_dense((2, 3), (3, 1))
    assert is_dense((2, 3), (1, 2))
    assert not is_dense((2, 3), (6, 1))
    assert not is_dense((2, 3), (0, 1))
    assert layout(torch.empty(4, 6)[:, ::2]) == (3, 1)
