"""Random small networks, written the way people write them: a hypothesis strategy for the contract suite.

A network is drawn as a chain of blocks over feature maps (one or two spatial dimensions), a flatten boundary of some
kind and a head of linear layers. Each block is drawn with its own sizes, so that a failing example shrinks to the
blocks that matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from mixers import (
    CUTS,
    HEADS,
    PADS,
    Attention,
    Checked,
    Gated,
    HalfShuffled,
    Padded,
    Partial,
    Shifted,
    Shuffled,
)
from torch import Tensor, nn

Draw = Callable[[st.SearchStrategy], object]
CONV = {1: nn.Conv1d, 2: nn.Conv2d}
BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
INSTANCE_NORM = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d}
MAX_POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d}
AVG_POOL = {1: nn.AvgPool1d, 2: nn.AvgPool2d}
GLOBAL_POOL = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d}


@dataclass
class Shape:
    """Of the features so far: channels, spatial dimensions and their length."""

    channels: int
    spatial: int
    length: int


class Residual(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class Concat(nn.Module):
    """Branches side by side; a dense connection is a concatenation with the input itself."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


class Twice(nn.Module):
    """One module, called twice."""

    def __init__(self, body: nn.Module, between: nn.Module) -> None:
        super().__init__()
        self.body, self.between = body, between

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.between(self.body(x)))


class LayerScale(nn.Module):
    """A parameter of the module's own, one number a channel."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(shape.channels, *[1] * shape.spatial) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class ChannelsLastNorm(nn.Module):
    """Layer norm over the channels of a feature map, as ConvNeXt has it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.movedim(1, -1)).movedim(-1, 1)


class SqueezeExcite(nn.Module):
    """Gates from the mean over space: by convolutions on a pooled map, or by linear layers on a mean."""

    def __init__(self, shape: Shape, squeeze: int, pooled: bool, gate: nn.Module) -> None:
        super().__init__()
        self.pool = GLOBAL_POOL[shape.spatial](1) if pooled else None
        layer = (lambda a, b: CONV[shape.spatial](a, b, 1)) if pooled else nn.Linear
        self.reduce, self.expand = layer(shape.channels, squeeze), layer(squeeze, shape.channels)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        space = list(range(2, x.dim()))
        pooled = x.mean(space) if self.pool is None else self.pool(x)
        gates = self.gate(self.expand(self.reduce(pooled).relu()))
        return x * (gates.view(x.size(0), -1, *[1] * len(space)) if self.pool is None else gates)


