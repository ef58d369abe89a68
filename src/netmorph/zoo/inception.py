"""Inception-ResNet-v2, and a small one of the same blocks for images of 32 to 64 pixels.

Source: C. Szegedy, S. Ioffe, V. Vanhoucke, A. Alemi, Inception-v4, Inception-ResNet and the impact of residual
connections on learning, arXiv 1602.07261. Where the network that its authors released, whose weights are public,
differs from the paper (the stem, the number of blocks, a residual stream of 320, 1088 and 2080 channels), this is the
released one.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from netmorph.zoo.layers import InputShape, ModelError, Scale, check_depth, image, output_shape, scaled

Kernel = int | tuple[int, int]
Layer = tuple[int, Kernel] | tuple[int, Kernel, int]  # channels, kernel, and stride where it is not 1
BATCH_NORM_EPS = 1e-3
SMALL = 0.25  # of the published widths: the small network's

# What stands side by side, as layers one behind another; behind the first ones of `MIXED` comes the pooled branch.
MIXED: Sequence[Sequence[Layer]] = (((96, 1),), ((48, 1), (64, 5)), ((64, 1), (96, 3), (96, 3)))
MIXED_POOLED: Sequence[Layer] = ((64, 1),)
BLOCK_A: Sequence[Sequence[Layer]] = (((32, 1),), ((32, 1), (32, 3)), ((32, 1), (48, 3), (64, 3)))
REDUCTION_A: Sequence[Sequence[Layer]] = (((384, 3, 2),), ((256, 1), (256, 3), (384, 3, 2)))
BLOCK_B: Sequence[Sequence[Layer]] = (((192, 1),), ((128, 1), (160, (1, 7)), (192, (7, 1))))
REDUCTION_B: Sequence[Sequence[Layer]] = (
    ((256, 1), (384, 3, 2)),
    ((256, 1), (288, 3, 2)),
    ((256, 1), (288, 3), (320, 3, 2)),
)
BLOCK_C: Sequence[Sequence[Layer]] = (((192, 1),), ((192, 1), (224, (1, 3)), (256, (3, 1))))
LAST = 1536  # channels that the classifier reads


class Unit(nn.Sequential):
    """Convolution, batch norm, ReLU; the map keeps its size at stride 1 where it is padded."""

    def __init__(self, inputs: int, outputs: int, kernel: Kernel, stride: int = 1, padded: bool = True) -> None:
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (height // 2, width // 2) if padded else 0
        super().__init__(
            OrderedDict(
                conv=nn.Conv2d(inputs, outputs, (height, width), stride, padding, bias=False),
                bn=nn.BatchNorm2d(outputs, BATCH_NORM_EPS),
                relu=nn.ReLU(),
            )
        )


class Branches(nn.Module):
    """Layers side by side, whose outputs are concatenated."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the channels of all branches, [N, sum, H', W']."""
        return torch.cat([branch(x) for branch in self.branches], 1)


class InceptionResidual(nn.Module):
    """Branches beside an identity: a 1x1 convolution takes their channels to those of the stream, scaled down.

    The paper's section 3.3: without the factor, networks of more than a thousand filters die early in training.
    """

    def __init__(
        self, channels: int, branches: Sequence[Sequence[Layer]], width: float, factor: float, relu: bool = True
    ) -> None:
        super().__init__()
        self.mixed = Branches(*(_branch(channels, layers, width) for layers in branches))
        self.linear = nn.Conv2d(_outputs(branches, width), channels, 1)
        self.scale = Scale(factor)
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """[N, channels, H, W] -> the same shape."""
        return self.relu(x + self.scale(self.linear(self.mixed(x))))  # type: ignore[no-any-return]


def inception_resnet_v2(
    input_shape: InputShape,
    classes: int,
    *,
    width: float = 1,
    blocks: Sequence[int] = (10, 20, 10),
    scales: Sequence[float] = (0.17, 0.1, 0.2),
    dropout: float = 0.2,
) -> nn.Sequential:
    """Inception-ResNet-v2 for large images: 55,843,464 parameters on 3x299x299 and a thousand classes.

    A stem, `blocks[0]` blocks A, a reduction, `blocks[1]` blocks B, a reduction, `blocks[2]` blocks C, a 1x1
    convolution, a global average pool, dropout, a linear layer. The last block C is not scaled, and no ReLU is behind
    its sum. Images must have at least 75x75 pixels.

    Args:
        input_shape: channels, height, width.
        classes: number of outputs (logits).
        width: multiplies the hidden channels.
        blocks: A, B and C, those of C with the last one.
        scales: the factor of the residual branches of A, B and C.
        dropout: the share of channels left out before the classifier.

    Raises:
        ModelError: an image that is too small; not three numbers of blocks and of scales; a number out of range.
    """
    channels, *_ = image(input_shape, "inception_resnet_v2")

    first, second, third, fourth = scaled((32, 64, 80, 192), width)
    stem = nn.Sequential(
        OrderedDict(
            conv1=Unit(channels, first, 3, stride=2, padded=False),
            conv2=Unit(first, first, 3, padded=False),
            conv3=Unit(first, second, 3),
            pool1=nn.MaxPool2d(3, stride=2),
            conv4=Unit(second, third, 1),
            conv5=Unit(third, fourth, 3, padded=False),
            pool2=nn.MaxPool2d(3, stride=2),
            mixed=_mixed(fourth, width),
        )
    )
    layers = _layers(stem, width, blocks, scales, padded=False)
    return _ended(layers, input_shape, classes, dropout, "inception_resnet_v2")


