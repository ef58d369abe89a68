"""Random numbers in eval mode: what they are drawn for is never exact, all else is, and is checked."""

import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netmorph
from netmorph import Allow, EditError
from netmorph.testing import check_groups

STREAM = np.random.default_rng(0)


class Net(nn.Module):
    """Two layers inside, a forward around them."""

    def __init__(self, run: Callable[..., Any]) -> None:
        super().__init__()
        self.run, self.width = run, 5
        self.a, self.b, self.z = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 2)
        self.mine, self.own = torch.Generator().manual_seed(3), np.random.default_rng(3)

    def forward(self, x: Tensor) -> Any:
        """`[N, 4]` -> `[N, 2]`."""
        return self.run(self, x)


DRAWS: dict[str, Callable[..., Any]] = {
    "randn_like": lambda n, x: n.z((y := n.b(n.a(x).relu())) + torch.randn_like(y)),
    "dropout": lambda n, x: n.z(F.dropout(n.b(n.a(x).relu()), 0.5, training=True)),
    "dropout of maps": lambda n, x: n.z(F.dropout1d(n.b(n.a(x).relu())[..., None], 0.5, training=True)[..., 0]),
    "bernoulli": lambda n, x: n.z(n.b(n.a(x).relu()).sigmoid().bernoulli()),
    "reparametrized": lambda n, x: n.z(torch.distributions.Normal(n.b(n.a(x).relu()), 1.0).rsample()),
    "gumbel": lambda n, x: n.z(F.gumbel_softmax(n.b(n.a(x).relu()))),
    "a shape": lambda n, x: n.z(n.b(n.a(x).relu()) * torch.rand(len(x), n.width).to(x)),
    "a stream of its own": lambda n, x: n.z((y := n.b(n.a(x).relu())) + torch.randn(y.shape, generator=n.mine).to(y)),
}
ELSEWHERE: dict[str, Callable[..., Any]] = {
    "a noise of maps": lambda n, x: n.z((n.b(n.a(x).relu()) + torch.randn(len(x), 1).to(x)).relu()),
    "a factor of NumPy's": lambda n, x: n.z(n.b(n.a(x).relu())) * np.random.rand(),  # noqa: NPY002
    "a factor of Python's": lambda n, x: n.z(n.b(n.a(x).relu())) * random.random(),
    "a stream of NumPy's": lambda n, x: n.z(n.b(n.a(x).relu())) * n.own.standard_normal(),
    "an order": lambda n, x: n.z(n.b(n.a(x).relu())[torch.randperm(len(x))]),
}


@pytest.mark.parametrize("name", DRAWS)
def test_what_is_drawn_for_channels(name: str) -> None:
    torch.manual_seed(0)
    model, x = Net(DRAWS[name]).double(), torch.randn(3, 4).double()
    graph = check_groups(model, x)
    assert graph.group("b").allow == Allow.INEXACT
    assert any(
        "random numbers are drawn" in reason and "test_noise.py" in reason for reason in graph.group("b").reasons
    )
    assert graph.group("a").allow == Allow.ANY
    graph = netmorph.trace(model, x)
    graph = netmorph.apply(graph, netmorph.widen(graph, "a", 9))
    assert graph.journal[-1].error < 1e-12
    graph = netmorph.apply(graph, netmorph.narrow(graph, "b", [0, 2, 4]))
    netmorph.apply(graph, netmorph.widen(graph, "b", 7, netmorph.widenings.random_pad))
    assert model(x).shape == (3, 2)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_is_drawn_for_no_channels(name: str) -> None:
    torch.manual_seed(0)
    model, x = Net(ELSEWHERE[name]).double(), torch.randn(3, 4).double()
    graph = netmorph.trace(model, x)
    for group in ("a", "b"):
        assert graph.group(group).allow == Allow.ANY
        graph = netmorph.apply(graph, netmorph.widen(graph, group, 9))
        assert graph.journal[-1].error < 1e-12


def test_streams_are_where_they_were() -> None:
    model, x = Net(DRAWS["a stream of its own"]), torch.randn(3, 4)
    state, own = model.mine.get_state(), model.own.bit_generator.state
    netmorph.trace(model, x)
    assert torch.equal(model.mine.get_state(), state)
    assert model.own.bit_generator.state == own


def test_an_autoencoder_that_samples() -> None:
    def run(n: Net, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = n.b(n.a(x).relu()).split([2, 3], -1)
        return n.z(torch.cat([mean + torch.randn_like(mean) * log_variance[:, :2].exp(), mean, mean[:, :1]], -1)), mean

    model, x = Net(run).double(), torch.randn(3, 4).double()
    graph = netmorph.trace(model, x)
    graph = netmorph.apply(graph, netmorph.widen(graph, "a", 12))
    assert graph.journal[-1].error < 1e-12


@pytest.mark.parametrize(
    "run",
    [
        lambda n, x: n.z(n.b(n.a(x).relu())) * (1 + time.perf_counter_ns() % 1000),
        lambda n, x: n.z(n.b(n.a(x).relu())) + torch.tensor(STREAM.standard_normal()),
    ],
)
def test_what_never_repeats_is_told_from_a_wrong_rule(run: Callable[..., Any]) -> None:
    model, x = Net(run), torch.randn(3, 4)
    graph = netmorph.trace(model, x)
    with pytest.raises(EditError, match="two runs of the same network on the same inputs differ"):
        netmorph.apply(graph, netmorph.widen(graph, "a", 9))
    assert model.a.out_features == 6


def test_lengths_that_noise_decides_are_those_of_the_trace() -> None:
    """A predictor of durations that samples: an exact edit is checked on what the graph's own forward drew."""

    def run(net: Net, x: Tensor) -> Tensor:
        y = net.a(x).relu()
        lengths = (y.mean(-1) + torch.rand(len(x)).to(x) * 4).ceil().clamp(1, 6).long()
        return net.z(net.b(y.repeat_interleave(lengths, 0)).relu())

    torch.manual_seed(0)
    graph = netmorph.trace(Net(run).double().eval(), torch.randn(7, 4, dtype=torch.float64))
    for step in range(3):
        torch.manual_seed(step)
        torch.rand(step + 1)
        state = torch.get_rng_state()
        graph = netmorph.apply(graph, netmorph.widen(graph, "b", graph.group("b").size + 1))
        assert graph.journal[-1].error < 1e-12
    assert torch.equal(netmorph.graph.record.record(graph.model, graph.inputs).streams.torch, torch.get_rng_state())
    assert not torch.equal(graph.recording.streams.torch, state)
