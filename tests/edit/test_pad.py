"""A network padded with zero channels is that network, for as long as it is trained."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from netmorph import zoo
from netmorph.edit.pad import Padding, PaddingError, common_widths, padding, widths
from netmorph.edit.snapshot import tensors_of

OPTIMIZERS: dict[str, Callable] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1),
}


def convolutional(activation: type[nn.Module], width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), activation(), nn.MaxPool2d(2),
        nn.Conv2d(width, width + 1, 3), activation(), nn.Flatten(), nn.Linear(4 * (width + 1), 3),
    )  # fmt: skip


def resnet(width: float) -> nn.Module:
    return zoo.build("resnet", (1, 8, 8), 3, width=width)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    activation.__name__: (lambda a=activation: convolutional(a, 3), lambda a=activation: convolutional(a, 5))
    for activation in (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh)
} | {"resnet": (lambda: resnet(0.25), lambda: resnet(0.5))}


def padded(small: nn.Module, large: nn.Module, images: Tensor) -> Padding:
    return padding(small, images, common_widths([widths(small, images), widths(large, images)]))


def learn(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> Tensor:
    loss = functional.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_padded_entries_stay_zero_and_the_others_are_the_small_networks(network, optimizer):
    torch.manual_seed(0)
    small, large = (build().double() for build in NETWORKS[network])
    batches = [(torch.randn(6, 1, 8, 8).double(), torch.randint(3, (6,))) for _ in range(6)]
    found = padded(small, large, batches[0][0])
    wide = found.pad(small)
    assert {n: t.shape for n, t in tensors_of(wide).items()} == {n: t.shape for n, t in tensors_of(large).items()}
    optimizers = [OPTIMIZERS[optimizer](model.parameters()) for model in (small, wide)]
    for images, labels in batches:
        losses = [learn(m, o, images, labels) for m, o in zip((small, wide), optimizers, strict=True)]
        assert torch.allclose(*losses, rtol=1e-10)
    for name, parameter in wide.named_parameters():
        if name in found.real:
            assert torch.all(parameter[~found.real[name]] == 0), name
            assert torch.any(parameter[found.real[name]] != 0), name
    back = copy.deepcopy(small)
    found.cut({name: tensor.detach() for name, tensor in tensors_of(wide).items()}, back)
    for name, tensor in tensors_of(back).items():
        assert torch.allclose(tensor, tensors_of(small)[name], rtol=1e-8, atol=1e-10), name
    with torch.no_grad():
        assert torch.allclose(small.eval()(images), wide.eval()(images), rtol=1e-8, atol=1e-10)


def test_lenet_of_two_sizes():
    torch.manual_seed(0)
    small, large = (zoo.build("lenet5", (1, 28, 28), 10, width=width) for width in (0.5, 1.0))
    images, labels = torch.randn(4, 1, 28, 28), torch.randint(10, (4,))
    found = padded(small, large, images)
    wide = found.pad(small)
    assert repr(wide) == repr(large)
    optimizer = torch.optim.Adam(wide.parameters())
    for _ in range(3):
        learn(wide, optimizer, images, labels)
    assert all(torch.all(p[~found.real[name]] == 0) for name, p in wide.named_parameters() if name in found.real)


def test_pad_and_cut_give_the_same_bits_back_and_leave_the_model_alone():
    small = convolutional(nn.ReLU, 3)
    small.eval()
    images, before = torch.randn(4, 1, 8, 8), {name: tensor.clone() for name, tensor in tensors_of(small).items()}
    found = padded(small, convolutional(nn.ReLU, 5), images)
    wide = tensors_of(found.pad(small))
    other = convolutional(nn.ReLU, 3)
    found.cut(wide, other)
    for name, tensor in before.items():
        assert torch.equal(tensors_of(small)[name], tensor), name
        assert torch.equal(tensors_of(other)[name], tensor), name
    assert not small.training


def test_what_does_not_keep_zeros_zero_is_refused():
    images = torch.randn(4, 1, 8, 8)
    with pytest.raises(PaddingError, match=r"would not stay zero: .*'7.weight'|would not stay zero: .*'4.weight'"):
        padded(convolutional(nn.Sigmoid, 3), convolutional(nn.Sigmoid, 5), images)


class Shifted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1


@pytest.mark.parametrize("acting", [nn.Softplus, Shifted])
def test_constants_are_refused_too(acting):
    with pytest.raises(PaddingError, match="would not stay zero"):
        padded(convolutional(acting, 3), convolutional(acting, 4), torch.randn(4, 1, 8, 8))


@pytest.mark.parametrize("norm", [nn.LayerNorm, lambda width: nn.GroupNorm(1, width)])
def test_norms_over_the_channels_are_refused(norm):
    def build(width):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, width), norm(width), nn.Linear(width, 3))

    with pytest.raises(PaddingError, match="cannot be padded with zero channels"):
        padded(build(4), build(6), torch.randn(4, 1, 8, 8))


def test_other_architectures_have_no_common_widths():
    with pytest.raises(PaddingError, match="'1' is not in all of these networks"):
        common_widths([{"0": 3, "1": 4}, {"0": 3}])


def test_common_widths_are_the_largest():
    assert common_widths([{"0": 3, "1": 4}, {"0": 5, "1": 2}]) == {"0": 5, "1": 4}
