"""Layers behind activations, called as modules and as functions; everything in float64."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from netmorph import apply, identity, trace
from netmorph.policy.places import behind_activations
from netmorph.policy.proposals import Deepen

X = torch.linspace(-1, 1, 2 * 3 * 36, dtype=torch.float64).reshape(2, 3, 6, 6)


class Functional(nn.Module):
    """A convolution, its norm and a linear layer, each before an activation that is a function."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.hidden, self.head = nn.Linear(4, 6), nn.Linear(6, 2)
        self.activation = [activation]  # no module

    def forward(self, x: Tensor) -> Tensor:
        (activation,) = self.activation
        x = activation(self.norm(self.conv(x))).mean((2, 3))
        return self.head(activation(self.hidden(x)))


class Read(Functional):
    """What the hidden layer gives is read twice."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.hidden(self.norm(self.conv(x)).mean((2, 3)))
        return self.head(F.relu(x) + x)


class Twice(nn.Module):
    """One layer that is called twice, and only the last time before a ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.layer(self.layer(x.mean((2, 3))))))


@pytest.mark.parametrize(
    ("activation", "again"),
    [
        (F.relu, True),
        (torch.relu_, True),
        (F.relu6, True),
        (F.gelu, False),
        (F.silu, False),
        (torch.tanh, False),
        (F.hardswish, False),
        (lambda x: F.leaky_relu(x, 0.1), False),
    ],
)
def test_behind_the_layers_that_feed_a_function(activation: Callable[[Tensor], Tensor], again: bool) -> None:
    torch.manual_seed(0)
    model = Functional(activation).double().eval()
    before, graph = model(X), trace(model, X)
    assert behind_activations(graph) == {"norm": again, "hidden": again}
    generator, methods = np.random.default_rng(0), set()
    for _ in range(8):
        edit = Deepen()(graph, generator)
        assert edit is not None
        methods.add(edit.describe().method)
        graph = apply(graph, edit)
        torch.testing.assert_close(model(X), before, rtol=0, atol=1e-12)
    assert methods == ({"identity", "residual"} if again else {"identity", "residual"} & methods)
    assert "residual" in methods


def test_behind_the_module_where_it_is_one() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 2))
    assert behind_activations(trace(model, X.float())) == {"1": False, "4": True}


def test_an_identity_layer_before_a_function_begins_with_its_activation() -> None:
    model = Functional(F.relu).double().eval()
    graph = apply(trace(model, X), identity(trace(model, X), "hidden"))
    _, block = graph.model.get_submodule("hidden").children()
    assert [type(layer) for layer in block] == [nn.ReLU, nn.Linear]


@pytest.mark.parametrize("model", [Read(F.relu), Twice()])
def test_an_identity_layer_whose_features_others_read_is_linear(model: nn.Module) -> None:
    path = "layer" if isinstance(model, Twice) else "hidden"
    model = model.double().eval()
    before = model(X)
    graph = apply(trace(model, X), identity(trace(model, X), path))
    _, block = graph.model.get_submodule(path).children()
    assert [type(layer) for layer in block] == [nn.Linear]
    torch.testing.assert_close(model(X), before, rtol=0, atol=1e-12)
    edits = [Deepen()(graph, np.random.default_rng(seed)) for seed in range(8)]
    assert all(edit is not None and edit.describe().method == "residual" for edit in edits if edit.after == path)
