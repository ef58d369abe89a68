"""Numbers as colours: all read as light and dark, too, in grey print and by the colour-blind. And PNG."""

from __future__ import annotations

import struct
import zlib

import torch
from torch import Tensor

# From dark to light, evenly: four points of matplotlib's "inferno" (N. Smith and S. van der Walt, 2015).
_HEAT = torch.tensor([[0, 0, 4], [120, 28, 109], [237, 105, 37], [252, 255, 164]], dtype=torch.float64)


def signed(values: Tensor, top: float | None = None) -> Tensor:
    """Numbers of both signs: black is below zero, mid-grey zero, white above; in colour, channel by channel, of three.

    Args:
        values: `[C, h, w]`: red, green and blue where `C` is 3; otherwise the channels stand side by side.
        top: the number that is white; None for the largest in size.

    Returns:
        uint8 `[h, w', 3]`.
    """
    top = float(values.abs().max()) if top is None else top
    return _bytes(_as_colours(0.5 + values.double() / (2 * top or 1)))


def shades(images: Tensor) -> Tensor:
    """An image `[C, h, w]` of numbers from 0 to 1 as it looks: uint8 `[h, w', 3]`."""
    return _bytes(_as_colours(images.double()))


def heat(values: Tensor, top: float | None = None) -> Tensor:
    """Sizes `[h, w]`, from 0 on, dark to light through violet and orange: uint8 `[h, w, 3]`.

    Args:
        top: the number that is lightest; None for the largest.
    """
    top = float(values.max()) if top is None else top
    place = (values.double() / (top or 1)).clamp(0, 1) * (len(_HEAT) - 1)
    low = place.floor().long().clamp(max=len(_HEAT) - 2)
    share = (place - low)[..., None]
    return ((1 - share) * _HEAT[low] + share * _HEAT[low + 1]).round().to(torch.uint8)


def _as_colours(image: Tensor) -> Tensor:
    if len(image) == 3:
        return image.permute(1, 2, 0)
    return torch.cat(list(image), 1)[..., None].expand(-1, -1, 3)


def _bytes(image: Tensor) -> Tensor:
    return (image.clamp(0, 1) * 255).round().to(torch.uint8)


def png(pixels: Tensor) -> bytes:
    """A PNG file of pixels, uint8 `[h, w, 3]`; grey ones take one byte each.

    Source: W3C, Portable Network Graphics (third edition), 2025.
    """
    height, width, _ = pixels.shape
    is_grey = bool((pixels == pixels[..., :1]).all())
    lines = (pixels[..., :1] if is_grey else pixels).contiguous().reshape(height, -1)
    data = torch.cat([lines.new_zeros(height, 1), lines], 1)  # in front of each line: it is stored as it is
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if is_grey else 2, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(data.numpy().tobytes(), 9)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_part(name, content) for name, content in parts)


def _part(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
