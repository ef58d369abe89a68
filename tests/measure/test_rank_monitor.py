"""Ranks in a user's own loop."""

import math

import pytest
import torch
from torch import nn

import netmorph
from netmorph.measure import NORMS, SPECTRAL, RankMonitor, SpectrumError, gradient_matrices


class Writer:
    """Keeps what TensorBoard would be told."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, int], float] = {}

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        self.told[tag, global_step] = scalar_value


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 2))


def test_it_looks_first_and_then_every_so_many_steps() -> None:
    monitor = RankMonitor(mlp(), every=3, at_most=None)
    looked = [monitor.step() is not None for _ in range(7)]
    assert looked == [True, False, True, False, False, True, False]
    assert [reading.step for reading in monitor.readings] == [1, 3, 6]
    assert monitor.readings[0].values["numerical_rank"] == {"0.weight": 4.0, "2.weight": 12.0, "4.weight": 2.0}


def test_it_waits_until_it_can_afford_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("netmorph.measure.rank_monitor.time.perf_counter", lambda: now[0])
    monitor = RankMonitor(mlp(), every=1, at_most=0.01)
    spectral = monitor._measures

    def costly(spectrum: object) -> float:
        now[0] += 1 / 3  # a second for the three matrices
        return 0.0

    spectral.clear()
    spectral["costly"] = costly
    steps = 0
    for _ in range(500):
        steps += monitor.step() is not None
        now[0] += 1.0
    assert steps == 5
    assert sum(reading.seconds for reading in monitor.readings) <= 0.0101 * now[0]


def test_a_collapse_is_told() -> None:
    model = mlp()
    monitor = RankMonitor(model, every=1, at_most=None)
    assert monitor.collapsed() == []
    monitor.step()
    assert monitor.collapsed() == []
    with torch.no_grad():
        model[2].weight[1:] = model[2].weight[:1]
    monitor.step()
    assert monitor.collapsed() == ["2.weight"]
    assert monitor.collapsed(0.01) == []
    assert monitor.collapsed(measure="stable_rank") == ["2.weight"]


def test_the_network_may_change_meanwhile() -> None:
    model = mlp()
    monitor = RankMonitor(model, every=1, at_most=None)
    monitor.step()
    graph = netmorph.trace(model, torch.randn(2, 4))
    netmorph.apply(graph, netmorph.widen(graph, "0", 20))
    monitor.step()
    assert monitor.readings[-1].values["numerical_rank"]["2.weight"] == 12.0
    assert monitor.collapsed() == []


def test_gradients_and_other_measures() -> None:
    model = mlp()
    monitor = RankMonitor(model, measures=SPECTRAL, matrices=gradient_matrices)
    with pytest.raises(SpectrumError, match="no parameter has a gradient"):
        monitor.step()
    model(torch.randn(3, 4)).sum().backward()
    reading = monitor.step()
    assert reading is not None
    assert set(reading.values) == set(SPECTRAL)
    assert reading.values["numerical_rank"]["0.weight"] <= 3


def test_norms_alone_need_no_whole_spectrum(monkeypatch: pytest.MonkeyPatch) -> None:
    model = mlp()
    whole = RankMonitor(model, every=1, at_most=None).look().values
    monkeypatch.setattr("torch.linalg.eigvalsh", None)
    monitor = RankMonitor(model, every=1, at_most=None, measures=NORMS)
    for _ in range(2):
        found = monitor.look().values
        for name in ("stable_rank", "spectral_norm"):
            assert found[name] == pytest.approx(whole[name], rel=2e-3)
    graph = netmorph.trace(model, torch.randn(2, 4))
    netmorph.apply(graph, netmorph.widen(graph, "0", 20))
    assert set(monitor.look().values) == set(NORMS)
    with torch.no_grad():
        model[2].weight[1:] = model[2].weight[:1]
    monitor.look()
    assert monitor.collapsed(measure="stable_rank") == ["2.weight"]


def test_scalars_for_tensorboard() -> None:
    monitor, writer = RankMonitor(mlp(), every=2, at_most=None), Writer()
    monitor.log(writer)
    assert not writer.told
    for _ in range(2):
        monitor.step()
    monitor.log(writer)
    assert writer.told["numerical_rank/0.weight", 2] == 4.0


def test_diverged_weights_are_named() -> None:
    model = mlp()
    nn.init.constant_(model[2].weight, math.nan)
    for measures in (SPECTRAL, NORMS):
        with pytest.raises(SpectrumError, match=r"'2\.weight' holds NaN"):
            RankMonitor(model, measures=measures).step()


@pytest.mark.parametrize("given", [{"every": 0}, {"at_most": 0.0}, {"at_most": 1.5}, {"measures": {}}])
def test_arguments_that_make_no_sense(given: dict[str, object]) -> None:
    with pytest.raises(SpectrumError, match="every is at least 1, at_most a share"):
        RankMonitor(mlp(), **given)
    with pytest.raises(SpectrumError, match="collapsed takes a share above 0"):
        RankMonitor(mlp()).collapsed(measure="other")


def test_a_network_without_matrices() -> None:
    with pytest.raises(SpectrumError, match="there is nothing to measure"):
        RankMonitor(nn.BatchNorm2d(3)).step()
