import re
import sys

import pytest
import torch
from torch import nn

from netmorph import zoo
from netmorph.zoo import ModelError

DIGITS, MNIST, CIFAR, TABLE = (1, 8, 8), (1, 28, 28), (3, 32, 32), (13,)
# See test_transformer.py and test_inception.py.
IMAGES = [name for name in zoo.MODELS if name != "gpt" and not name.startswith("inception")]


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        ("lenet5", MNIST, 61_706),
        ("lenet5", CIFAR, 83_126),
        ("minivgg", MNIST, 123_502),
        ("resnet", CIFAR, 195_738),
        ("resnet9", CIFAR, 6_573_120),
    ],
)
def test_published_parameter_counts(name, shape, count):
    assert parameters(zoo.build(name, shape, 10)) == count


@pytest.mark.parametrize("width", [0.25, 1])
@pytest.mark.parametrize(
    ("name", "shape"),
    [(name, shape) for name in IMAGES for shape in (MNIST, CIFAR, (2, 33, 20))]
    + [(name, DIGITS) for name in IMAGES if name != "minivgg"]
    + [("mlp", TABLE)],
)
def test_logits(name, shape, width):
    model = zoo.build(name, shape, 7, width=width)
    logits = model(torch.randn(2, *shape))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", IMAGES)
def test_each_activation_is_a_module_used_once(name):
    model = zoo.build(name, MNIST, 10, width=0.25)
    calls: dict[str, int] = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.ReLU):
            calls[path] = 0
            module.register_forward_hook(lambda *_, path=path: calls.update({path: calls[path] + 1}))
    model(torch.randn(2, *MNIST))
    assert calls
    assert set(calls.values()) == {1}


def test_layers_have_readable_names():
    names = [name for name, _ in zoo.lenet5(MNIST, 10).named_children()]
    expected = "conv1 relu1 pool1 conv2 relu2 pool2 flatten fc1 relu3 fc2 relu4 fc3"
    assert names == expected.split()


def test_width_scales_hidden_channels_only():
    model = zoo.lenet5(MNIST, 10, width=0.25)
    assert [model.conv1.out_channels, model.conv2.out_channels] == [2, 4]
    assert [model.fc1.out_features, model.fc2.out_features, model.fc3.out_features] == [30, 21, 10]
    assert zoo.lenet5(MNIST, 10, width=0.001).conv1.out_channels == 1


def test_lenet5_pads_its_second_convolution_on_small_maps_only():
    assert zoo.lenet5(DIGITS, 10).conv2.padding == (2, 2)
    assert zoo.lenet5(MNIST, 10).conv2.padding == (0, 0)


@pytest.mark.parametrize("side", range(4, 16))
def test_lenet5_takes_any_size_from_4x4(side):
    assert zoo.lenet5((1, side, side), 10)(torch.randn(1, 1, side, side)).shape == (1, 10)


def test_mlp_without_hidden_layers_is_linear():
    model = zoo.mlp(DIGITS, 10, hidden=())
    assert [name for name, _ in model.named_children()] == ["flatten", "fc1"]
    assert parameters(model) == 650


def test_mlp_of_a_table_with_one_target():
    model = zoo.build("mlp", TABLE, 1, hidden=(5,))
    assert parameters(model) == 13 * 5 + 5 + 5 + 1
    assert model(torch.randn(4, 13)).shape == (4, 1)


@pytest.mark.parametrize(
    "name",
    [*IMAGES, "gpt", pytest.param("inception_resnet_v2", marks=pytest.mark.slow)],  # 299x299 pixels
)
def test_examples_are_what_the_network_takes(name):
    takes = zoo.takes(name)
    model = zoo.build(name, takes.shape, takes.classes, width=0.125)
    inputs = zoo.example(name, takes.shape, takes.classes)
    assert inputs.shape == (2, *takes.shape)
    outputs = model(inputs)
    assert (len(outputs), outputs.shape[-1]) == (2, takes.classes)
    assert torch.equal(inputs, zoo.example(name, takes.shape, takes.classes))


