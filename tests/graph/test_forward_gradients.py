"""Forwards that take gradients: energies, scores, flows of Hamiltonians."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netmorph
from netmorph import Allow


class Net(nn.Module):
    """Three layers and a forward around them."""

    def __init__(self, run: Callable[..., Any], outputs: int = 1) -> None:
        super().__init__()
        self.run = run
        self.a, self.b, self.z = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, outputs)
        self.norm = nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Any:
        """`[N, 4]` -> whatever `run` makes of it."""
        return self.run(self, x)

    def energy(self, x: Tensor) -> Tensor:
        """`[N, 4]` -> `[N, 1]`."""
        result: Tensor = self.z(F.silu(self.b(torch.tanh(self.a(x)))))
        return result


def slope(net: Net, x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(net.energy(x).sum(), x, create_graph=net.training)[0]


def curvature(net: Net, x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        first = torch.autograd.grad(net.energy(x).sum(), x, create_graph=True)[0]
        return torch.autograd.grad(first.square().sum(), x)[0]


def flow(net: Net, x: Tensor) -> Tensor:
    there, back = slope(net, x).chunk(2, -1)
    return torch.cat([back, -there], -1)


def normed(net: Net, x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(net.z(net.b(net.norm(net.a(x))).relu()).sum(), x)[0]


def summed_over_channels(net: Net, x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        inside = net.b(net.a(x).tanh())
        return torch.autograd.grad(inside, x, torch.ones_like(inside))[0]


def with_respect_to_channels(net: Net, x: Tensor) -> Tensor:
    inside = net.a(x).tanh()
    with torch.enable_grad():
        inside = inside.detach().requires_grad_()
        step = torch.autograd.grad(net.z(net.b(inside).tanh()).square().sum(), inside)[0]
    result: Tensor = net.z(net.b(inside.detach() - 0.1 * step).tanh())
    return result


def transformed(net: Net, x: Tensor) -> Tensor:
    return torch.func.grad(lambda y: net.energy(y).sum())(x)


@pytest.mark.parametrize(
    ("run", "allow"),
    [
        (slope, (Allow.ANY, Allow.ANY)),
        (curvature, (Allow.ANY, Allow.ANY)),
        (flow, (Allow.ANY, Allow.ANY)),
        (normed, (Allow.UNIFORM, Allow.ANY)),
        (summed_over_channels, (Allow.ANY, Allow.INEXACT)),
        (with_respect_to_channels, (Allow.INEXACT, Allow.ANY)),
        (transformed, (Allow.INEXACT, Allow.INEXACT)),
    ],
)
def test_widths(run: Callable[..., Any], allow: tuple[Allow, Allow]) -> None:
    torch.manual_seed(0)
    model, x = Net(run).double(), torch.randn(3, 4).double()
    expected, other = model.eval()(x).detach(), torch.randn(7, 4).double()
    expected_other = model(other).detach()
    gradients = [parameter.grad for parameter in model.parameters()]
    graph = netmorph.trace(model, x)
    assert torch.allclose(graph.recording.result, expected, atol=1e-12)
    assert [parameter.grad for parameter in model.parameters()] == gradients
    for name, allowed in zip(("a", "b"), allow, strict=True):
        assert graph.group(name).allow == allowed, graph.group(name).reasons
        if allowed > Allow.INEXACT:
            width = 2 * graph.group(name).size if allowed is Allow.UNIFORM else 9
            way = netmorph.widenings.net2net if allowed is Allow.UNIFORM else netmorph.widenings.r2r
            graph = netmorph.apply(graph, netmorph.widen(graph, name, width, way))
            assert graph.journal[-1].error < 1e-12
    assert torch.allclose(model(other), expected_other, atol=1e-10)
    for name in ("a", "b"):
        graph = netmorph.apply(graph, netmorph.narrow(graph, name, range(3)))
    assert model(x).shape == expected.shape


def test_convolutions() -> None:
    class Energy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 1, 3)

        def forward(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                return torch.autograd.grad(self.last(F.elu(self.first(x))).sum(), x)[0]

    torch.manual_seed(0)
    graph = netmorph.trace(Energy().double(), torch.randn(2, 3, 6, 6).double())
    assert graph.group("first").allow == Allow.ANY
    graph = netmorph.apply(graph, netmorph.widen(graph, "first", 9))
    assert graph.journal[-1].error < 1e-12