def inception_resnet_small(
    input_shape: InputShape,
    classes: int,
    *,
    width: float = 1,
    blocks: Sequence[int] = (2, 2, 2),
    scales: Sequence[float] = (0.17, 0.1, 0.2),
    dropout: float = 0.0,
    stride: int = 2,
) -> nn.Sequential:
    """A shallow Inception-ResNet for images of 32 to 64 pixels: 1,126,520 parameters on 3x32x32 and 200 classes.

    The same blocks as `inception_resnet_v2`, a quarter as wide, behind a stem of three convolutions. Everything is
    padded: the map is halved in the stem and in the two reductions only, and any image is large enough. Where there is
    one block C, it is the last one.

    Args:
        input_shape: channels, height, width.
        classes: number of outputs (logits).
        width: multiplies the hidden channels.
        blocks: A, B and C, those of C with the last one.
        scales: the factor of the residual branches of A, B and C.
        dropout: the share of channels left out before the classifier.
        stride: of the first convolution: 1 for smaller images, 4 for larger ones.

    Raises:
        ModelError: not three numbers of blocks and of scales; a number out of range.
    """
    channels, *_ = image(input_shape, "inception_resnet_small")
    if isinstance(stride, bool) or not isinstance(stride, int) or stride < 1:
        raise ModelError(f"stride must be a positive whole number, got {stride!r}")
    width = width * SMALL

    first, second, third = scaled((32, 64, 192), width)
    stem = nn.Sequential(
        OrderedDict(
            conv1=Unit(channels, first, 3, stride),
            conv2=Unit(first, second, 3),
            conv3=Unit(second, third, 3),
            mixed=_mixed(third, width),
        )
    )
    layers = _layers(stem, width, blocks, scales, padded=True)
    return _ended(layers, input_shape, classes, dropout, "inception_resnet_small")


def _layers(
    stem: nn.Module, width: float, blocks: Sequence[int], scales: Sequence[float], padded: bool
) -> OrderedDict[str, nn.Module]:
    """Everything up to the last map; `padded` is whether convolutions and pools of stride 2 are."""
    if len(blocks) != 3 or len(scales) != 3:
        raise ModelError(
            f"blocks and scales need a number each for A, B and C, got blocks={tuple(blocks)}, scales={tuple(scales)}"
        )
    for count in blocks:
        check_depth(count, "blocks")
    a, b, c = blocks
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=stem)

    def repeated(kind: Sequence[Sequence[Layer]], channels: int, count: int, factor: float) -> nn.Sequential:
        return nn.Sequential(*(InceptionResidual(channels, kind, width, factor) for _ in range(count)))

    channels = _outputs((*MIXED, MIXED_POOLED), width)
    layers["a"] = repeated(BLOCK_A, channels, a, scales[0])
    layers["reduction_a"] = _reduction(channels, REDUCTION_A, width, padded)
    channels += _outputs(REDUCTION_A, width)
    layers["b"] = repeated(BLOCK_B, channels, b, scales[1])
    layers["reduction_b"] = _reduction(channels, REDUCTION_B, width, padded)
    channels += _outputs(REDUCTION_B, width)
    layers["c"] = repeated(BLOCK_C, channels, c - 1, scales[2])
    layers["last"] = InceptionResidual(channels, BLOCK_C, width, 1.0, relu=False)
    [last] = scaled((LAST,), width)
    layers["conv"] = Unit(channels, last, 1)
    return layers


def _ended(
    layers: OrderedDict[str, nn.Module],
    input_shape: InputShape,
    classes: int,
    dropout: float,
    name: str,
) -> nn.Sequential:
    """The network: what gives the last map, and a classifier over its means."""
    if not 0 <= dropout < 1:
        raise ModelError(f"dropout must be a share from 0 to below 1, got {dropout}")
    features, *_ = output_shape(nn.Sequential(layers), input_shape, name)
    ends = {
        "pool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
        "dropout": nn.Dropout(dropout),
        "fc": nn.Linear(features, classes),
    }
    return nn.Sequential(layers | ends)


def _branch(inputs: int, layers: Sequence[Layer], width: float, padded: bool = True) -> nn.Sequential:
    """Units one behind another; where `padded` is False, those of stride 2 are not."""
    units = []
    for layer in layers:
        channels, kernel, stride = (*layer, 1)[:3]
        outputs, *_ = scaled((channels,), width)
        units.append(Unit(inputs, outputs, kernel, stride, padded or stride == 1))
        inputs = outputs
    return nn.Sequential(*units)


def _mixed(inputs: int, width: float) -> Branches:
    """What begins the residual stream: three branches, and one behind an average pool."""
    pooled = nn.Sequential(
        nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False), *_branch(inputs, MIXED_POOLED, width)
    )
    return Branches(*(_branch(inputs, layers, width) for layers in MIXED), pooled)


def _reduction(inputs: int, branches: Sequence[Sequence[Layer]], width: float, padded: bool) -> Branches:
    """Branches that halve the map, and a max pool that carries the stream itself over."""
    pool = nn.MaxPool2d(3, stride=2, padding=int(padded))
    return Branches(*(_branch(inputs, layers, width, padded) for layers in branches), pool)


def _outputs(branches: Sequence[Sequence[Layer]], width: float) -> int:
    """Channels of all branches together."""
    return sum(scaled([layers[-1][0] for layers in branches], width))