class Flat(nn.Module):
    """The boundary between feature maps and vectors."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return BOUNDARIES[self.how](x)

    def extra_repr(self) -> str:
        return self.how


BOUNDARIES: dict[str, Callable[[Tensor], Tensor]] = {
    "flatten(1)": lambda x: x.flatten(1),
    "torch.flatten": lambda x: torch.flatten(x, 1),
    "view": lambda x: x.contiguous().view(x.size(0), -1),
    "reshape": lambda x: x.reshape(len(x), -1),
    "transposed": lambda x: x.transpose(1, -1).flatten(1),
    "mean": lambda x: x.flatten(2).mean(-1),
    "maximum": lambda x: x.amax(list(range(2, x.dim()))),
}


def activation(draw: Draw, channels: int) -> nn.Module:
    kinds = [
        nn.ReLU, lambda: nn.ReLU(inplace=True), nn.GELU, nn.SiLU, nn.Sigmoid, nn.Tanh, nn.ReLU6, nn.Hardswish,
        nn.LeakyReLU, nn.ELU, nn.PReLU, lambda: nn.PReLU(channels), nn.Softplus, nn.Hardtanh,
    ]  # fmt: skip
    return draw(st.sampled_from(kinds))()


def width(draw: Draw) -> int:
    return draw(st.sampled_from([1, 2, 3, 4, 6]))


def convolution(draw: Draw, shape: Shape, out: int, stride: int = 1, groups: int = 1) -> nn.Module:
    kernel = draw(st.sampled_from([1, 3, 5]))
    bias = draw(st.booleans())
    return CONV[shape.spatial](
        shape.channels, out, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=bias
    )


def group_norm(draw: Draw, channels: int) -> nn.Module:
    """PyTorch refuses to normalize a group of a single value, so each has two channels at least."""
    groups = [count for count in range(1, channels // 2 + 1) if channels % count == 0]
    return nn.GroupNorm(draw(st.sampled_from(groups)), channels) if groups else nn.Identity()


def norm(draw: Draw, shape: Shape) -> nn.Module:
    kinds: dict[str, Callable[[], nn.Module]] = {
        "batch": lambda: BATCH_NORM[shape.spatial](shape.channels),
        "batch without affine": lambda: BATCH_NORM[shape.spatial](shape.channels, affine=False),
        "group": lambda: group_norm(draw, shape.channels),
        "layer": lambda: ChannelsLastNorm(shape.channels),
        "instance": lambda: INSTANCE_NORM[shape.spatial](shape.channels, affine=True, track_running_stats=True),
        "none": nn.Identity,
    }
    if shape.length == 1:  # PyTorch refuses to train an instance norm on a single value
        del kinds["instance"]
    return kinds[draw(st.sampled_from(["batch", "batch", *kinds]))]()


def unit(draw: Draw, shape: Shape, out: int, stride: int = 1) -> nn.Sequential:
    """Convolution, norm, activation."""
    after = Shape(out, shape.spatial, (shape.length + stride - 1) // stride)
    return nn.Sequential(convolution(draw, shape, out, stride), norm(draw, after), activation(draw, out))


def plain(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    out, stride = width(draw), draw(st.sampled_from([1, 1, 2]))
    length = (shape.length + stride - 1) // stride
    return unit(draw, shape, out, stride), Shape(out, shape.spatial, length)


def residual(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    out = draw(st.sampled_from([shape.channels, width(draw)]))
    after = Shape(out, shape.spatial, shape.length)
    hidden = width(draw)
    first = unit(draw, shape, hidden)
    body = nn.Sequential(first, convolution(draw, Shape(hidden, shape.spatial, shape.length), out), norm(draw, after))
    projected = out != shape.channels or draw(st.booleans())
    shortcut = nn.Sequential(convolution(draw, shape, out), norm(draw, after)) if projected else nn.Identity()
    return nn.Sequential(Residual(body, shortcut), activation(draw, out)), after


def concat(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    widths = [width(draw) for _ in range(draw(st.integers(2, 3)))]
    branches = [unit(draw, shape, out) for out in widths]
    return Concat(*branches), Shape(sum(widths), shape.spatial, shape.length)


def dense(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 2))):
        grown = width(draw)
        layers.append(Concat(nn.Identity(), unit(draw, shape, grown)))
        shape = Shape(shape.channels + grown, shape.spatial, shape.length)
    return nn.Sequential(*layers), shape


def depthwise(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    out = shape.channels * draw(st.sampled_from([1, 1, 2]))
    after = Shape(out, shape.spatial, shape.length)
    layer = convolution(draw, shape, out, groups=shape.channels)
    return nn.Sequential(layer, norm(draw, after), activation(draw, out)), after


def grouped(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    groups = draw(st.integers(2, 4))
    middle, out = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 3))
    after = Shape(middle, shape.spatial, shape.length)
    layers = [unit(draw, shape, middle), convolution(draw, after, out, groups=groups)]
    return nn.Sequential(*layers, activation(draw, out)), Shape(out, shape.spatial, shape.length)


def squeeze_excite(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    gate = draw(st.sampled_from([nn.Sigmoid, nn.Hardsigmoid]))()
    return SqueezeExcite(shape, width(draw), draw(st.booleans()), gate), shape


def pool(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    if shape.length < 2:
        return nn.Identity(), shape
    kind = draw(st.sampled_from([MAX_POOL, AVG_POOL]))
    return kind[shape.spatial](2), Shape(shape.channels, shape.spatial, shape.length // 2)


def twice(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    return Twice(convolution(draw, shape, shape.channels), activation(draw, shape.channels)), shape


def dropout(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    return draw(st.sampled_from([nn.Dropout, nn.Dropout1d if shape.spatial == 1 else nn.Dropout2d]))(0.1), shape


def layer_scale(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    return LayerScale(shape), shape


def attention(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    heads, width_, how = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.sampled_from(list(HEADS)))
    return Attention(shape.channels, heads, width_, how, draw(st.booleans())), shape


def gated(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    return Gated(shape.channels, width(draw), draw(st.sampled_from(list(CUTS))), draw(st.booleans())), shape


def shuffled(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    literal = draw(st.booleans())
    groups = 2 if literal else draw(st.integers(2, 3))
    middle = Shape(groups * draw(st.integers(1, 3)), shape.spatial, shape.length)
    into = convolution(draw, shape, middle.channels)
    return Shuffled(into, convolution(draw, middle, shape.channels), groups, literal), shape


def partial(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    if shape.channels < 2:
        return nn.Identity(), shape
    first = Shape(draw(st.integers(1, shape.channels - 1)), shape.spatial, shape.length)
    return Partial(convolution(draw, first, first.channels), first.channels, shape.channels), shape


def checked(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    return Checked(shape.channels), shape


def padded(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    blocks: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 2))):
        before, behind = draw(st.integers(0, 2)), draw(st.integers(1, 3))
        after = Shape(shape.channels + before + behind, shape.spatial, shape.length)
        blocks.append(Padded(convolution(draw, shape, after.channels), before, behind, draw(st.sampled_from([*PADS]))))
        blocks.append(norm(draw, after))
        shape = after
    return nn.Sequential(*blocks), shape


def shifted(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    return Shifted(draw(st.integers(2, 4)), draw(st.booleans())), shape


def half_shuffled(draw: Draw, shape: Shape) -> tuple[nn.Module, Shape]:
    out = 2 * draw(st.integers(1, 8))
    after = Shape(out, shape.spatial, shape.length)
    half = Shape(out // 2, shape.spatial, shape.length)
    units = [HalfShuffled(unit(draw, half, half.channels)) for _ in range(draw(st.integers(1, 3)))]
    return nn.Sequential(convolution(draw, shape, out), *units), after


BLOCKS = [
    *(plain, residual, concat, dense, depthwise, grouped, squeeze_excite, pool, twice, dropout, layer_scale),
    *(attention, gated, shuffled, partial, checked, padded, shifted, half_shuffled),
]


def head(draw: Draw, features: int, classes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(0, 2))):
        out = width(draw)
        between = [nn.Identity, lambda out=out: nn.LayerNorm(out), lambda out=out: nn.BatchNorm1d(out), nn.Dropout]
        layers += [nn.Linear(features, out), draw(st.sampled_from(between))(), activation(draw, out)]
        features = out
    return nn.Sequential(*layers, nn.Linear(features, classes))


@st.composite
def networks(draw: Draw) -> tuple[nn.Module, Tensor]:
    """A float64 network in eval mode with random statistics, and an input batch."""
    torch.manual_seed(draw(st.integers(0, 2**16)))
    shape = Shape(draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 2, 2])), draw(st.sampled_from([5, 8])))
    inputs = torch.randn(draw(st.sampled_from([1, 2, 3])), shape.channels, *[shape.length] * shape.spatial)
    layers: list[nn.Module] = []
    block, shape = plain(draw, shape)
    layers.append(block)
    for build in draw(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=4)):
        block, shape = build(draw, shape)
        layers.append(block)
    if draw(st.booleans()):
        layers.append(GLOBAL_POOL[shape.spatial](draw(st.integers(1, 2))))
    layers.append(Flat(draw(st.sampled_from(list(BOUNDARIES)))))
    body = nn.Sequential(*layers).eval()
    with torch.no_grad():
        features = body(inputs).shape[1]
    model = nn.Sequential(*body, head(draw, features, draw(st.integers(1, 4))))
    return randomized(model).double().eval(), inputs.double()


@torch.no_grad()
def randomized(model: nn.Module) -> nn.Module:
    """Norms as after some training: scales, shifts and running statistics all different."""
    for module in model.modules():
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.5, 1.5)
        if (
            isinstance(module, nn.modules.batchnorm._NormBase | nn.LayerNorm | nn.GroupNorm)
            and module.weight is not None
        ):
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.5)
    return model
