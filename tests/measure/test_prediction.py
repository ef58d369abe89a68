"""Costs predicted from a graph are those counted on the network."""

import pytest
import torch
from torch import Tensor, nn

from netmorph import apply, measure, trace, zoo
from netmorph.edit import narrow_all
from netmorph.measure.cost import parameters
from netmorph.measure.prediction import predict_flops, predict_parameters


class Mixed(nn.Module):
    """Grouped, depthwise and transposed convolution, attention, products of activations and of plain parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.grouped = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 12, 3, groups=2, stride=2)
        self.depthwise, self.up = nn.Conv2d(12, 12, 3, groups=12), nn.ConvTranspose2d(12, 10, 2, stride=2)
        self.attention = nn.TransformerEncoderLayer(10, 2, 14, batch_first=True)
        self.matrix = nn.Parameter(torch.randn(10, 9))
        self.head = nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.depthwise(self.grouped(self.conv(x).relu()).relu()).relu())
        x = self.attention(x.flatten(2).transpose(1, 2))
        return self.head((x @ self.matrix).mean(1))


def networks() -> dict[str, tuple[nn.Module, Tensor]]:
    torch.manual_seed(0)
    small = {"mlp": {"width": 0.25}, "resnet": {"width": 0.5, "blocks": (1, 1, 1)}, "minivgg": {"width": 0.25}}
    nets: dict[str, nn.Module] = {name: zoo.build(name, (3, 16, 16), 4, **options) for name, options in small.items()}
    nets["mixed"] = Mixed()
    images = {name: (model, torch.randn(2, 3, 16, 16)) for name, model in nets.items()}
    text = {"channels": 12, "heads": 3, "depth": 2}
    gpts = {tied: zoo.build("gpt", (8,), 11, tied=tied, **text) for tied in (True, False)}
    return images | {f"gpt {tied=}": (model, zoo.example("gpt", (8,), 11)) for tied, model in gpts.items()}


@pytest.mark.parametrize("name", networks())
def test_before_and_after_an_edit(name: str) -> None:
    model, x = networks()[name]
    graph = trace(model, x)
    flops, scalars = predict_flops(graph), predict_parameters(graph)
    assert flops.at() == measure.flops(model, x)
    assert scalars.at() == parameters(model)
    kept = {group.name: range(0, group.size, 2) for group in graph.editable() if group.size > 2}
    sizes = {graph.group(name).atom: len(channels) for name, channels in kept.items()}
    assert len(sizes) >= 2
    expected = flops.at(sizes), scalars.at(sizes)
    graph = apply(graph, narrow_all(graph, kept))
    assert expected == (measure.flops(model, x), parameters(model))
    assert expected[0] < flops.at()
