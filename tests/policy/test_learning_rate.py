"""How fast to learn after growth."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

import netmorph
from netmorph import EditError
from netmorph.errors import NetmorphError
from netmorph.policy.learning_rate import divide, parameter_ratio, rise, unchanged, warm_up
from netmorph.train.pace import HELD, Pace
from tests.train.own_loop import OwnLoop


def test_dividing_is_dividing_the_learning_rate() -> None:
    loop = OwnLoop(momentum=0.9)
    loop.step()
    plain, pace = loop.twin(), Pace(loop.optimizer)
    divide(4)(pace, loop.grow())
    netmorph_grown = plain.grow()
    assert netmorph_grown.journal
    plain.optimizer.param_groups[0]["lr"] = 0.025
    for _ in range(3):
        moved, expected = loop.step(), plain.step()
        assert all(torch.equal(moved[name], expected[name]) for name in expected)
    assert loop.optimizer.param_groups[0]["lr"] == 0.1  # the schedule's


@pytest.mark.parametrize(
    "schedule",
    [
        lambda optimizer: OneCycleLR(optimizer, 0.1, total_steps=12),
        lambda optimizer: CosineAnnealingLR(optimizer, 12, eta_min=0.01),
        lambda optimizer: ReduceLROnPlateau(optimizer, patience=2),
    ],
)
def test_schedules_go_on_as_without_a_pace(schedule: Callable[[torch.optim.Optimizer], Any]) -> None:
    def rates(factor: float) -> tuple[list[float], list[float]]:
        loop, told, used = OwnLoop(), [], []
        follows, pace = schedule(loop.optimizer), Pace(loop.optimizer)
        used_now = loop.optimizer.register_step_pre_hook(lambda o, *_: used.append(o.param_groups[0]["lr"]))
        for step in range(10):
            if step == 4:
                divide(1 / factor)(pace, loop.grow())
            loop.step()
            follows.step(1.0) if isinstance(follows, ReduceLROnPlateau) else follows.step()
            told.append(loop.optimizer.param_groups[0]["lr"])
        used_now.remove()
        return told, used

    (plain, plainly), (told, used) = rates(1.0), rates(0.25)
    assert told == plain
    assert used == plainly[:4] + [0.25 * rate for rate in plainly[4:]]


def test_factors_multiply_and_ratios_of_several_edits_are_that_of_the_whole() -> None:
    loop = OwnLoop()
    pace, start = Pace(loop.optimizer), sum(p.numel() for p in loop.model.parameters())
    for group, to in (("0", 9), ("2", 8), ("0", 12)):
        parameter_ratio(pace, loop.grow(group, to))
    graph = netmorph.trace(loop.model, loop.x)
    parameter_ratio(pace, netmorph.apply(graph, netmorph.residual(graph, "1"), loop.optimizer))
    now = sum(p.numel() for p in loop.model.parameters())
    assert loop.optimizer.param_groups[0]["pace"] == pytest.approx(start / now)
    unchanged(pace, loop.grow("0", 13))
    divide(2)(pace, loop.grow("0", 14))
    assert loop.optimizer.param_groups[0]["pace"] == pytest.approx(start / now / 2)


def test_narrowing_keeps_the_rate() -> None:
    loop = OwnLoop()
    graph = netmorph.trace(loop.model, loop.x)
    parameter_ratio(Pace(loop.optimizer), netmorph.apply(graph, netmorph.narrow(graph, "0", [1, 2]), loop.optimizer))
    assert loop.optimizer.param_groups[0]["pace"] == 1


OPTIMIZERS: dict[str, Any] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "fused": lambda parameters, lr: torch.optim.AdamW(parameters, lr, fused=True),
    "foreach": lambda parameters, lr: torch.optim.NAdam(parameters, lr, foreach=True),
    "rmsprop": torch.optim.RMSprop,
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_new_entries_take_the_share_of_the_step_that_they_have_warmed_up_to(optimizer: str) -> None:
    loop = OwnLoop(OPTIMIZERS[optimizer], lr=0.01)
    loop.step()
    pace, graph = Pace(loop.optimizer), loop.grow("0", 8)
    warm_up(4)(pace, graph)
    new = netmorph.edit.new_entries(graph)
    for step in (1, 2, 3, 4, 5):
        free = copy.deepcopy(loop)  # a copied optimizer has no hooks, so this is the whole step
        for group in free.optimizer.param_groups:
            for parameter in group["params"]:
                free.optimizer.state.get(parameter, {}).pop(HELD, None)
        whole, moved = free.step(), loop.step()
        for name, move in moved.items():
            share = torch.where(new.get(name, torch.tensor(False)), min(1, step / 4), 1.0)
            torch.testing.assert_close(move, share * whole[name], rtol=1e-6, atol=1e-12)
    assert not any(HELD in state for state in loop.optimizer.state.values())
    assert not {"warm_up_steps", "warm_up_left"} & loop.optimizer.param_groups[0].keys()


def test_an_inserted_block_warms_up_from_its_first_step() -> None:
    loop = OwnLoop(torch.optim.Adam, lr=0.01)
    loop.step()
    pace, graph = Pace(loop.optimizer), netmorph.trace(loop.model, loop.x)
    graph = netmorph.apply(graph, netmorph.residual(graph, "1"), loop.optimizer)
    warm_up(10)(pace, graph)
    moved = loop.step()
    assert 0 < float(moved["2.body.0.weight"].abs().max()) <= 0.01 / 10 * 1.001
    assert float(moved["0.weight"].abs().max()) > 0.005


def test_a_second_edit_while_the_first_warms_up() -> None:
    loop = OwnLoop(torch.optim.Adam, lr=0.01)
    loop.step()
    pace = Pace(loop.optimizer)
    warm_up(4)(pace, loop.grow("0", 8))
    loop.step()
    loop.step()
    warm_up(4)(pace, loop.grow("2", 8))
    weight = loop.model.get_parameter("2.weight")  # reads the group "0" and writes the group "2"
    held = loop.optimizer.state[weight][HELD]
    assert held[:6, :6].eq(0).all()
    assert held[:6, 6:].eq(0.5).all()
    assert held[6:].eq(1).all()
    for _ in range(4):
        loop.step()
    assert not any(HELD in state for state in loop.optimizer.state.values())


def test_undo_while_it_warms_up() -> None:
    loop = OwnLoop(torch.optim.Adam)
    loop.step()
    pace, graph = Pace(loop.optimizer), loop.grow()
    warm_up(4)(pace, graph)
    loop.step()
    netmorph.apply(graph, netmorph.undo(graph), loop.optimizer)
    assert all(state[HELD].eq(0).all() for state in loop.optimizer.state.values() if HELD in state)
    assert loop.step()["0.weight"].shape == (6, 4)


def test_the_whole_rate_warms_up_again_and_the_schedule_stays() -> None:
    loop = OwnLoop()
    pace, used = Pace(loop.optimizer), []
    loop.optimizer.register_step_pre_hook(lambda optimizer, *_: used.append(optimizer.param_groups[0]["lr"]))
    graph = loop.grow()
    rise(4)(pace, graph)
    divide(2)(pace, graph)
    for _ in range(3):
        loop.step()
    other = OwnLoop()  # a new process
    other.grow()
    Pace(other.optimizer)
    other.optimizer.load_state_dict(loop.optimizer.state_dict())
    other.optimizer.register_step_pre_hook(lambda optimizer, *_: used.append(optimizer.param_groups[0]["lr"]))
    for _ in range(2):
        other.step()
    assert used == pytest.approx([0.0125, 0.025, 0.0375, 0.05, 0.05])
    assert other.optimizer.param_groups[0]["lr"] == 0.1
    assert not {"rate_warm_up_steps", "rate_warm_up_left"} & other.optimizer.param_groups[0].keys()


def test_bad_input() -> None:
    loop = OwnLoop()
    for given in (loop.model, [], [loop.model]):
        with pytest.raises(NetmorphError, match="made of the optimizer"):
            Pace(given)  # type: ignore[arg-type]
    for factor in (0, -1, float("nan"), float("inf")):
        with pytest.raises(NetmorphError, match="above 0"):
            divide(factor)
        with pytest.raises(NetmorphError, match="above 0"):
            Pace(loop.optimizer).scale(factor)
    for steps in (0, -3, 2.5, True):
        with pytest.raises(NetmorphError, match="whole number of steps"):
            warm_up(steps)  # type: ignore[arg-type]
        with pytest.raises(NetmorphError, match="whole number of steps"):
            rise(steps)  # type: ignore[arg-type]
    with pytest.raises(NetmorphError, match="hold none of the model's parameters"):
        warm_up(3)(Pace(OwnLoop().optimizer), loop.grow())
    with pytest.raises(EditError, match="takes the graph that apply returned"):
        warm_up(3)(Pace(loop.optimizer), netmorph.trace(loop.model, loop.x))
