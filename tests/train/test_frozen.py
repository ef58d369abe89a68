"""Old weights and statistics that stay, bit for bit, while what is new learns."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import netmorph
from netmorph.edit import new_entries, old_network
from netmorph.errors import NetmorphError
from netmorph.graph import Graph
from netmorph.policy import freeze, warm_up
from netmorph.train import Frozen, Pace
from netmorph.train.pace import FROZEN
from netmorph.widenings import WIDENINGS
from tests.train.own_loop import OwnLoop

BUILDS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=0.1),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, 0.01, weight_decay=0.5),
    "fused": lambda parameters: torch.optim.AdamW(parameters, 0.01, weight_decay=0.5, fused=True),
}


def convolutional(build: Callable[..., torch.optim.Optimizer]) -> tuple[nn.Module, torch.optim.Optimizer, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Flatten(), nn.Linear(24, 3),
    )  # fmt: skip
    optimizer, x = build(model.parameters()), torch.randn(16, 2, 6, 6)
    train(model, optimizer, x, steps=3)
    return model, optimizer, x


def train(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, steps: int = 4) -> None:
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), torch.arange(len(x)) % 3).backward()
        optimizer.step()


def old_ones(graph: Graph) -> dict[str, Tensor]:
    new = new_entries(graph)
    return {
        name: p.detach()[~new[name]] if name in new else p.detach().clone()
        for name, p in graph.model.named_parameters()
    }


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
@pytest.mark.parametrize("method", sorted(WIDENINGS))
def test_nothing_moves_what_was_there(method: str, build: Callable[..., torch.optim.Optimizer]) -> None:
    model, optimizer, x = convolutional(build)
    graph = netmorph.trace(model, x)
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", 9, WIDENINGS[method]), optimizer)
    before = old_ones(graph)
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with Frozen(graph, Pace(optimizer)):
        train(model, optimizer, x)
        assert all(torch.equal(held, before[name]) for name, held in old_ones(graph).items())
        assert torch.equal(model[1].running_mean[:4], statistics["1.running_mean"][:4])
        assert not torch.equal(model[1].running_mean[4:], statistics["1.running_mean"][4:])
        assert torch.equal(model[4].running_var, statistics["4.running_var"])
        assert all(bool((model.get_parameter(name).detach()[mark] != 0).any()) for name, mark in graph_new(graph))
    train(model, optimizer, x, steps=1)
    assert all(not torch.equal(held, before[name]) for name, held in old_ones(graph).items() if "weight" in name)
    assert not torch.equal(model[4].running_var, statistics["4.running_var"])
    assert not any(FROZEN in state for state in optimizer.state.values())
    assert not model[1]._forward_hooks


def graph_new(graph: Graph) -> list[tuple[str, Tensor]]:
    return list(new_entries(graph).items())


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
@pytest.mark.parametrize("method", ["r2r", "copied_pairs", "zero", "random_pad", "lemon"])
def test_train_small_grow_train_on_and_keep_both(method: str, build: Callable[..., torch.optim.Optimizer]) -> None:
    model, optimizer, x = convolutional(build)
    small = {name: held.clone() for name, held in model.state_dict().items()}
    answers = model.eval()(x).detach()
    graph = netmorph.trace(model, x)
    graph = netmorph.apply(graph, netmorph.widen(graph, "3", 9, WIDENINGS[method]), optimizer)
    pace = Pace(optimizer)
    warm_up(3)(pace, graph)
    with Frozen(graph, pace):
        train(model, optimizer, x)
        inner = old_network(graph)
    assert inner.model.state_dict().keys() == small.keys()
    assert all(torch.equal(held, small[name]) for name, held in inner.model.state_dict().items())
    assert torch.equal(inner.model.eval()(x), answers)
    assert not torch.equal(model.eval()(x), answers)
    train(inner.model, build(inner.model.parameters()), x, steps=1)  # its statistics are its own
    assert not torch.equal(inner.model.get_buffer("1.running_mean"), small["1.running_mean"])


def test_for_some_steps_through_a_further_edit_and_a_checkpoint() -> None:
    loop = OwnLoop(torch.optim.AdamW, weight_decay=0.5)
    loop.step()
    pace = Pace(loop.optimizer)
    freeze(3)(pace, loop.grow("0", 8))
    moved = loop.step()
    assert moved["0.weight"][:6].abs().max() == moved["4.weight"].abs().max() == 0 < moved["0.weight"][6:].abs().min()
    loop.grow("2", 8)  # without the policy: what is fresh learns, what was frozen stays so
    pace.detach()
    loop.optimizer.load_state_dict(loop.optimizer.state_dict())
    Pace(loop.optimizer)
    moved = loop.step()
    assert moved["0.weight"][:6].abs().max() == moved["2.weight"][:6, :6].abs().max() == 0
    assert moved["2.weight"][6:].abs().min() > 0
    assert moved["2.weight"][:6, 6:].abs().min() > 0
    loop.step()
    assert all(move.abs().min() > 0 for move in loop.step().values())
    assert not any("frozen" in key for group in loop.optimizer.param_groups for key in group)


def test_called_after_a_further_edit_it_freezes_all_but_what_that_one_made() -> None:
    loop = OwnLoop()
    pace = Pace(loop.optimizer)
    freeze()(pace, loop.grow("0", 8))
    loop.step()
    freeze()(pace, loop.grow("0", 10))
    moved = loop.step()
    assert moved["0.weight"][:8].abs().max() == 0 < moved["0.weight"][8:].abs().min()
    pace.release()
    assert loop.step()["0.weight"].abs().min() > 0


def test_what_several_edits_made_together_is_free_together() -> None:
    model, optimizer, x = convolutional(BUILDS["AdamW"])
    graph = netmorph.trace(model, x)
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", 6), optimizer)
    graph = netmorph.apply(graph, netmorph.residual(graph, "2"), optimizer)
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", 8), optimizer)
    new, before = new_entries(graph, 3), {name: held.clone() for name, held in model.state_dict().items()}
    pace = Pace(optimizer)
    pace.edits = 3
    with Frozen(graph, pace):
        train(model, optimizer, x)
    for name, parameter in model.named_parameters():
        moves = new.get(name, torch.zeros_like(parameter, dtype=torch.bool))
        assert torch.equal(parameter.detach()[~moves], before[name][~moves])
        assert not moves.any() or not torch.equal(parameter.detach()[moves], before[name][moves])
    means = model[1].running_mean != before["1.running_mean"]
    assert means.tolist() == [False] * 4 + [True] * 4


def test_around_a_block_that_was_put_in() -> None:
    loop = OwnLoop(torch.optim.Adam)
    loop.step()
    graph = netmorph.trace(loop.model, loop.x)
    graph = netmorph.apply(graph, netmorph.residual(graph, "1"), loop.optimizer)
    with Frozen(graph, Pace(loop.optimizer)):
        moved = loop.step()
    assert {name for name, move in moved.items() if move.abs().max() > 0} == new_entries(graph).keys()


def test_a_network_that_was_edited_since_is_told() -> None:
    model, optimizer, x = convolutional(BUILDS["SGD"])
    graph = netmorph.trace(model, x)
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", 6), optimizer)
    with Frozen(graph, Pace(optimizer)):
        netmorph.apply(graph, netmorph.widen(graph, "0", 8), optimizer)
        with pytest.raises(NetmorphError, match=r"1\.running_mean was edited since it was frozen; release, and make"):
            train(model, optimizer, x)


def test_a_time_that_is_none() -> None:
    with pytest.raises(NetmorphError, match="a whole number of steps, at least 1, got 0"):
        freeze(0)
