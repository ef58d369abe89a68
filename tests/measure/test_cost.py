"""Costs against numbers counted by hand: one multiply-add is two FLOPs."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from netmorph import measure
from netmorph.errors import NetmorphError
from netmorph.measure.cost import Cost, cost, forward_flops, parameters, training_flops


@pytest.mark.parametrize(
    ("layer", "shape", "forward"),
    [
        (nn.Linear(3, 5), (3,), 2 * 3 * 5),
        (nn.Linear(3, 5, bias=False), (7, 3), 7 * 2 * 3 * 5),
        (nn.Conv1d(4, 6, 3), (4, 5), 2 * 3 * (6 * 4 * 3)),
        (nn.Conv2d(4, 8, 3, padding=1), (4, 6, 6), 2 * 36 * (8 * 4 * 9)),
        (nn.Conv2d(4, 8, 3, stride=2), (4, 7, 7), 2 * 9 * (8 * 4 * 9)),
        (nn.Conv2d(4, 8, 3, groups=2), (4, 6, 6), 2 * 16 * (8 * 2 * 9)),
        (nn.Conv2d(64, 64, 3, groups=64, padding=1), (64, 8, 8), 2 * 64 * (64 * 9)),
        (nn.Conv3d(2, 3, 2), (2, 4, 4, 4), 2 * 27 * (3 * 2 * 8)),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (4, 5, 5), 2 * 25 * (4 * 3 * 9)),
    ],
)
def test_a_layer_forward_and_backward(layer, shape, forward):
    count = sum(parameter.numel() for parameter in layer.parameters())
    # As the first layer: the gradient of its weight, and none of its input.
    assert cost(layer, torch.rand(2, *shape)) == Cost(count, forward, 2 * forward)
    # Behind another layer its input needs a gradient, too.
    first = nn.Conv2d(shape[0], shape[0], 1, groups=shape[0]) if len(shape) == 3 else nn.Linear(shape[-1], shape[-1])
    alone = cost(first, torch.rand(2, *shape))
    both = cost(nn.Sequential(first, layer), torch.rand(2, *shape))
    assert both.flops == alone.flops + forward
    assert both.training_flops == alone.training_flops + 3 * forward


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.project = nn.Linear(16, 16)

    def forward(self, tokens):
        heads = self.project(tokens).unflatten(-1, (2, 8)).transpose(1, 2)
        return functional.scaled_dot_product_attention(heads, heads, heads)


def test_scaled_dot_product_attention():
    project, products = 2 * 5 * 16 * 16, 2 * (2 * 5 * 5 * 8)
    forward = project + 2 * products
    # Backward: the scores again, and the gradients of scores, query, key and value.
    assert cost(Attention(), torch.rand(2, 5, 16)) == Cost(272, forward, forward + project + 5 * products)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_transformer_layer_is_not_hidden_by_its_fused_kernel(frozen):
    model = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).requires_grad_(not frozen)
    projections, mlp, attention = 4 * 2 * 5 * 16 * 16, 2 * 2 * 5 * 16 * 32, 2 * 2 * 5 * 5 * 16
    assert cost(model, torch.rand(2, 5, 16)).flops == projections + mlp + attention


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
def test_recurrent_layers(kind, gates):
    result = cost(kind(6, 7, batch_first=True), torch.rand(2, 5, 6))
    assert result.flops == gates * 2 * 5 * 7 * (6 + 7)
    assert result.training_flops >= 2 * result.flops


def test_frozen_layers_cost_no_weight_gradient():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].requires_grad_(False)
    assert cost(model, torch.rand(2, 4)).training_flops == 2 * 32 + (32 + 32)
    model.requires_grad_(False)
    assert cost(model, torch.rand(2, 4)).training_flops == 2 * 32


def test_shared_parameters_count_once():
    layer = nn.Linear(4, 4)
    assert parameters(nn.Sequential(layer, nn.ReLU(), layer)) == 20


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, one, other):
        return {"sum": self.layer(one) + self.layer(other), "text": "ignored"}


def test_several_inputs_and_structured_outputs():
    inputs = torch.zeros(4, 3), torch.zeros(4, 3)
    assert measure.flops(TwoInputs(), inputs) == 2 * 4 * 2 * 3 * 2
    assert training_flops(TwoInputs(), inputs) == 2 * 2 * 4 * 2 * 3 * 2


def test_the_model_and_the_random_state_are_left_as_they_were():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5), nn.Flatten(), nn.Linear(2, 2))
    model[1].eval()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    inputs = torch.rand(2, 1, 3, 3)
    random, fast_path = torch.get_rng_state(), torch.backends.mha.get_fastpath_enabled()

    with torch.no_grad():
        assert cost(model, inputs).training_flops > 0

    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert [parameter.grad is None for parameter in model.parameters()] == [False] + [True] * 5
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.backends.mha.get_fastpath_enabled() == fast_path


def test_a_shape_that_does_not_fit_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    with pytest.raises(NetmorphError, match=r"Sequential does not take a batch of shape \(2, 1, 8, 8\)"):
        cost(model, torch.rand(2, 1, 8, 8))
    assert model.training


class Nested(nn.Module):
    """Takes a structure of tensors and an option."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(4, 6), nn.Linear(3, 6)

    def forward(self, batch, *, scale=1.0):
        return (self.left(batch["x"]) + self.right(batch["others"][0])) * scale


@pytest.mark.parametrize(
    "inputs",
    [
        {"batch": {"x": torch.rand(5, 4), "others": [torch.rand(5, 3), "a name"]}},
        {"batch": {"x": torch.rand(5, 4), "others": (torch.rand(5, 3),)}, "scale": 2.0},
        ({"x": torch.rand(5, 4), "others": [torch.rand(5, 3)]},),
    ],
)
def test_inputs_by_keyword_and_nested(inputs):
    forward = 5 * 2 * 6 * (4 + 3)
    assert forward_flops(Nested(), inputs) == forward
    assert training_flops(Nested(), inputs) == 2 * forward
    assert cost(Nested(), inputs) == Cost(7 * 6 + 12, forward // 5, 2 * forward // 5)


def test_a_list_of_tensors_is_one_argument():
    class Images(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 6)

        def forward(self, images):
            return [self.layer(image) for image in images]

    images = [torch.rand(2, 4), torch.rand(6, 4)]
    assert cost(Images(), images) == Cost(30, 8 * 48 // 2, 2 * 8 * 48 // 2)


def test_inputs_without_a_batch_are_refused():
    with pytest.raises(NetmorphError, match="no tensor with a batch dimension"):
        cost(nn.Linear(2, 2), {"input": torch.tensor(1.0)})


def test_a_bilinear_layer_and_its_gradients():
    model, inputs = nn.Bilinear(4, 3, 5), (torch.rand(2, 4), torch.rand(2, 3))
    forward = 2 * 2 * (5 * 4 * 3 + 5 * 3)
    assert forward_flops(model, inputs) == forward
    # The gradient of the weight: the outer product of both inputs, summed with that of the result over the batch.
    assert training_flops(model, inputs) == forward + 2 * (2 * 5 * 4 * 3 + 2 * 5 * 4 * 3)
