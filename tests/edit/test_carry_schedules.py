"""What stands around an optimizer goes on after an edit: learning-rate schedules, gradient scaling."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from nets import small, trained
from torch.optim import lr_scheduler as schedules

from netmorph import Graph, apply, narrow, residual, trace, widen

Optimizer = torch.optim.Optimizer
SCHEDULES: dict[str, Callable[[Optimizer], Any]] = {
    "one cycle": lambda o: schedules.OneCycleLR(o, [0.01, 0.1], total_steps=12),
    "cosine": lambda o: schedules.CosineAnnealingLR(o, T_max=12, eta_min=1e-5),
    "warm restarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, T_0=5),
    "cyclic": lambda o: schedules.CyclicLR(o, 1e-4, [0.01, 0.02], step_size_up=3, cycle_momentum=True),
    "lambda": lambda o: schedules.LambdaLR(o, [lambda step: 0.9**step, lambda step: 1 / (1 + step)]),
    "multiplicative": lambda o: schedules.MultiplicativeLR(o, lambda step: 0.9),
    "warm up, then decay": lambda o: schedules.SequentialLR(
        o, [schedules.LinearLR(o, total_iters=4), schedules.ExponentialLR(o, 0.8)], milestones=[4]
    ),
    "chained": lambda o: schedules.ChainedScheduler(
        [schedules.ConstantLR(o, total_iters=5), schedules.StepLR(o, 3, gamma=0.5)]
    ),
    "averaging": lambda o: torch.optim.swa_utils.SWALR(o, swa_lr=0.05, anneal_epochs=8),
}
OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.01, momentum=0.9),
    "adamw": lambda groups: torch.optim.AdamW(groups, lr=0.001),
}


def edit(graph: Graph, optimizer: Optimizer) -> None:
    graph = apply(graph, widen(graph, "0", 7), optimizer)
    graph = apply(graph, residual(graph, "2"), optimizer)
    apply(graph, narrow(graph, "4", [0, 2]), optimizer)


def run(optimizer: str, schedule: str, *, edits: bool) -> list[Any]:
    """What the schedule sets before each of 12 steps."""
    model, x = small()
    weights = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    steps = OPTIMIZERS[optimizer]([{"params": weights}, {"params": others, "weight_decay": 0.0}])
    scheduler = SCHEDULES[schedule](steps)
    told = []
    for step in range(12):
        if edits and step == 5:
            edit(trace(model, x), steps)
        told.append([{key: value for key, value in group.items() if key != "params"} for group in steps.param_groups])
        trained(model, x, steps, steps=1)
        scheduler.step()
    return told


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_schedule_goes_on_as_without_an_edit(optimizer: str, schedule: str) -> None:
    told = run(optimizer, schedule, edits=True)
    assert told == run(optimizer, schedule, edits=False)
    assert len({group["lr"] for groups in told for group in groups}) > 2


def test_one_cycle_goes_on_cycling_the_momentum() -> None:
    momenta = [groups[0]["momentum"] for groups in run("sgd", "one cycle", edits=True)]
    assert min(momenta) == pytest.approx(0.85, abs=0.01)
    assert max(momenta) == pytest.approx(0.95, abs=0.01)


def test_reducing_on_a_plateau_goes_on_counting() -> None:
    def rates(edits: bool) -> list[float]:
        model, x = small()
        optimizer = trained(model, x, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
        scheduler = schedules.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
        found = []
        for step in range(8):
            if edits and step == 2:
                edit(trace(model, x), optimizer)
            scheduler.step(1.0)
            found.append(optimizer.param_groups[0]["lr"])
        return found

    assert rates(True) == rates(False) == [0.1] * 3 + [0.05] * 3 + [0.025] * 2


def test_a_gradient_scaler_goes_on() -> None:
    model, x = small()
    model, x = model.float(), x.float()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=3)

    def step(target: float = 1.0) -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = (model(x) - target).square().mean()
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

    step()
    graph = trace(model, x)
    apply(graph, widen(graph, "0", 6), optimizer)
    before = model[0].weight.detach().clone()
    step()
    assert (model[0].weight != before).flatten(1).any(1).all()
    step()
    assert scaler.get_scale() == 16.0, "three good steps, one of them before the edit"
    before = model[0].weight.detach().clone()
    step(target=float("inf"))
    assert scaler.get_scale() == 8.0
    assert torch.equal(model[0].weight, before), "a step with infinite gradients is left out"
