"""What an edit puts in is computed in every mode, or the edit is refused."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import netmorph
from netmorph import EditError
from netmorph.edit.journal import load, save

# PyTorch says of its own ways that they are new, or old.
pytestmark = pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:`torch.jit.script` is dep")


class Classifier(nn.Module):
    """A transformer on vectors."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation=nn.ReLU())
        self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(8, 3)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """`[N, T, 8]` -> `[N, 3]`."""
        result: Tensor = self.head(self.encoder(x, src_key_padding_mask=mask)[:, 0])
        return result


def classifier() -> Classifier:
    torch.manual_seed(0)
    model = Classifier()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


INPUTS = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[False] * 5, [False] * 3 + [True] * 2, [False] * 5])


def both(model: nn.Module, *inputs: Tensor) -> tuple[Tensor, Tensor]:
    """With gradients, and without them, where PyTorch may take a fused path."""
    with torch.no_grad():
        without: Tensor = model.eval()(*inputs)
    return model(*inputs), without


@pytest.mark.parametrize("inputs", [(INPUTS,), (INPUTS, MASK)])
@pytest.mark.parametrize("place", ["dropout", "dropout1", "dropout2", "activation"])
def test_inside_a_fused_layer(place: str, inputs: tuple[Tensor, ...]) -> None:
    model = classifier()
    path = f"encoder.layers.1.{place}"
    before = both(model, *inputs)[1]
    graph = netmorph.trace(model, inputs)
    graph = netmorph.apply(graph, netmorph.residual(graph, path))
    assert torch.allclose(both(model, *inputs)[1], before, atol=1e-5)
    with torch.no_grad():
        for parameter in model.get_submodule(f"{path}.1").parameters():
            parameter.add_(torch.randn(parameter.shape))
    with_gradients, without = both(model, *inputs)
    assert torch.allclose(with_gradients, without, atol=1e-4)
    assert not torch.allclose(without, before, atol=1e-2)
    assert torch.equal(both(copy.deepcopy(model), *inputs)[1], without)


def test_it_is_kept_in_files_and_taken_back_by_undo(tmp_path: object) -> None:
    model = classifier()
    layer = model.encoder.layers[0]
    kept = layer.activation_relu_or_gelu
    graph = netmorph.trace(model, INPUTS)
    graph = netmorph.apply(graph, netmorph.residual(graph, "encoder.layers.0.dropout1"))
    assert layer.activation_relu_or_gelu == 0
    file = f"{tmp_path}/n.safetensors"
    save(file, model, graph.journal)
    other, _ = load(file, Classifier)
    assert torch.equal(both(other, INPUTS)[1], both(model, INPUTS)[1])
    assert other.encoder.layers[0].activation_relu_or_gelu == 0
    netmorph.apply(graph, netmorph.undo(graph))
    assert layer.activation_relu_or_gelu == kept


class Own(nn.Module):
    """Goes past its activation in one mode."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode, self.a, self.act, self.z = mode, nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, 4]` -> `[N, 2]`."""
        mode = {"training": self.training, "gradients": torch.is_grad_enabled() and not self.training}
        y = self.a(x)
        result: Tensor = self.z(F.relu(y) if mode.get(self.mode, False) else self.act(y))
        return result


@pytest.mark.parametrize(("mode", "told"), [("training", "training mode"), ("gradients", "eval mode with gradients")])
def test_a_forward_of_the_user_that_goes_past_it(mode: str, told: str) -> None:
    model, x = Own(mode), torch.randn(3, 4)
    graph = netmorph.trace(model, x)
    with pytest.raises(EditError, match=f"'act' would be skipped in {told}, where Own computes"):
        netmorph.apply(graph, netmorph.residual(graph, "act"))
    assert type(model.act) is nn.ReLU
    netmorph.apply(graph, netmorph.residual(graph, "a"))


def test_what_training_leaves_out_at_random_is_not_refused() -> None:
    class Skips(Own):
        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            result: Tensor = self.z(y if self.training and torch.rand(()) < 0.5 else self.act(y))
            return result

    graph = netmorph.trace(Skips(""), torch.randn(3, 4))
    netmorph.apply(graph, netmorph.residual(graph, "act"))


def test_inside_a_script() -> None:
    model = nn.Sequential(nn.Linear(4, 6), torch.jit.script(nn.Sequential(nn.Linear(6, 6), nn.ReLU())), nn.Linear(6, 2))
    graph = netmorph.trace(model, torch.randn(3, 4))
    with pytest.raises(EditError, match="'1' is a scripted module"):
        netmorph.residual(graph, "1.0")
    netmorph.apply(graph, netmorph.residual(graph, "1"))
