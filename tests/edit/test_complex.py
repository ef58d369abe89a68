"""Complex numbers: compared, widened with complex numbers, carried by the optimizer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import netmorph
from netmorph.edit.difference import difference
from netmorph.graph import Allow, trace
from netmorph.testing import check_groups


class Squashed(nn.Module):
    """An activation of complex numbers that leaves their angles alone."""

    def forward(self, z: Tensor) -> Tensor:
        return z / (1 + z.abs())


def network(dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6, dtype=dtype), Squashed(), nn.Linear(6, 2, dtype=dtype))
    return model, torch.randn(3, 4, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("method", ["r2r", "zero", "net2net", "unequal_split"])
def test_widened_exactly_with_complex_numbers_and_trained_on(method: str, dtype: torch.dtype) -> None:
    model, x = network(dtype)
    optimizer = torch.optim.Adam(model.parameters())
    model(x).abs().sum().backward()
    optimizer.step()
    graph = trace(model, x)
    assert graph.group("0").allow == Allow.ANY
    before = model(x)
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", 9, netmorph.widenings.WIDENINGS[method]), optimizer)
    torch.testing.assert_close(model(x), before)
    assert graph.journal[-1].error < (1e-6 if dtype == torch.complex64 else 1e-14)
    fresh = model[0].weight[6:]
    assert fresh.dtype == dtype
    assert bool((fresh.imag != 0).all())
    state = optimizer.state[model[0].weight]
    assert state["exp_avg"].shape == state["exp_avg_sq"].shape == model[0].weight.shape
    assert bool((torch.view_as_real(state["exp_avg_sq"]) > 0).all())
    model(x).abs().sum().backward()
    optimizer.step()


def test_a_complex_network_in_all_ways() -> None:
    check_groups(*network(torch.complex64), strict=True)


def test_inputs_that_do_not_vary_become_random_complex_ones() -> None:
    model, x = network(torch.complex64)
    (used,) = trace(model, torch.zeros_like(x)).inputs
    assert used.dtype == torch.complex64
    assert bool((used.imag != 0).all())


def test_the_imaginary_part_counts() -> None:
    one = torch.tensor([1 + 1j, 2 - 2j])
    assert difference(one, one.clone()) == 0
    assert difference(one, one.conj()) == pytest.approx(4 / abs(2 - 2j))
    assert difference(one, torch.complex(one.real, one.imag * torch.nan)) != 0
