"""Networks that are one chain of layers: MLP, LeNet-5, MiniVGGNet."""

import math
from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from netmorph.zoo.layers import InputShape, image, output_shape, scaled


def mlp(input_shape: InputShape, classes: int, *, width: float = 1, hidden: Sequence[int] = (128, 64)) -> nn.Sequential:
    """Multilayer perceptron over the numbers of a table's row, or of an image: linear layers with ReLU between.

    Args:
        input_shape: `(features,)`, or channels, height and width, which are flattened.
        classes: number of outputs: logits, or target columns.
        width: multiplies `hidden`.
        hidden: units of each hidden layer; none makes it a linear classifier.

    Raises:
        ModelError: a width or number of units that is not positive.
    """
    return nn.Sequential(_head(math.prod(input_shape), scaled(hidden, width), classes, activations=0))


def lenet5(input_shape: InputShape, classes: int, *, width: float = 1) -> nn.Sequential:
    """LeNet-5 with ReLU and max pooling: conv 5x5 (padding 2), pool, conv 5x5, pool, three linear layers.

    At width 1: 6 and 16 channels, 120 and 84 units; 61,706 parameters on 1x28x28 and ten classes. Where the
    map entering the second convolution is below 6x6, that one is padded by 2 as well, because nothing would
    be left for the second pool: so the network takes images from 4x4 on.

    Source: Y. LeCun et al., Gradient-based learning applied to document recognition, 1998.

    Args:
        input_shape: channels, height, width.
        classes: number of outputs (logits).
        width: multiplies the hidden channels and units.

    Raises:
        ModelError: an image that is too small, or a width that is not positive.
    """
    channels, *sides = image(input_shape, "lenet5")
    first, second, *hidden = scaled((6, 16, 120, 84), width)
    map_side = min(sides) // 2
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(channels, first, 5, padding=2),
        "relu1": nn.ReLU(),
        "pool1": nn.MaxPool2d(2),
        "conv2": nn.Conv2d(first, second, 5, padding=2 if map_side < 6 else 0),
        "relu2": nn.ReLU(),
        "pool2": nn.MaxPool2d(2),
    }
    return _classifier(layers, input_shape, hidden, classes, network="lenet5")


def minivgg(input_shape: InputShape, classes: int, *, width: float = 1) -> nn.Sequential:
    """MiniVGGNet: two pairs of conv 3x3, a pool after each pair, three linear layers.

    At width 1: 16, 16, 32, 32 channels, 120 and 84 units; 123,502 parameters on 1x28x28 and ten classes. Only
    the fourth convolution is padded, so images must have at least 12x12 pixels.

    Args:
        input_shape: channels, height, width.
        classes: number of outputs (logits).
        width: multiplies the hidden channels and units.

    Raises:
        ModelError: an image that is too small, or a width that is not positive.
    """
    channels, *_ = image(input_shape, "minivgg")
    first, second, third, fourth, *hidden = scaled((16, 16, 32, 32, 120, 84), width)
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(channels, first, 3),
        "relu1": nn.ReLU(),
        "conv2": nn.Conv2d(first, second, 3),
        "relu2": nn.ReLU(),
        "pool1": nn.MaxPool2d(2),
        "conv3": nn.Conv2d(second, third, 3),
        "relu3": nn.ReLU(),
        "conv4": nn.Conv2d(third, fourth, 3, padding=1),
        "relu4": nn.ReLU(),
        "pool2": nn.MaxPool2d(2),
    }
    return _classifier(layers, input_shape, hidden, classes, network="minivgg")


def _classifier(
    layers: dict[str, nn.Module], input_shape: InputShape, hidden: Sequence[int], classes: int, network: str
) -> nn.Sequential:
    """Convolutional layers, and the linear ones that fit them."""
    features = nn.Sequential(OrderedDict(layers))
    inputs = math.prod(output_shape(features, input_shape, network))
    activations = sum(name.startswith("relu") for name in layers)
    return nn.Sequential(OrderedDict(layers) | _head(inputs, hidden, classes, activations))


def _head(inputs: int, hidden: Sequence[int], classes: int, activations: int) -> OrderedDict[str, nn.Module]:
    """Flatten and linear layers with ReLU between, these numbered on from the `activations` before them."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for number, units in enumerate(hidden, start=1):
        layers[f"fc{number}"] = nn.Linear(inputs, units)
        layers[f"relu{activations + number}"] = nn.ReLU()
        inputs = units
    layers[f"fc{len(hidden) + 1}"] = nn.Linear(inputs, classes)
    return layers
