"""Networks with residual blocks: the CIFAR-style ResNet and DAWNBench's ResNet-9."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from netmorph.zoo.layers import InputShape, ModelError, Scale, check_depth, image, output_shape, scaled


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm beside a shortcut: a 3x3 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                OrderedDict(
                    conv=nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
                    bn=nn.BatchNorm2d(outputs),
                )
            )
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H / stride, W / stride], sizes rounded up."""
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return self.relu2(residual + self.shortcut(x))  # type: ignore[no-any-return]


def resnet(
    input_shape: InputShape,
    classes: int,
    *,
    width: float = 1,
    blocks: Sequence[int] = (2, 2, 2),
    channels: Sequence[int] = (16, 32, 64),
) -> nn.Sequential:
    """CIFAR-style ResNet: conv 3x3, stages of basic blocks, global average pool, linear layer.

    Every stage but the first halves the map. By default 195,738 parameters on 3x32x32 and ten classes, with
    3x3 convolutions on the shortcuts where the shape changes.

    Source: K. He et al., Deep residual learning for image recognition, 2015, section 4.2.

    Args:
        input_shape: channels, height, width; any size.
        classes: number of outputs (logits).
        width: multiplies `channels`.
        blocks: residual blocks of each stage.
        channels: channels of each stage.

    Raises:
        ModelError: no stages, or an unequal number of `blocks` and `channels`; a count or width not positive.
    """
    if not blocks or len(blocks) != len(channels) or min(blocks) < 1:
        raise ModelError(
            "blocks and channels need one positive number a stage, "
            f"got blocks={tuple(blocks)} and channels={tuple(channels)}"
        )
    for count in blocks:
        check_depth(count, "blocks")
    image_channels, *_ = image(input_shape, "resnet")
    stages = scaled(channels, width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(image_channels, stages[0], 3, padding=1, bias=False),
        bn1=nn.BatchNorm2d(stages[0]),
        relu1=nn.ReLU(),
    )
    inputs = stages[0]
    for number, (depth, outputs) in enumerate(zip(blocks, stages, strict=True), start=1):
        first = BasicBlock(inputs, outputs, stride=1 if number == 1 else 2)
        rest = (BasicBlock(outputs, outputs, stride=1) for _ in range(depth - 1))
        layers[f"stage{number}"] = nn.Sequential(first, *rest)
        inputs = outputs
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(inputs, classes)}
    return nn.Sequential(layers)


class ResidualPair(nn.Module):
    """Two convolution units beside an identity, with no activation after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.unit1 = nn.Sequential(_unit(channels, channels))
        self.unit2 = nn.Sequential(_unit(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] -> the same shape."""
        return x + self.unit2(self.unit1(x))  # type: ignore[no-any-return]


def resnet9(input_shape: InputShape, classes: int, *, width: float = 1, logit_scale: float = 0.125) -> nn.Sequential:
    """ResNet-9 of the DAWNBench entry that reached 94% on CIFAR-10; 6,573,120 parameters there.

    Convolution units (conv 3x3, batch norm, ReLU) to 64, 128, 256 and 512 channels, a max pool after each of
    the last three, a residual pair after the 128 and the 512, a global max pool and a linear layer without
    bias, whose logits are scaled. Images must have at least 8x8 pixels.

    Source: D. Page, How to train your ResNet, 2018.

    Args:
        input_shape: channels, height, width.
        classes: number of outputs (logits).
        width: multiplies the hidden channels.
        logit_scale: multiplies the logits.

    Raises:
        ModelError: an image that is too small, or a width that is not positive.
    """
    channels, *_ = image(input_shape, "resnet9")
    first, second, third, fourth = scaled((64, 128, 256, 512), width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        prep=nn.Sequential(_unit(channels, first)),
        layer1=nn.Sequential(_pooled_unit(first, second) | {"residual": ResidualPair(second)}),
        layer2=nn.Sequential(_pooled_unit(second, third)),
        layer3=nn.Sequential(_pooled_unit(third, fourth) | {"residual": ResidualPair(fourth)}),
    )
    _, height, columns = output_shape(nn.Sequential(layers), input_shape, "resnet9")
    layers |= {
        "pool": nn.MaxPool2d((height, columns)),
        "flatten": nn.Flatten(),
        "fc": nn.Linear(fourth, classes, bias=False),
        "scale": Scale(logit_scale),
    }
    return nn.Sequential(layers)


def _unit(inputs: int, outputs: int) -> OrderedDict[str, nn.Module]:
    return OrderedDict(
        conv=nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), bn=nn.BatchNorm2d(outputs), relu=nn.ReLU()
    )


def _pooled_unit(inputs: int, outputs: int) -> OrderedDict[str, nn.Module]:
    return _unit(inputs, outputs) | {"pool": nn.MaxPool2d(2)}
