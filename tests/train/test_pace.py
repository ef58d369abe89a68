"""What stands between a schedule and its steps: in the optimizer, through edits and checkpoints."""

import copy
import json

import pytest
import torch
from torch import nn

import netmorph
from netmorph.errors import NetmorphError
from netmorph.policy.learning_rate import divide, warm_up
from netmorph.train.optimizer_state import pack_optimizer, unpack_optimizer
from netmorph.train.pace import HELD, Pace
from tests.train.own_loop import OwnLoop


def test_a_step_that_fails_changes_neither_rate_nor_warm_up() -> None:
    def fail() -> float:
        raise KeyboardInterrupt

    loops = [OwnLoop(momentum=0.9), OwnLoop(momentum=0.9)]
    for loop in loops:
        torch.manual_seed(0)
        loop.step()
        pace, graph = Pace(loop.optimizer), loop.grow()
        divide(4)(pace, graph)
        warm_up(10)(pace, graph)
    with pytest.raises(KeyboardInterrupt):
        loops[1].optimizer.step(fail)
    expected, moved = (loop.step() for loop in loops)
    assert all(torch.equal(moved[name], expected[name]) for name in expected)
    assert loops[1].optimizer.param_groups[0]["lr"] == 0.1


def test_an_inserted_block_has_no_state_before_its_first_step() -> None:
    """Adam takes any state for its own, and could not load it."""
    loop = OwnLoop(torch.optim.Adam, lr=0.01)
    graph = netmorph.trace(loop.model, loop.x)
    warm_up(10)(Pace(loop.optimizer), netmorph.apply(graph, netmorph.residual(graph, "1"), loop.optimizer))
    torch.optim.Adam(loop.model.parameters()).load_state_dict(loop.optimizer.state_dict())
    assert not any(loop.optimizer.state.values())


def test_without_momentum_it_is_carried_from_the_first_step_on() -> None:
    loop = OwnLoop()
    pace = Pace(loop.optimizer)
    warm_up(4)(pace, loop.grow("0", 8))
    loop.step()
    loop.grow("2", 8)
    held = loop.optimizer.state[loop.model.get_parameter("2.weight")][HELD]
    assert held[:6, 6:].eq(0.75).all()


def test_a_checkpoint_goes_on_where_it_was() -> None:
    loop = OwnLoop(torch.optim.Adam)
    loop.step()
    pace, graph = Pace(loop.optimizer), loop.grow()
    warm_up(5)(pace, graph)
    divide(3)(pace, graph)
    loop.step()
    again = copy.deepcopy(loop)
    again.optimizer = torch.optim.Adam(again.model.parameters(), lr=0.5)
    resumed = Pace(again.optimizer)
    unpack_optimizer(again.optimizer, again.model, *pack_optimizer(loop.optimizer, loop.model))
    for _ in range(6):
        expected, moved = loop.step(), again.step()
        torch.testing.assert_close(moved, expected, rtol=1e-6, atol=1e-12)
    assert resumed.optimizers == [again.optimizer]


@pytest.mark.parametrize("pace_first", [True, False])
@pytest.mark.parametrize("insert", [True, False])
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_a_checkpoint_between_growth_and_the_first_step_warms_up_too(
    optimizer: type[torch.optim.Optimizer], insert: bool, pace_first: bool
) -> None:
    loop = OwnLoop(optimizer)
    pace, graph = Pace(loop.optimizer), netmorph.trace(loop.model, loop.x)
    edit = netmorph.residual(graph, "1") if insert else netmorph.widen(graph, "0", 8)
    warm_up(5)(pace, netmorph.apply(graph, edit, loop.optimizer))
    again = copy.deepcopy(loop)
    again.optimizer = optimizer(again.model.parameters(), lr=0.5)
    if pace_first:
        Pace(again.optimizer)
    packed = json.loads(json.dumps(pack_optimizer(loop.optimizer, loop.model)))  # no tensors yet
    unpack_optimizer(again.optimizer, again.model, *packed)
    if not pace_first:
        Pace(again.optimizer)
    plain = copy.deepcopy(again)
    plain.optimizer = optimizer(plain.model.parameters(), lr=0.1)
    unwarmed = plain.step()
    for number in range(6):
        expected, moved = loop.step(), again.step()
        torch.testing.assert_close(moved, expected, rtol=1e-6, atol=1e-12)
        if not number:
            assert any(not torch.allclose(moved[name], unwarmed[name]) for name in moved)


