"""Which input an output needs."""

import numpy as np
import pytest
import torch
from torch import nn

from netmorph.solve import SolveError, required_input


@pytest.mark.parametrize(
    "activation", [nn.Identity(), nn.LeakyReLU(0.2), nn.Tanh(), nn.Sigmoid(), nn.Softplus(), nn.Softplus(beta=2.5)]
)
def test_square_layers_are_inverted(activation: nn.Module) -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(6, 6), activation, nn.Linear(6, 6, bias=False), activation).double()
    x = torch.randn(5, 6, dtype=torch.float64)
    found = required_input(layers, layers(x).detach())
    assert torch.allclose(found.input, x, atol=1e-7)
    assert float(found.residual.max()) < 1e-9
    assert found.rank == 6


def test_float32_layers_are_inverted_in_float64() -> None:
    torch.manual_seed(1)
    layer = nn.Linear(8, 8)
    wanted = torch.randn(3, 8)
    assert float(required_input(layer, wanted).residual.max()) < 1e-10


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 7), (7, 3)])
def test_other_layers_are_met_as_well_as_can_be(inputs: int, outputs: int) -> None:
    torch.manual_seed(2)
    layer = nn.Linear(inputs, outputs).double()
    wanted = torch.randn(4, outputs, dtype=torch.float64)
    found = required_input(layer, wanted)
    weight, target = layer.weight.detach().numpy(), (wanted - layer.bias.detach()).numpy()
    expected, squares, *_ = np.linalg.lstsq(weight, target.T, rcond=None)
    np.testing.assert_allclose(found.input.numpy(), expected.T, atol=1e-9)
    np.testing.assert_allclose(found.residual.numpy(), np.sqrt(squares) if len(squares) else 0, atol=1e-9)
    assert found.rank == 3
    assert found.condition == pytest.approx(np.linalg.cond(weight))


def test_a_singular_layer_tells_rank_and_residual() -> None:
    layer = nn.Linear(3, 3, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor([2.0, 1.0, 0.0])))
    found = required_input(layer, torch.tensor([[2.0, 1.0, 5.0], [4.0, 0.0, 0.0]]))
    assert found.rank == 2
    assert found.condition == pytest.approx(2)
    assert found.residual.tolist() == pytest.approx([5, 0])
    assert found.input.tolist() == [[1, 1, 0], [2, 0, 0]]


def test_a_direction_below_rounding_of_the_longer_side_is_none() -> None:
    layer = nn.Linear(64, 2, bias=False).double()
    with torch.no_grad():
        layer.weight.zero_()[0, 0] = 1.0
        layer.weight[1, 1] = (
            8 * torch.finfo(torch.float64).eps
        )  # rounding of 64 products may be as large, not that of 2
    assert required_input(layer, torch.ones(1, 2)).rank == 1


def test_what_has_no_inverse() -> None:
    with pytest.raises(SolveError, match=r"ReLU\(\) has no inverse here.*Layers that have one: Linear, Identity"):
        required_input(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), torch.ones(1, 2))
    with pytest.raises(SolveError, match=r"Tanh\(\) never gives some of the outputs asked for.* -3 to 0.5; clamp"):
        required_input(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), torch.tensor([[-3.0, 0.5]]))
    with pytest.raises(SolveError, match=r"gives \[B, 2\], an output \[1, 3\] was asked for"):
        required_input(nn.Linear(2, 2), torch.ones(1, 3))
    with pytest.raises(SolveError, match="its output does not depend on its input"):
        required_input(nn.utils.skip_init(nn.Linear, 2, 2).requires_grad_(False).apply(_zero), torch.ones(1, 2))


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        parameter.zero_()
