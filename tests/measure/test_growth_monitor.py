"""What growth does to gradients, twins and the loss: against numbers worked out by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

import netmorph
from netmorph.edit import new_entries
from netmorph.errors import EditError, NetmorphError
from netmorph.graph import Graph
from netmorph.measure import GrowthMonitor, gradient_sizes, twin_distances
from netmorph.widenings import copied_pairs, net2net, r2r, unequal_split, zero


def network() -> tuple[nn.Module, Graph]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).double()
    return model, netmorph.trace(model, torch.randn(5, 2, 6, 6).double())


def backward(model: nn.Module) -> Tensor:
    x = torch.randn(5, 2, 6, 6, generator=torch.Generator().manual_seed(0)).double()
    model.zero_grad()
    loss = nn.functional.cross_entropy(model(x), torch.arange(5) % 3)
    loss.backward()
    return loss


def test_gradients_by_layer() -> None:
    model, graph = network()
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", 7, zero))
    backward(model)
    found = gradient_sizes(model, new_entries(graph))
    assert found.keys() == {"0", "3"}
    weight, bias = model[0].weight.grad, model[0].bias.grad
    old = torch.cat([weight[:4].flatten(), bias[:4]])
    assert found["0"].new == 0  # nobody reads these yet
    assert found["0"].old == pytest.approx(float(old.square().mean().sqrt()))
    columns = model[3].weight.grad.unflatten(1, (7, 16))
    assert found["3"].new == pytest.approx(float(columns[:, 4:].square().mean().sqrt()))
    rest = torch.cat([columns[:, :4].flatten(), model[3].bias.grad])  # the bias is as it was
    assert found["3"].old == pytest.approx(float(rest.square().mean().sqrt()))
    assert found["3"].ratio == pytest.approx(found["3"].new / found["3"].old)


def test_a_block_that_was_put_in_has_no_old_gradients() -> None:
    model, graph = network()
    graph = netmorph.apply(graph, netmorph.residual(graph, after="1"))
    backward(model)
    found = gradient_sizes(model, new_entries(graph))
    assert all(path.startswith("2") for path in found)
    assert all(math.isnan(sizes.old) and math.isnan(sizes.ratio) for sizes in found.values())
    assert twin_distances(graph) == {}


@pytest.mark.parametrize("method", [r2r, net2net, unequal_split, copied_pairs])
def test_twins_are_equal_at_first_and_unrelated_if_drawn_anew(method: netmorph.widenings.Widening) -> None:
    model, graph = network()
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", 8, method))
    assert twin_distances(graph) == {"0": 0}
    torch.manual_seed(1)
    for name in ("0.weight", "0.bias"):
        nn.init.normal_(model.get_parameter(name))
    assert twin_distances(graph)["0"] == pytest.approx(1, abs=0.2)


def test_the_distance_by_hand() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1)).double()
    graph = netmorph.trace(model, torch.randn(2, 1).double())
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", 3, net2net))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [2.0], [6.0]]))
    assert twin_distances(graph)["0"] == pytest.approx(math.sqrt(3 / 2 * (4 + 1 + 9) / (1 + 4 + 36)))


def test_channels_that_were_never_equal_have_no_distance() -> None:
    _, graph = network()
    assert twin_distances(netmorph.apply(graph, netmorph.widen(graph, "0", 8, zero))) == {}


@pytest.mark.parametrize(("method", "step"), [(r2r, 2), (net2net, None)])
def test_a_monitor_tells_when_twins_come_apart(method: netmorph.widenings.Widening, step: int | None) -> None:
    model, graph = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    before = float(backward(model).detach())
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", 8, method), optimizer)
    monitor = GrowthMonitor(graph, before)
    assert math.isnan(monitor.jump)
    for _ in range(3):
        monitor.step(backward(model))
        optimizer.step()
    assert [reading.step for reading in monitor.readings] == [1, 2, 3]
    assert monitor.readings[0].loss == pytest.approx(before)
    assert monitor.jump == pytest.approx(max(reading.loss for reading in monitor.readings) - before)
    assert monitor.apart(1e-6) == {"0": step}
    written: dict[str, float] = {}

    class Writer:
        def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
            written[tag] = scalar_value

    monitor.log(Writer())
    assert written.keys() == {"loss", "gradient_ratio/0", "gradient_ratio/3", "twin_distance/0"}
    assert written["gradient_ratio/0"] > 0


def test_some_steps_are_spared() -> None:
    model, graph = network()
    monitor = GrowthMonitor(netmorph.apply(graph, netmorph.widen(graph, "0", 8)), every=3)
    looked = [monitor.step(backward(model)) is not None for _ in range(7)]
    assert looked == [True, False, False, True, False, False, True]


def test_what_is_refused() -> None:
    model, graph = network()
    with pytest.raises(EditError, match="what is new in this network is not known"):
        GrowthMonitor(graph)
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", 8))
    with pytest.raises(NetmorphError, match="a whole number of steps, at least 1, got 0"):
        GrowthMonitor(graph, every=0)
    monitor = GrowthMonitor(graph)
    with pytest.raises(NetmorphError, match="ask between backward and zero_grad"):
        monitor.step(1.0)
    netmorph.apply(graph, netmorph.widen(graph, "0", 9))
    with pytest.raises(NetmorphError, match=r"'0.weight' has the shape \(9, 2, 3, 3\) and its entries \(8, 2, 3, 3\)"):
        monitor.step(backward(model))
