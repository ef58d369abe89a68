"""Rank edits: exact at full rank, the nearest weight below it, and back by merging."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import output, small, trained
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from netmorph import EditError, LoadError, apply, factorize, load, merge, narrow, save, shallow, trace, widen, zoo
from netmorph.edit import FACTORINGS, Factoring, kernel_first, pointwise_first

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(5, 7), (3, 5)),
    "linear on tokens": (lambda: nn.Linear(7, 5, bias=False), (3, 4, 7)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=1), (2, 4, 9)),
    "conv2d": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(2, 0), dilation=(1, 2)), (2, 4, 8, 8)),
    "conv2d same": (lambda: nn.Conv2d(4, 6, 3, padding="same", bias=False), (2, 4, 6, 6)),
    "conv2d circular": (lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), (2, 4, 6, 6)),
    "conv2d grouped": (lambda: nn.Conv2d(6, 4, 3, groups=2), (2, 6, 6, 6)),
    "conv2d depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4), (2, 4, 6, 6)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2), (2, 2, 4, 4, 4)),
}


def one(name: str) -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    return nn.Sequential(make(), nn.Tanh()).double(), torch.randn(shape).double()


def full_rank(layer: nn.Module, method: Factoring) -> int:
    """By hand, for one group."""
    weight, groups = layer.weight, getattr(layer, "groups", 1)
    out, within, kernel = len(weight) // groups, weight.shape[1], weight[0, 0].numel()
    return min(out, within * kernel) if method is kernel_first else min(out * kernel, within)


@pytest.mark.parametrize("method", FACTORINGS.values(), ids=FACTORINGS)
@pytest.mark.parametrize("name", LAYERS)
def test_full_rank_is_exact_and_merges_back(name: str, method: Factoring) -> None:
    model, x = one(name)
    before, text, weight = output(model, x), repr(model), model[0].weight.detach().clone()
    rank = full_rank(model[0], method)
    graph = trace(model, x)
    edit = factorize(graph, "0", rank, method)
    assert edit.plan(graph).exact
    graph = apply(graph, edit)
    assert torch.allclose(output(model, x), before, rtol=0, atol=1e-12)
    assert model[0][0].weight.shape[0] == rank * getattr(model[0][0], "groups", 1)
    with pytest.raises(EditError, match=f"rank of '0.1' must be a whole number from 1 to .*got {10**6}"):
        factorize(graph, "0.1", 10**6)
    graph = apply(graph, merge(graph, "0"))
    assert torch.allclose(output(model, x), before, rtol=0, atol=1e-12)
    assert torch.allclose(model[0].weight, weight, rtol=0, atol=1e-12)
    assert repr(model) == text


@pytest.mark.parametrize("method", FACTORINGS.values(), ids=FACTORINGS)
def test_below_full_rank_it_is_the_nearest_weight(method: Factoring) -> None:
    model, x = one("conv2d same")
    weight = model[0].weight.detach().clone()
    matrix = weight.flatten(1) if method is kernel_first else weight.movedim(1, -1).flatten(0, -2)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    nearest = left[:, :2] @ values[:2].diag() @ right[:2]
    graph = trace(model, x)
    edit = factorize(graph, "0", 2, method)
    assert not edit.plan(graph).exact
    assert edit.describe()["left_out_error"] == pytest.approx(float(values[2:].norm() / values.norm()))
    graph = apply(graph, edit)
    assert graph.journal[-1].error > 1e-3
    apply(graph, merge(graph, "0"))
    found = model[0].weight.detach()
    found = found.flatten(1) if method is kernel_first else found.movedim(1, -1).flatten(0, -2)
    assert torch.allclose(found, nearest, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_exact_at_the_rank_that_a_weight_has(dtype: torch.dtype) -> None:
    model, x = one("linear")
    model, x = model.to(dtype), x.to(dtype)
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(7, 2, dtype=dtype) @ torch.randn(2, 5, dtype=dtype))
    graph = trace(model, x)
    assert factorize(graph, "0", 2).plan(graph).exact
    assert not factorize(graph, "0", 1).plan(graph).exact
    # More rank than the weight has: the spare channels are read with zeros.
    graph = apply(graph, factorize(graph, "0", 5))
    assert graph.journal[-1].error < (1e-12 if dtype is torch.float64 else 1e-6)
    assert bool(torch.isfinite(model[0][0].weight).all())


def test_a_weight_that_is_not_finite() -> None:
    model, x = one("linear")
    graph = trace(model, x)
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    with pytest.raises(EditError, match="the weight of '0' holds numbers that are not finite"):
        factorize(graph, "0", 1)


def test_a_weight_of_zeros() -> None:
    model, x = one("linear")
    nn.init.zeros_(model[0].weight)
    graph = trace(model, x)
    graph = apply(graph, factorize(graph, "0", 1))
    assert graph.journal[-1].error == 0


def test_the_channels_between_are_a_group() -> None:
    model, x = small()
    graph = trace(model, x)
    graph = apply(graph, factorize(graph, "3", 3))
    before = output(model, x)
    assert graph.group("3.0").size == 3
    graph = apply(graph, widen(graph, "3.0", 5))
    assert torch.allclose(output(model, x), before, rtol=0, atol=1e-12)
    graph = apply(graph, narrow(graph, "3.0", [0, 1]))
    assert (model[3][0].out_channels, model[3][1].in_channels) == (2, 2)


def test_new_weights_train_from_the_start_and_the_bias_goes_on() -> None:
    model, x = small()
    optimizer = trained(model, x, torch.optim.Adam(model.parameters()))
    graph = trace(model, x)
    bias = model[3].bias
    graph = apply(graph, factorize(graph, "3", 2), optimizer)
    first, second = model[3]
    assert second.bias is bias
    assert optimizer.state[bias]["step"] == 2
    assert first.weight not in optimizer.state
    assert second.weight not in optimizer.state
    before = [p.detach().clone() for p in model[3].parameters()]
    trained(model, x, optimizer, steps=1)
    assert all(bool((p != b).any()) for p, b in zip(model[3].parameters(), before, strict=True))
    # The first step of a new weight under Adam is one learning rate, not more.
    assert (first.weight - before[0]).abs().max() <= 1e-3 * (1 + 1e-6)
    apply(graph, merge(graph, "3"), optimizer)
    assert model[3].bias is bias
    assert {id(p) for p in optimizer.param_groups[0]["params"]} == {id(p) for p in model.parameters()}


def test_a_moving_average_gets_the_same_basis() -> None:
    model, x = small()
    average = deepcopy(model)
    with torch.no_grad():
        for parameter in average.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    before = output(average, x)
    graph = trace(model, x)
    apply(graph, factorize(graph, "3", 3), copies=[average])
    assert torch.allclose(output(average, x), before, rtol=0, atol=1e-12)
    assert torch.equal(average[3][1].weight, model[3][1].weight)


CHAINS: dict[str, tuple[Callable[[], list[nn.Module]], tuple[int, ...]]] = {
    "linear": (lambda: [nn.Linear(3, 4), nn.Linear(4, 2)], (5, 3)),
    "linear, one bias": (lambda: [nn.Linear(3, 4), nn.Linear(4, 2, bias=False)], (5, 3)),
    "1x1 behind": (lambda: [nn.Conv2d(2, 5, 3, stride=2, padding=1), nn.Conv2d(5, 3, 1, stride=2)], (2, 2, 9, 9)),
    "1x1 before": (lambda: [nn.Conv2d(2, 5, 1, bias=False), nn.Conv2d(5, 3, 3, padding=1)], (2, 2, 6, 6)),
    "1x1 with a bias before": (lambda: [nn.Conv1d(2, 5, 1), nn.Conv1d(5, 3, 3, stride=2)], (2, 2, 8)),
    "reflected": (lambda: [nn.Conv1d(2, 5, 1), nn.Conv1d(5, 3, 3, padding=1, padding_mode="reflect")], (2, 2, 8)),
    "depthwise first": (lambda: [nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 3, 1)], (2, 4, 6, 6)),
    "equal groups": (lambda: [nn.Conv2d(4, 6, 3, groups=2), nn.Conv2d(6, 4, 1, groups=2)], (2, 4, 6, 6)),
    "identity between": (lambda: [nn.Linear(3, 4), nn.Identity(), nn.Linear(4, 2)], (5, 3)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_merging_any_two_layers_in_a_row(name: str) -> None:
    torch.manual_seed(0)
    make, shape = CHAINS[name]
    model = nn.Sequential(*make(), nn.Tanh()).double()
    x = torch.randn(shape).double()
    before = output(model, x)
    graph = trace(model, x)
    graph = apply(graph, merge(graph, "0"))
    assert torch.allclose(output(model, x), before, rtol=0, atol=1e-12)
    assert sum(type(layer) is not nn.Identity for layer in model) == 2
    if name == "equal groups":
        assert model[0].groups == 2


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3)], "one of two convolutions must be 1x1"),
        ([nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 3, padding=1)], "no bias where the next one pads"),
        ([nn.Conv2d(2, 2, 1, stride=2), nn.Conv2d(2, 2, 3)], "must not stride"),
        ([nn.Conv2d(2, 2, 3, padding="same"), nn.Conv2d(2, 2, 1, stride=2)], "goes with no stride"),
        ([nn.Conv2d(2, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 1)], "'1' is a ReLU"),
        ([nn.Conv2d(2, 2, 3)], "no layer behind '0'"),
    ],
)
def test_what_cannot_be_merged(layers: list[nn.Module], message: str) -> None:
    graph = trace(nn.Sequential(*layers), torch.randn(2, 2, 8, 8))
    with pytest.raises(EditError, match=message):
        merge(graph, "0")


def test_a_layer_used_twice_cannot_be_merged() -> None:
    shared = nn.Linear(3, 3)
    graph = trace(nn.Sequential(shared, nn.Linear(3, 3), nn.Tanh(), shared), torch.randn(2, 3))
    with pytest.raises(EditError, match=r"'0' is used at several places \(0, 3\)"):
        merge(graph, "0")


@pytest.mark.parametrize("rank", [0, -1, 3, 1.0, None])
def test_impossible_ranks(rank: Any) -> None:
    model, x = small()
    with pytest.raises(EditError, match=r"rank of '3' must be a whole number from 1 to 3 \(kernel_first\), got"):
        factorize(trace(model, x), "3", 4 if rank == 3 else rank)


def test_weights_that_are_not_the_layers_own() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.weight = self.a.weight
            self.normed = parametrizations.weight_norm(nn.Linear(3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.normed(self.b(self.a(x)))

    graph = trace(Tied(), torch.randn(2, 3))
    with pytest.raises(EditError, match=r"the weight of 'b' is tied: a\.weight, b\.weight"):
        factorize(graph, "b", 1)
    with pytest.raises(EditError, match="'normed' is a ParametrizedLinear; rank edits work on"):
        factorize(graph, "normed", 1)
    with pytest.raises(EditError, match="no module 'c' to edit"):
        factorize(graph, "c", 1)


@pytest.mark.parametrize("path", ["0.linear1", "0.norm2", "0.self_attn.out_proj"])
def test_parts_that_are_read_without_being_called(path: str) -> None:
    """In eval mode, PyTorch's own encoder layer runs fused and would fail on `linear1.weight` much later."""
    model = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), nn.Linear(8, 2))
    graph = trace(model, torch.randn(2, 3, 8))
    with pytest.raises(EditError, match=rf"'{path}' cannot be replaced: \w+ reads its weights without calling it"):
        factorize(graph, path, 2)
    with pytest.raises(EditError, match="reads its weights without calling it"):
        shallow(graph, path)


