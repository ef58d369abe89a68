"""How fast to learn after growth."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

import netmorph
from netmorph import EditError
from netmorph.errors import NetmorphError
from netmorph.graph import Graph
from netmorph.policy.learning_rate import HELD, Pace, divide, parameter_ratio, unchanged, warm_up
from netmorph.train.optimizer_state import pack_optimizer, unpack_optimizer


class Loop:
    """A user's own loop."""

    def __init__(self, build: Callable[..., torch.optim.Optimizer] = torch.optim.SGD, **options: Any) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2)).double()
        self.x, self.y = torch.randn(8, 4, dtype=torch.float64), torch.arange(8) % 2
        self.optimizer = build(self.model.parameters(), **({"lr": 0.1} | options))

    def step(self) -> dict[str, Tensor]:
        """One step; by how much it moved each parameter."""
        before = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(self.model(self.x), self.y).backward()
        self.optimizer.step()
        return {name: p.detach() - before[name] for name, p in self.model.named_parameters()}

    def grow(self, group: str = "0", to: int = 8) -> Graph:
        graph = netmorph.trace(self.model, self.x)
        return netmorph.apply(graph, netmorph.widen(graph, group, to), self.optimizer)

    def twin(self) -> "Loop":
        """The same model and optimizer state in other objects, without a pace."""
        other = copy.deepcopy(self)
        other.optimizer = type(self.optimizer)(other.model.parameters(), lr=0.1)
        other.optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))
        return other


def test_dividing_is_dividing_the_learning_rate() -> None:
    loop = Loop(momentum=0.9)
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
        loop, told, used = Loop(), [], []
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
    loop = Loop()
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


def test_a_step_that_fails_changes_neither_rate_nor_warm_up() -> None:
    def fail() -> float:
        raise KeyboardInterrupt

    loops = [Loop(momentum=0.9), Loop(momentum=0.9)]
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


def test_narrowing_keeps_the_rate() -> None:
    loop = Loop()
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
    loop = Loop(OPTIMIZERS[optimizer], lr=0.01)
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
    loop = Loop(torch.optim.Adam, lr=0.01)
    loop.step()
    pace, graph = Pace(loop.optimizer), netmorph.trace(loop.model, loop.x)
    graph = netmorph.apply(graph, netmorph.residual(graph, "1"), loop.optimizer)
    warm_up(10)(pace, graph)
    moved = loop.step()
    assert 0 < float(moved["1.1.body.0.weight"].abs().max()) <= 0.01 / 10 * 1.001
    assert float(moved["0.weight"].abs().max()) > 0.005


def test_an_inserted_block_has_no_state_before_its_first_step() -> None:
    """Adam takes any state for its own, and could not load it."""
    loop = Loop(torch.optim.Adam, lr=0.01)
    graph = netmorph.trace(loop.model, loop.x)
    warm_up(10)(Pace(loop.optimizer), netmorph.apply(graph, netmorph.residual(graph, "1"), loop.optimizer))
    torch.optim.Adam(loop.model.parameters()).load_state_dict(loop.optimizer.state_dict())
    assert not any(loop.optimizer.state.values())


def test_without_momentum_it_is_carried_from_the_first_step_on() -> None:
    loop = Loop()
    pace = Pace(loop.optimizer)
    warm_up(4)(pace, loop.grow("0", 8))
    loop.step()
    loop.grow("2", 8)
    held = loop.optimizer.state[loop.model.get_parameter("2.weight")][HELD]
    assert held[:6, 6:].eq(0.75).all()


def test_a_second_edit_while_the_first_warms_up() -> None:
    loop = Loop(torch.optim.Adam, lr=0.01)
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
    loop = Loop(torch.optim.Adam)
    loop.step()
    pace, graph = Pace(loop.optimizer), loop.grow()
    warm_up(4)(pace, graph)
    loop.step()
    netmorph.undo(graph, loop.optimizer)
    assert all(state[HELD].eq(0).all() for state in loop.optimizer.state.values() if HELD in state)
    assert loop.step()["0.weight"].shape == (6, 4)


def test_a_checkpoint_goes_on_where_it_was() -> None:
    loop = Loop(torch.optim.Adam)
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
    loop = Loop(optimizer)
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
    loop = Loop()
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
    loop = Loop()
    loop.model.bfloat16()
    loop.x = loop.x.bfloat16()
    pace, graph = Pace(loop.optimizer), loop.grow()
    warm_up(1000)(pace, graph)
    loop.step()
    weight = loop.model.get_parameter("0.weight")
    assert float(loop.optimizer.state[weight][HELD].max()) == pytest.approx(0.999)
    assert loop.optimizer.state[weight][HELD].dtype is torch.float32


def test_several_optimizers() -> None:
    loop = Loop()
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
    loop = Loop(torch.optim.Adam)
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
    loop = Loop()
    for parameter in loop.model[0].parameters():  # type: ignore[index]
        parameter.requires_grad_(False)
    loop.optimizer = torch.optim.SGD([p for p in loop.model.parameters() if p.requires_grad], 0.1)
    pace = Pace(loop.optimizer)
    warm_up(3)(pace, loop.grow())
    assert loop.step()["0.weight"].abs().max() == 0


def test_bad_input() -> None:
    loop = Loop()
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
    with pytest.raises(NetmorphError, match="hold none of the model's parameters"):
        warm_up(3)(Pace(Loop().optimizer), loop.grow())
    with pytest.raises(EditError, match="takes the graph that apply returned"):
        warm_up(3)(Pace(loop.optimizer), netmorph.trace(loop.model, loop.x))


def test_an_optimizer_without_a_learning_rate() -> None:
    loop = Loop()
    loop.optimizer.param_groups[0]["lr"] = None
    with pytest.raises(NetmorphError, match="SGD works without a learning rate"):
        Pace(loop.optimizer)
