"""GradMax: the function is unchanged, and the new channels get the largest gradients."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from nets import output
from torch import Tensor, nn

from netmorph import EditError, WidthError, apply, trace, widen, zoo
from netmorph.edit import gradmax
from netmorph.widenings import Widening, r2r, random_pad, zero


def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def batches(*shape: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(shape, generator=generator).double(), torch.arange(shape[0]) % 3) for _ in range(2)]


class Two(nn.Module):
    """One producer, two consumers of one kind, an activation that works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(5, 4), nn.Linear(4, 3), nn.Linear(4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = nn.functional.relu_(self.a(x))
        return nn.functional.relu_(self.b(hidden)) + self.c(hidden).tanh()


MODELS: dict[str, tuple[Callable[[], nn.Module], str, list[str], tuple[int, ...]]] = {
    "perceptron": (lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)), "0", ["2"], (8, 5)),
    "tokens": (
        lambda: nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 6), nn.AvgPool1d(6), nn.Flatten()),
        "0",
        ["2"],
        (8, 3, 5),
    ),
    "two consumers": (Two, "a", ["b", "c"], (8, 5)),
    "resnet": (
        lambda: zoo.build("resnet", (3, 8, 8), 3, blocks=(1, 1), channels=(4, 8)),
        "stage2.0.conv1",
        ["stage2.0.conv2"],
        (6, 3, 8, 8),
    ),
    "strides": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, bias=False),
            nn.ReLU(),
            nn.Conv2d(4, 3, 2, stride=2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        ),
        "0",
        ["2"],
        (6, 2, 9, 9),
    ),
}


def gradient(model: nn.Module, consumers: list[str], old: int, data: Any) -> float:
    """The norm of the gradient of what reads the new channels."""
    weights = [model.get_parameter(f"{path}.weight") for path in consumers]
    total = [torch.zeros_like(weight) for weight in weights]
    model.eval()
    for batch in data:
        for sum_, part in zip(total, torch.autograd.grad(loss(model, batch), weights), strict=True):
            sum_ += part
    return float(torch.cat([part[:, old:].flatten() for part in total]).norm())


def build(name: str) -> tuple[nn.Module, str, list[str], list[tuple[Tensor, Tensor]]]:
    torch.manual_seed(0)
    make, group, consumers, shape = MODELS[name]
    return make().double(), group, consumers, batches(*shape)


@pytest.mark.parametrize("name", MODELS)
def test_exact_and_with_larger_gradients_than_other_ways(name: str) -> None:
    original, group, consumers, data = build(name)
    old = original.get_parameter(f"{group}.weight").shape[0]
    length = original.get_parameter(f"{group}.weight").flatten(1).norm(dim=1).mean()
    found: dict[str, float] = {}
    ways: dict[str, Widening | None] = {"gradmax": None, "zero": zero, "r2r": r2r, "random": random_pad}
    for way, method in ways.items():
        model = deepcopy(original)
        graph = trace(model, data[0][0])
        before = output(model, data[1][0])
        if method is None:
            graph = apply(graph, gradmax(graph, group, old + 2, data, loss))
            assert torch.allclose(output(model, data[1][0]), before, rtol=0, atol=1e-12)
            assert graph.journal[-1].edit["method"] == "gradmax"
        else:
            graph = apply(graph, widen(graph, group, old + 2, method))
        rows = model.get_parameter(f"{group}.weight")[old:]
        with torch.no_grad():  # the same norm of the rows for all, which is what the gradient scales with
            rows *= length / rows.flatten(1).norm(dim=1).reshape(-1, *[1] * (rows.dim() - 1))
        found[way] = gradient(model, consumers, old, data)
    assert found["gradmax"] > 1.1 * max(found[way] for way in ("zero", "r2r", "random"))


def test_the_directions_are_singular_vectors() -> None:
    """Without anything between, by hand: gradient of the composite matrix, and its first right singular vector."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.Identity(), nn.Linear(4, 3)).double()
    data = batches(8, 5)
    composite = torch.zeros(3, 5).double().requires_grad_()
    total = sum(nn.functional.cross_entropy(model(x) + x @ composite.T, target) for x, target in data)
    vector = torch.linalg.svd(torch.autograd.grad(total, composite)[0]).Vh[0]
    graph = trace(model, data[0][0])
    apply(graph, gradmax(graph, "0", 5, data, loss))
    row = model[0].weight.detach()[4]
    assert torch.allclose((row / row.norm()).abs(), vector.abs(), rtol=0, atol=1e-10)
    assert row.norm() == pytest.approx(float(model[0].weight.detach()[:4].norm(dim=1).mean()))
    assert not model[2].weight[:, 4].any()
    assert model[0].bias[4] == 0


def test_looking_at_data_leaves_the_model_alone() -> None:
    model, group, _, data = build("resnet")
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    graph = trace(model, data[0][0])
    with torch.no_grad():
        gradmax(graph, group, 10, data, loss)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(module.training and not module._forward_hooks for module in model.modules())


def test_frozen_weights_before_the_channels_do_not_matter() -> None:
    model, group, _, data = build("perceptron")
    model.requires_grad_(False)
    graph = trace(model, data[0][0])
    graph = apply(graph, gradmax(graph, group, 6, data, loss))
    assert graph.journal[-1].error < 1e-12
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("model", "group", "to", "message"),
    [
        (lambda: zoo.build("resnet", (3, 8, 8), 3, blocks=(1,), channels=(4,)), "conv1", 6, "needs a group with one"),
        (lambda: zoo.build("lenet5", (3, 12, 12), 3), "conv1", 99, "keep their size from 'conv1'"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(432, 4), nn.ReLU(), nn.Linear(4, 3)), "1", 9, "has rank 2"),
    ],
)
def test_what_it_cannot_do(model: Callable[[], nn.Module], group: str, to: int, message: str) -> None:
    torch.manual_seed(0)
    data = batches(6, 3, 12, 12) if group != "conv1" or to != 6 else batches(6, 3, 8, 8)
    graph = trace(model().double(), data[0][0])
    with pytest.raises(EditError, match=message):
        gradmax(graph, graph.group(group).name, to, data, loss)


def test_messages() -> None:
    model, group, _, data = build("perceptron")
    graph = trace(model, data[0][0])
    with pytest.raises(EditError, match="there are no batches to compute a gradient on"):
        gradmax(graph, group, 5, [], loss)
    with pytest.raises(WidthError, match="needs more than its 4 channels"):
        gradmax(graph, group, 4, data, loss)
