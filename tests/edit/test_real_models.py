"""Depth, rank and undo on networks as people use them: torchvision's and timm's, where they are installed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import output
from torch import Tensor, nn

from netmorph import apply, factorize, identity, load, merge, residual, save, shallow, trace, undo
from netmorph.edit import copy_block, gradmax, linearize, pointwise_first, stack
from netmorph.graph import Graph

X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()
Step = tuple[bool, Callable[[Graph], Any]]  # whether it keeps the function


def loss(model: nn.Module, batch: Tensor) -> Tensor:
    return model(batch).square().mean()


def resnet18() -> nn.Module:
    model: nn.Module = pytest.importorskip("torchvision.models").resnet18(num_classes=5)
    return model


def vit() -> nn.Module:
    create = pytest.importorskip("timm").create_model
    options = {"img_size": 32, "patch_size": 8, "depth": 3, "embed_dim": 24, "num_heads": 3, "num_classes": 5}
    model: nn.Module = create("vit_tiny_patch16_224", **options)
    return model


def built(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    model = make().double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # nothing trivial that would hide an error
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model


STEPS: dict[str, tuple[Callable[[], nn.Module], list[Step]]] = {
    "resnet18": (
        resnet18,
        [
            (True, lambda graph: copy_block(graph, "layer1.0")),
            (False, lambda graph: stack(graph, "layer2.1")),
            (True, lambda graph: factorize(graph, "conv1", 3, pointwise_first)),
            (True, lambda graph: factorize(graph, "layer1.2.conv1", 64)),
            (False, lambda graph: factorize(graph, "layer1.2.conv2", 5)),
            (True, lambda graph: merge(graph, "layer1.2.conv1")),
            (True, lambda graph: gradmax(graph, "layer1.2.conv1", 67, [X], loss)),
            (True, lambda graph: identity(graph, "layer1.0", kernel=1, norm=True)),
            (False, lambda graph: linearize(graph, "layer3.1", [X])),
            (False, lambda graph: shallow(graph, "layer4.1", data=[X])),
        ],
    ),
    "vit": (
        vit,
        [
            (True, lambda graph: copy_block(graph, "blocks.0")),
            (False, lambda graph: stack(graph, "blocks.1")),
            (True, lambda graph: factorize(graph, "blocks.4.attn.qkv", 24)),
            (False, lambda graph: factorize(graph, "blocks.4.mlp.fc1", 5)),
            (True, lambda graph: factorize(graph, "patch_embed.proj", 24)),
            (True, lambda graph: merge(graph, "patch_embed.proj")),
            (True, lambda graph: residual(graph, "blocks.2")),
            (True, lambda graph: gradmax(graph, "blocks.5.mlp.fc1.0", 7, [X], loss)),
            (False, lambda graph: linearize(graph, "blocks.5", [X])),
        ],
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_edits_save_load_and_undo(name: str, tmp_path: Path) -> None:
    make, steps = STEPS[name]
    model = built(make)
    start, text = {key: tensor.clone() for key, tensor in model.state_dict().items()}, repr(model)
    graph = trace(model, X)
    for is_exact, step in steps:
        before = output(model, X)
        graph = apply(graph, step(graph))
        relative = (output(model, X) - before).abs().max() / before.abs().max()
        assert bool(relative <= 1e-10) or not is_exact, graph.journal[-1].edit
    save(tmp_path / "net", model, graph.journal)
    again, _ = load(tmp_path / "net", lambda: built(make))
    assert repr(again) == repr(model)
    assert torch.equal(output(again, X), output(model, X))
    while graph.journal:
        graph = apply(graph, undo(graph))
    assert repr(model) == text
    assert all(torch.equal(start[key], tensor) for key, tensor in model.state_dict().items())
