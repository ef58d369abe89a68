"""What the networks share: scaled widths, and sizes found by a run on the meta device instead of typed in."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import nn

from netmorph.errors import NetmorphError

MOST_BLOCKS = 10_000
InputShape = tuple[int, ...]  # of one input without the batch: (channels, height, width), (features,) or (context,)


class ModelError(NetmorphError):
    """No such network, or it cannot be built as asked."""


class Scale(nn.Module):
    """Multiply by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return `factor * x`, any shape."""
        return x * self.factor

    def extra_repr(self) -> str:
        """Show the factor when the network is printed."""
        return str(self.factor)


def scaled(channels: Sequence[int], width: float) -> list[int]:
    """Multiply channel counts by `width`, rounded, at least 1 each.

    Raises:
        ModelError: a width that is not positive, or a channel count below 1.
    """
    if not (width > 0 and math.isfinite(width)):
        raise ModelError(f"width must be a positive number (1 is the published network), got {width}")
    if min(channels, default=1) < 1:
        raise ModelError(f"channel counts must be at least 1, got {list(channels)}")
    return [max(1, round(count * width)) for count in channels]


def check_depth(count: int, name: str) -> None:
    """Refuse a number of blocks that would be built for hours.

    Raises:
        ModelError: it is no positive whole number, or above `MOST_BLOCKS`.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_BLOCKS:
        raise ModelError(f"{name} must be a whole number from 1 to {MOST_BLOCKS}, got {count!r}")


def image(input_shape: InputShape, network: str) -> tuple[int, int, int]:
    """Channels, height and width of an image.

    Raises:
        ModelError: it is the shape of something else.
    """
    if len(input_shape) != 3:
        raise ModelError(
            f"{network} takes images, whose input_shape is channels, height and width; got {tuple(input_shape)}; "
            "take mlp for tables, gpt for text"
        )
    channels, height, width = input_shape
    return channels, height, width


def output_shape(layers: nn.Module, input_shape: InputShape, network: str) -> tuple[int, ...]:
    """The shape that `layers` make of one input, without computing anything.

    Args:
        layers: untouched, and run with no memory for their activations.
        input_shape: channels, height, width.
        network: the network's name, for the message.

    Raises:
        ModelError: the image is too small for the network; the message names the smallest.
    """
    shape = _shape_on_meta(layers, input_shape)
    if shape is not None:
        return shape
    channels, height, width = image(input_shape, network)
    sides = itertools.count(min(height, width))
    smallest = next(side for side in sides if _shape_on_meta(layers, (channels, side, side)))
    raise ModelError(
        f"{network} needs images of at least {smallest}x{smallest} pixels, got {height}x{width}; "
        "take a network for smaller images (lenet5, mlp), or resize the images"
    )


def _shape_on_meta(layers: nn.Module, input_shape: InputShape) -> tuple[int, ...] | None:
    """The output's shape without the batch axis; None where the image is too small."""
    tensors = itertools.chain(layers.named_parameters(), layers.named_buffers())
    on_meta = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors}
    # Two images: batch norm refuses to measure the variance of a single value.
    images = torch.empty(2, *input_shape, device="meta")
    try:
        with torch.no_grad():
            output: torch.Tensor = torch.func.functional_call(layers, on_meta, (images,))
    except RuntimeError:
        return None
    return tuple(output.shape[1:])
