"""Scales of fresh weights from data: the numbers that were asked for come out."""

import math

import pytest
import torch
from torch import Tensor, nn

import netmorph
from netmorph import EditError, Samples
from netmorph.edit import gradmax, keep_gradients, new_entries, same_rms
from netmorph.graph import Graph
from netmorph.widenings import Widening, copied_pairs, lemon, r2r, random_pad, rms_pad, zero


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def network(act: type[nn.Module] = nn.ReLU) -> tuple[nn.Module, Graph, Samples]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), act(), nn.Conv2d(6, 5, 3), act(), nn.Flatten(), nn.Linear(20, 3)
    ).double()
    batches = [(torch.randn(16, 2, 6, 6).double(), torch.arange(16) % 3) for _ in range(2)]
    graph = netmorph.trace(model, batches[0][0])
    return model, graph, Samples(graph, batches, loss)


@pytest.mark.parametrize("act", [nn.ReLU, nn.Tanh])
@pytest.mark.parametrize("method", [r2r, random_pad, zero])
def test_fresh_channels_have_the_rms_of_the_old_ones(method: Widening, act: type[nn.Module]) -> None:
    model, graph, samples = network(act)
    edit = same_rms(netmorph.widen(graph, "3", 11, method), samples, rounds=6)
    graph = netmorph.apply(graph, edit)
    seen = Samples(graph, samples.batches, loss).seen["3", "6.weight", 1]
    squares = seen.second_moments.diagonal()
    old = squares[:5].mean().sqrt()
    assert all(value == pytest.approx(float(old), rel=0.01) for value in squares[5:].sqrt().tolist())
    assert model[3].weight[5:].std() > 0


def test_copies_have_it_and_stay_copies() -> None:
    model, graph, samples = network()
    graph = netmorph.apply(graph, same_rms(netmorph.widen(graph, "3", 9, copied_pairs), samples))
    rows = model.get_parameter("3.weight").detach()
    assert all(any(torch.equal(row, old) for old in rows[:5]) for row in rows[5:])
    assert graph.journal[-1].error < 1e-12


def old_gradients(model: nn.Module, graph: Graph, samples: Samples) -> dict[str, Tensor]:
    """float64: summed over batches, of the old entries alone."""
    model.zero_grad()
    for batch in samples.batches:
        loss(model.eval(), batch).backward()
    new = new_entries(graph) if graph.journal else {}
    return {
        name: (p.grad if name not in new else p.grad[~new[name]]).flatten()
        for name, p in model.named_parameters()
        if p.grad is not None
    }


@pytest.mark.parametrize("method", [random_pad, rms_pad])
@pytest.mark.parametrize("change", [1e-3, 1e-2])
def test_the_old_weights_gradients_change_by_the_share(method: Widening, change: float) -> None:
    model, graph, samples = network(nn.Tanh)
    edit = netmorph.widen(graph, "0", 9, method)
    silent = netmorph.apply(graph, keep_gradients(edit, samples, change=1e-12))
    before = torch.cat([*old_gradients(model, silent, samples).values()])
    graph = netmorph.apply(silent, netmorph.undo(silent))
    graph = netmorph.apply(graph, keep_gradients(edit, samples, change))
    after = torch.cat([*old_gradients(model, graph, samples).values()])
    assert float((after - before).norm() / before.norm()) == pytest.approx(change, rel=0.05)


@pytest.mark.parametrize("method", [r2r, copied_pairs, zero])
def test_exact_ways_that_leave_old_weights_leave_their_gradients(method: Widening) -> None:
    model, graph, samples = network(nn.Tanh)
    before = old_gradients(model, graph, samples)
    after = old_gradients(model, netmorph.apply(graph, netmorph.widen(graph, "0", 9, method)), samples)
    assert all(torch.allclose(after[name], gradient, rtol=1e-9, atol=1e-13) for name, gradient in before.items())


def test_they_are_never_louder_than_drawn() -> None:
    _, graph, samples = network()
    edit = netmorph.widen(graph, "0", 8, random_pad)
    loud, plain = keep_gradients(edit, samples, 1e6).plan(graph).tensors, edit.plan(graph).tensors
    assert all(torch.equal(loud[name], plain[name]) for name in plain)


def test_what_is_refused() -> None:
    _, graph, samples = network()
    pad = netmorph.widen(graph, "0", 8, random_pad)
    with pytest.raises(EditError, match="r2r is exact here: the scale of what reads new channels does nothing"):
        keep_gradients(netmorph.widen(graph, "0", 8), samples)
    with pytest.raises(EditError, match=r"gradients need a loss: Samples\(graph, batches, loss="):
        keep_gradients(pad, Samples(graph, samples.batches))
    with pytest.raises(EditError, match="there are no batches"):
        keep_gradients(pad, Samples(graph, [], loss))
    with pytest.raises(EditError, match="there are no batches"):
        same_rms(pad, Samples(graph, [], loss))
    with pytest.raises(EditError, match=f"a number above 0, got {math.inf}"):
        keep_gradients(pad, samples, math.inf)
    with pytest.raises(EditError, match="the old weights have no gradient"):
        keep_gradients(pad, Samples(graph, samples.batches, lambda model, batch: model(batch[0]).sum() * 0))
    rows = gradmax(graph, "0", 8, samples.batches, loss)
    with pytest.raises(EditError, match="gradmax gives the weights of its new channels"):
        same_rms(rows, samples)
    assert not graph.journal


def test_a_fitted_edit_has_rows_to_scale_as_well() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.RMSNorm(6), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)).double()
    x = torch.randn(32, 4).double()
    graph = netmorph.trace(model, x)
    edit = netmorph.edit.widen_all(graph, {"0": 8, "2": 9}, lemon)
    graph = netmorph.apply(graph, same_rms(edit, Samples(graph, [x])))
    assert graph.journal[-1].error < 1e-12