def test_what_was_loaded_without_a_pace_and_edited_since_is_left_alone() -> None:
    loop = OwnLoop()
    pace, graph = Pace(loop.optimizer), loop.grow()
    warm_up(5)(pace, graph)
    again = loop.twin()  # without a Pace
    again.grow("2", 9)
    last = loop.twin()
    last.model = again.model
    last.optimizer = torch.optim.SGD(again.model.parameters(), lr=0.1)
    Pace(last.optimizer)
    last.optimizer.load_state_dict(again.optimizer.state_dict())
    last.step()


def test_weights_of_low_precision_warm_up_in_full() -> None:
    """Their own type cannot count 1000 steps from 1 down."""
    loop = OwnLoop()
    loop.model.bfloat16()
    loop.x = loop.x.bfloat16()
    pace, graph = Pace(loop.optimizer), loop.grow()
    warm_up(1000)(pace, graph)
    loop.step()
    weight = loop.model.get_parameter("0.weight")
    assert float(loop.optimizer.state[weight][HELD].max()) == pytest.approx(0.999)
    assert loop.optimizer.state[weight][HELD].dtype is torch.float32


def test_several_optimizers() -> None:
    loop = OwnLoop()
    biases = torch.optim.SGD([p for p in loop.model.parameters() if p.dim() == 1], 0.1)
    weights = torch.optim.Adam([p for p in loop.model.parameters() if p.dim() > 1], 0.01)
    graph = netmorph.trace(loop.model, loop.x)
    pace = Pace([biases, weights])
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", 8), [biases, weights])
    warm_up(2)(pace, graph)
    nn.functional.cross_entropy(loop.model(loop.x), loop.y).backward()
    for optimizer in (weights, biases):
        optimizer.step()
    assert HELD in biases.state[loop.model.get_parameter("0.bias")]
    assert HELD in weights.state[loop.model.get_parameter("0.weight")]


def test_removed_it_leaves_nothing() -> None:
    loop = OwnLoop(torch.optim.Adam)
    loop.step()
    plain = loop.twin()
    keys = loop.optimizer.param_groups[0].keys()
    pace, graph = Pace(loop.optimizer), loop.grow()
    plain.grow()
    divide()(pace, graph)
    warm_up(4)(pace, graph)
    pace.remove()
    moved, expected = loop.step(), plain.step()
    assert all(torch.equal(moved[name], expected[name]) for name in expected)
    assert loop.optimizer.param_groups[0].keys() == keys


def test_frozen_parameters_that_the_optimizer_does_not_hold_are_left_alone() -> None:
    loop = OwnLoop()
    for parameter in loop.model[0].parameters():  # type: ignore[index]
        parameter.requires_grad_(False)
    loop.optimizer = torch.optim.SGD([p for p in loop.model.parameters() if p.requires_grad], 0.1)
    pace = Pace(loop.optimizer)
    warm_up(3)(pace, loop.grow())
    assert loop.step()["0.weight"].abs().max() == 0


@pytest.mark.parametrize("stepped", [True, False])
def test_detached_it_leaves_its_state_to_the_next_one(stepped: bool) -> None:
    loops = [OwnLoop(torch.optim.Adam), OwnLoop(torch.optim.Adam)]
    for loop, detached in zip(loops, (False, True), strict=True):
        if stepped:
            loop.step()
        pace, graph = Pace(loop.optimizer), netmorph.trace(loop.model, loop.x)
        graph = netmorph.apply(graph, netmorph.residual(graph, "1", seed=0), loop.optimizer)
        warm_up(5)(pace, graph)
        divide(2)(pace, graph)
        for _ in range(3):
            if detached:
                pace.detach()
                torch.optim.Adam(loop.model.parameters()).load_state_dict(loop.optimizer.state_dict())
                pace = Pace(loop.optimizer)
            moved = loop.step()
        loop.moved = moved
    assert all(torch.equal(move, loops[1].moved[name]) for name, move in loops[0].moved.items())
    pace.detach()
    assert not loops[1].optimizer._optimizer_step_pre_hooks


def test_an_optimizer_without_a_learning_rate() -> None:
    loop = OwnLoop()
    loop.optimizer.param_groups[0]["lr"] = None
    with pytest.raises(NetmorphError, match="SGD works without a learning rate"):
        Pace(loop.optimizer)
