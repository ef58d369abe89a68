"""Networks as people use them: torchvision's, where it is installed."""

from types import ModuleType

import pytest
import torch
from architectures import randomized
from checks import EXACT, outputs, relative
from torch import Tensor, nn

from netmorph import apply, identity, narrow, residual, widen
from netmorph.edit import places
from netmorph.graph import Allow, Role, trace
from netmorph.testing import check_attributes, masked_outputs
from netmorph.testing.rules import INEXACT
from netmorph.widenings import WIDENINGS

# Image sizes as small as the networks take.
SIZES = {
    "resnet18": 32,
    "vgg11_bn": 32,
    "densenet121": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "inception_v3": 299,  # its auxiliary head, which runs in training, takes nothing smaller
    "resnext50_32x4d": 32,
    "googlenet": 32,
}
METHODS = [method for name, method in WIDENINGS.items() if name not in INEXACT]


def models() -> ModuleType:
    return pytest.importorskip("torchvision.models")


def build(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    extra = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
    model = getattr(models(), name)(num_classes=3, **extra)
    size = SIZES[name]
    return randomized(model).double().eval(), torch.randn(1, 3, size, size).double()


def lighter(name: str) -> tuple[nn.Module, Tensor]:
    """The same network with fewer repetitions, or without the head that needs most time or memory."""
    if name == "inception_v3":
        model = models().inception_v3(num_classes=3, init_weights=False, aux_logits=False)
        return randomized(model).double().eval(), torch.randn(1, 3, 75, 75).double()
    if name == "densenet121":
        model = models().DenseNet(growth_rate=8, block_config=(2, 3, 2, 2), num_init_features=16, num_classes=3)
        return randomized(model).double().eval(), torch.randn(1, 3, 32, 32).double()
    model, x = build(name)
    if name == "vgg11_bn":
        model.classifier = (
            nn.Sequential(nn.Linear(512 * 49, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3)).double().eval()
        )
    return model, x


@pytest.mark.parametrize("name", SIZES)
def test_torchvision(name: str) -> None:
    model, x = lighter(name)
    graph = trace(model, x)
    frozen = [group for group in graph.groups.values() if group.allow < Allow.ANY]
    ends = {"the model's input", "the model's output"}
    assert all(set(group.reasons) <= ends for group in frozen), [str(group) for group in frozen]
    free = [group.name for group in graph.editable(Allow.ANY)]
    before = outputs(model, x)
    for number in range(3):
        group = graph.group(free[(1 + 2 * number) * len(free) // 6])
        graph = apply(graph, widen(graph, group.name, group.size + 2, METHODS[number], seed=number))
    name = free[len(free) // 2]
    writer = dict(model.named_modules()).get(name)
    place = [path for path in places(graph) if model.get_submodule(path).__class__ is nn.BatchNorm2d][2]
    graph = apply(graph, residual(graph, place, hidden=2, kernel=1))
    graph = apply(graph, identity(graph, place, kernel=1))
    assert relative(before, outputs(model, x)) <= EXACT[torch.float64]
    group = graph.group(next((path for path, module in model.named_modules() if module is writer), name))
    masked = masked_outputs(graph, {group.name: range(1, group.size)})
    apply(graph, narrow(graph, group.name, range(1, group.size)))
    assert relative(masked, outputs(model, x)) <= EXACT[torch.float64]
    check_attributes(model)


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_every_group_of_torchvision(name: str) -> None:
    model, x = build(name)
    before = outputs(model, x)
    graph = trace(model, x)
    for number, group in enumerate(graph.editable(Allow.ANY)):
        assert group.where(Role.READ)
        graph = apply(graph, widen(graph, group.name, group.size + 3, METHODS[number % len(METHODS)], seed=number))
        assert relative(before, outputs(model, x)) <= EXACT[torch.float64], str(group)
    check_attributes(model)