def test_resnet_stages():
    model = zoo.resnet(CIFAR, 10, blocks=(1, 3), channels=(8, 24))
    assert [len(model.stage1), len(model.stage2)] == [1, 3]
    assert model.fc.in_features == 24


def test_building_has_no_side_effect_on_running_statistics():
    model = zoo.resnet9(CIFAR, 10, width=0.1)
    assert model.training
    assert model.prep.bn.num_batches_tracked == 0
    assert next(model.parameters()).device.type == "cpu"


def test_random_numbers_are_spent_on_the_weights_alone():
    torch.manual_seed(0)
    zoo.lenet5(MNIST, 10)
    after_network = torch.rand(1)
    torch.manual_seed(0)
    nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5), nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)
    assert torch.equal(after_network, torch.rand(1))


@pytest.mark.parametrize(("name", "smallest"), [("lenet5", 4), ("minivgg", 12), ("resnet9", 8)])
def test_too_small_images(name, smallest):
    zoo.build(name, (1, smallest, smallest), 2, width=0.1)
    side = smallest - 1
    with pytest.raises(ModelError, match=f"{name} .*at least {smallest}x{smallest} pixels, got {side}x{side}"):
        zoo.build(name, (1, side, side), 2, width=0.1)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("lenet55", MNIST, 10), {}, "no network 'lenet55' (did you mean 'lenet5'?); choose from mlp"),
        (("lenet5", (28, 28), 10), {}, "lenet5 takes images, whose input_shape is channels, height and width"),
        (("minivgg", TABLE, 10), {}, "minivgg takes images"),
        (("resnet", TABLE, 10), {}, "resnet takes images"),
        (("resnet9", TABLE, 10), {}, "resnet9 takes images"),
        (("lenet5", (0, 28, 28), 10), {}, "sizes of one input without the batch, at least 1 each"),
        (("mlp", (), 10), {}, "sizes of one input without the batch, at least 1 each"),
        (("lenet5", MNIST, 0), {}, "at least one output, got classes=0"),
        (("lenet5", MNIST, 10), {"width": 0}, "width must be a positive number"),
        (("lenet5", MNIST, 10), {"width": float("nan")}, "width must be a positive number"),
        (("lenet5", MNIST, 10), {"depth": 3}, "unexpected keyword argument 'depth'"),
        (("mlp", MNIST, 10), {"hidden": (5, 0)}, "channel counts must be at least 1, got [5, 0]"),
        (("resnet", MNIST, 10), {"blocks": (2, 2)}, "one positive number a stage"),
        (("resnet", MNIST, 10), {"blocks": (), "channels": ()}, "one positive number a stage"),
        (("no_such_module:net", MNIST, 10), {}, "no module 'no_such_module'"),
        (("netmorph.zoo:lenet", MNIST, 10), {}, "has no 'lenet' (did you mean 'lenet5'?)"),
        (("math:pi", MNIST, 10), {}, "math:pi is float, not a function"),
        (("builtins:dict", MNIST, 10), {}, "cannot be called with input_shape, classes"),
    ],
)
def test_errors(arguments, options, message):
    with pytest.raises(ModelError, match=re.escape(message)):
        zoo.build(*arguments, **options)


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A user's module, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", sys.path.copy())

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)

    return write


def test_own_network(own_module):
    own_module(
        "my_networks",
        "from torch import nn\n"
        "def net(input_shape, classes, depth=1):\n"
        "    channels, height, width = input_shape\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, classes * depth))\n",
    )
    model = zoo.build("my_networks:net", (1, 4, 4), 3, depth=2)
    assert model(torch.zeros(1, 1, 4, 4)).shape == (1, 6)


def test_own_module_that_does_not_import(own_module):
    own_module("broken_networks", "import no_such_dependency\n")
    with pytest.raises(ModelError, match=r"importing broken_networks failed.*no_such_dependency"):
        zoo.resolve("broken_networks:net")


def test_own_function_that_returns_no_module(own_module):
    own_module("listing_networks", "def net(input_shape, classes):\n    return []\n")
    with pytest.raises(ModelError, match=r"listing_networks:net returned list; it must return a torch.nn.Module"):
        zoo.build("listing_networks:net", MNIST, 10)