def test_every_layer_of_a_residual_network(tmp_path: Path) -> None:
    shape = {"input_shape": (3, 8, 8), "classes": 3, "width": 0.25, "blocks": (1, 1), "channels": (8, 16)}
    torch.manual_seed(0)
    model, x = zoo.build("resnet", **shape).double(), torch.randn(2, 3, 8, 8).double()
    before = output(model, x)
    graph = trace(model, x)
    paths = [path for path, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    for number, path in enumerate(paths):
        method = (kernel_first, pointwise_first)[number % 2]
        graph = apply(graph, factorize(graph, path, full_rank(model.get_submodule(path), method), method))
    graph = apply(graph, widen(graph, "fc.0", 7))
    assert torch.allclose(output(model, x), before, rtol=0, atol=1e-10)
    graph = apply(graph, merge(graph, paths[2]))
    save(tmp_path / "net", model, graph.journal)
    again, journal = load(tmp_path / "net", lambda: zoo.build("resnet", **shape).double())
    assert torch.equal(output(again, x), output(model, x))
    assert repr(again) == repr(model)
    assert [entry.edit for entry in journal] == [entry.edit for entry in graph.journal]
    with pytest.raises(LoadError, match=r"another base: fc\.bias: \(3,\) when .*, \(4,\) in the given one; fc\.weight"):
        load(tmp_path / "net", lambda: zoo.build("resnet", **(shape | {"classes": 4})).double())
