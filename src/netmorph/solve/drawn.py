"""Layers that nobody trains: random receptive fields and random convolutions, as plain modules."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from netmorph.seeds import generator_of
from netmorph.solve.moments import SolveError


class TwoSided(nn.Module):
    """`[B, C, H, W]` -> `[B, 2 C, cells, cells]`: what is above a threshold and what is below its negative, averaged.

    That is `relu(x - threshold)` and `relu(-x - threshold)`, each as the mean over the cells of a grid (Coates & Ng,
    "The importance of encoding versus training with sparse coding and vector quantization", 2011). The threshold is
    taken away behind the mean, so that large tensors are gone through less often.
    """

    def __init__(self, threshold: float, cells: int) -> None:
        super().__init__()
        self.threshold, self.cells = threshold, cells

    def forward(self, x: Tensor) -> Tensor:
        """Return twice as many channels."""
        above = functional.adaptive_avg_pool2d(x.clamp(min=self.threshold), self.cells) - self.threshold
        below = functional.adaptive_avg_pool2d(x.clamp(max=-self.threshold), self.cells) + self.threshold
        return torch.cat([above, -below], dim=1)

    def extra_repr(self) -> str:
        """Show the numbers when the network is printed."""
        return f"threshold={self.threshold}, cells={self.cells}"


class Mirrored(nn.Module):
    """The mean of a module's outputs for images and for their mirror images.

    A linear head on features from filters that come in mirrored pairs, solved from images and their mirror images, is
    one on this mean: half as many features, and no image twice.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Return what the module gives for `[B, C, H, W]`, averaged."""
        both: Tensor = self.inner(x) + self.inner(x.flip(-1))
        return both / 2


def random_features(input_shape: tuple[int, ...], units: int, *, smallest: int = 3, seed: int = 0) -> nn.Sequential:
    """Units that each see a random rectangle of an image with random weights, behind a ReLU.

    Random receptive fields (McDonnell et al., arXiv 1412.8307): position and size of the rectangle are drawn evenly,
    weights from a normal distribution; the sum of their squares is 1 for each unit, their mean within the rectangle 0.

    Args:
        input_shape: channels, height, width.
        units: features.
        smallest: side of the smallest rectangle in pixels.
        seed: draws rectangles and weights.

    Returns:
        A module `[B, C, H, W]` -> `[B, units]`.

    Raises:
        SolveError: a shape or number that does not go.
    """
    channels, height, width = _image(input_shape)
    _check_count("units", units)
    if not 2 <= smallest <= min(height, width):
        raise SolveError(f"smallest is a side of at least 2 pixels within {height}x{width} images, got {smallest}")
    generator = generator_of(seed)

    def covered(length: int) -> Tensor:
        """For each unit which of the pixels of one side it sees, `[units, length]`."""
        sides = smallest + (torch.rand(units, generator=generator) * (length - smallest + 1)).long()
        begin = (torch.rand(units, generator=generator) * (length - sides + 1)).long()
        pixel = torch.arange(length)
        return (pixel >= begin[:, None]) & (pixel < (begin + sides)[:, None])

    seen = (covered(height)[:, :, None] & covered(width)[:, None, :]).flatten(1).repeat(1, channels)
    drawn = torch.randn(units, channels * height * width, generator=generator) * seen
    drawn = (drawn - drawn.sum(1, keepdim=True) / seen.sum(1, keepdim=True)) * seen
    layer = nn.Linear(drawn.shape[1], units, bias=False)
    return nn.Sequential(nn.Flatten(), _fixed(layer, functional.normalize(drawn)), nn.ReLU())


def random_convolution(
    channels: int, filters: int, *, size: int = 5, cells: int = 3, threshold: float = 0.0, seed: int = 0
) -> nn.Sequential:
    """A convolution with random filters, and both signs of what it gives, averaged over a grid of cells.

    The idea of arXiv 1503.04596 (McDonnell & Vladusich), whose own filters are designed, not drawn.

    Args:
        channels: of the images.
        filters: drawn from a normal distribution, each with mean 0 and length 1.
        size: side of a filter in pixels.
        cells: the grid is `cells` x `cells`.
        threshold: see `TwoSided`.
        seed: draws the filters.

    Returns:
        A module `[B, C, H, W]` -> `[B, 2 * filters * cells^2]`.

    Raises:
        SolveError: a number that does not go.
    """
    for name, number in (("channels", channels), ("filters", filters), ("size", size), ("cells", cells)):
        _check_count(name, number)
    drawn = torch.randn(filters, channels * size * size, generator=generator_of(seed))
    drawn = functional.normalize(drawn - drawn.mean(1, keepdim=True))
    layer = nn.Conv2d(channels, filters, size, bias=False)
    fixed = _fixed(layer, drawn.reshape(filters, channels, size, size))
    return nn.Sequential(fixed, TwoSided(threshold, cells), nn.Flatten())


def _fixed(layer: nn.Module, weight: Tensor) -> nn.Module:
    with torch.no_grad():
        layer.get_parameter("weight").copy_(weight)
    return layer.requires_grad_(False)


def _image(input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(input_shape) != 3 or min(input_shape) < 1 or math.prod(input_shape) < 1:
        raise SolveError(f"images have a shape (channels, height, width), got {input_shape}")
    return input_shape[0], input_shape[1], input_shape[2]


def _check_count(name: str, number: int) -> None:
    if number < 1:
        raise SolveError(f"{name} must be 1 or more, got {number}")
