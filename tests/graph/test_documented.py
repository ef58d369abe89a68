"""What a layer of PyTorch's says of its sizes is true after an edit, whoever reads its tensors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netmorph import apply, trace
from netmorph.edit import widen_all
from netmorph.widenings import random_pad


class Flat(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T


class Rows(nn.Embedding):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight[: x.shape[1]]


class Parts(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        half = self.weight.shape[0] // 2
        return torch.cat([F.linear(x, self.weight[:half]), F.linear(x, self.weight[half:])], -1)


class Centred(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(-1, keepdim=True)) * self.weight + self.bias


class Running(nn.BatchNorm1d):
    def forward(self, x: Tensor) -> Tensor:
        return (x - self.running_mean) * self.weight


class Blocks(nn.GroupNorm):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight + self.bias


class Slopes(nn.PReLU):
    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, x * self.weight)


class Conv(nn.Conv1d):
    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bti,oi->bto", x, self.weight[:, :, 0])


class Transposed(nn.ConvTranspose1d):
    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight[:, :, 0]


class Pairs(nn.Bilinear):
    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bta,oac,btc->bto", x, self.weight, x)


class Attention(nn.MultiheadAttention):
    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (x @ self.in_proj_weight.T).unflatten(-1, (3, -1)).unbind(-2)
        return self.out_proj((q @ k.mT).softmax(-1) @ v)


# A layer between two others of 6 channels each, and what it says once both have 12.
LAYERS: dict[str, tuple[Callable[[], nn.Module], dict[str, object]]] = {
    "linear": (lambda: Flat(6, 6), {"in_features": 12, "out_features": 12}),
    "linear in parts": (lambda: Parts(6, 6), {"in_features": 12, "out_features": 12}),
    "embedding": (lambda: Rows(10, 6), {"num_embeddings": 10, "embedding_dim": 12}),
    "layer norm": (lambda: Centred(6), {"normalized_shape": (12,)}),
    "batch norm": (lambda: Running(6), {"num_features": 12}),
    "group norm": (lambda: Blocks(2, 6), {"num_channels": 12, "num_groups": 2}),
    "slopes": (lambda: Slopes(6), {"num_parameters": 12}),
    "convolution": (lambda: Conv(6, 6, 1), {"in_channels": 12, "out_channels": 12, "kernel_size": (1,)}),
    "transposed convolution": (lambda: Transposed(6, 6, 1), {"in_channels": 12, "out_channels": 12}),
    "bilinear": (lambda: Pairs(6, 6, 6), {"in1_features": 12, "in2_features": 12, "out_features": 12}),
    "attention": (lambda: Attention(6, 2, bias=False), {"embed_dim": 12, "kdim": 12, "vdim": 12}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_documented_sizes_are_true(name: str) -> None:
    make, wanted = LAYERS[name]
    layer = make()
    model = nn.Sequential(nn.Linear(4, 6), layer, nn.Linear(6, 2))
    graph = trace(model, torch.randn(2, 5, 4))
    widths = {group.name: 2 * group.size for group in graph.editable() if group.size in (3, 6)}
    apply(graph, widen_all(graph, widths, random_pad))
    assert {attribute: getattr(layer, attribute) for attribute in wanted} == wanted


def test_an_integer_that_nothing_reads_and_nobody_documents_stays() -> None:
    layer = Flat(4, 6)
    layer.seed = 6
    model = nn.Sequential(layer, nn.Linear(6, 2))
    graph = trace(model, torch.randn(3, 4))
    apply(graph, widen_all(graph, {"0": 9}))
    assert (layer.seed, layer.out_features) == (6, 9)
