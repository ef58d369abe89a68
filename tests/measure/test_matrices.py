"""Which matrices the parameters of a network are."""

import pytest
import torch
from torch import Tensor, nn

import netmorph
from netmorph.measure.matrices import gradient_matrices, weight_matrices
from netmorph.measure.spectrum import SpectrumError


def shapes(network: nn.Module | netmorph.Graph) -> dict[str, tuple[int, ...]]:
    return {name: tuple(matrix.shape) for name, matrix in weight_matrices(network).items()}


def test_linear_layers_embeddings_and_no_vectors() -> None:
    model = nn.ModuleDict({"e": nn.Embedding(11, 4), "l": nn.Linear(4, 6), "n": nn.LayerNorm(6)})
    assert shapes(model) == {"e.weight": (11, 4), "l.weight": (6, 4)}


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv2d(3, 8, 5), {"weight": (8, 75)}),
        (nn.Conv1d(6, 4, 3, groups=2), {"weight[0]": (2, 9), "weight[1]": (2, 9)}),
        (nn.Conv2d(4, 4, 3, groups=4), {}),
        (nn.ConvTranspose2d(6, 8, 2), {"weight": (8, 24)}),
        (nn.ConvTranspose2d(6, 8, 2, groups=2), {"weight[0]": (4, 12), "weight[1]": (4, 12)}),
    ],
)
def test_convolutions_are_unfolded_along_their_outputs(layer: nn.Module, expected: dict[str, tuple[int, ...]]) -> None:
    assert shapes(layer) == expected


def test_a_transposed_convolution_has_the_rank_of_its_outputs() -> None:
    layer = nn.ConvTranspose2d(6, 8, 2)
    with torch.no_grad():
        layer.weight[:, 1:] = layer.weight[:, :1]
    assert torch.linalg.matrix_rank(weight_matrices(layer)["weight"]) == 1


def test_gates_are_matrices_of_their_own() -> None:
    found = shapes(nn.LSTM(5, 4, proj_size=3))
    assert found.pop("weight_hr_l0") == (3, 4)
    assert found == {f"weight_ih_l0[{n}]": (4, 5) for n in range(4)} | {f"weight_hh_l0[{n}]": (4, 3) for n in range(4)}
    assert shapes(nn.GRUCell(5, 4)) == {
        f"weight_{kind}[{n}]": (4, size) for kind, size in (("ih", 5), ("hh", 4)) for n in range(3)
    }


class Attention(nn.Module):
    """Three heads of four channels, by layers of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = 3
        self.q, self.k, self.v, self.out = nn.Linear(5, 12), nn.Linear(5, 12), nn.Linear(5, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        return self.out(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def test_a_graph_tells_the_heads() -> None:
    model = Attention()
    assert set(shapes(model).values()) == {(12, 5), (5, 12)}
    found = shapes(netmorph.trace(model, torch.randn(2, 6, 5)))
    rows = {f"{layer}.weight[{head}]": (4, 5) for layer in "qkv" for head in range(3)}
    assert found == rows | {f"out.weight[{head}]": (5, 4) for head in range(3)}


def test_of_pytorchs_own_attention() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 6, batch_first=True)
    alone, traced = shapes(layer), shapes(netmorph.trace(layer, torch.randn(2, 5, 8)))
    heads = {f"self_attn.in_proj_weight[{head}]": (4, 8) for head in range(6)}
    assert heads.items() <= alone.items()
    assert heads.items() <= traced.items()
    assert alone["self_attn.out_proj.weight"] == (8, 8)
    assert traced["self_attn.out_proj.weight[1]"] == (8, 4)


def test_what_a_flatten_reads_is_one_matrix() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 10))
    assert shapes(netmorph.trace(model, torch.randn(2, 3, 8, 8))) == {"0.weight": (4, 27), "2.weight": (10, 144)}


def test_gradients() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with pytest.raises(SpectrumError, match="no parameter has a gradient: measure after"):
        gradient_matrices(model)
    model(torch.randn(1, 4)).sum().backward()
    found = gradient_matrices(model)
    assert set(found) == {"0.weight", "2.weight"}
    assert torch.linalg.matrix_rank(found["0.weight"]) == 1  # of one sample


def test_what_is_no_network() -> None:
    with pytest.raises(SpectrumError, match="str has not"):
        weight_matrices("lenet5")  # type: ignore[arg-type]
