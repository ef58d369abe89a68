"""Encoded images (PNG, JPEG, ...) -> one uint8 tensor."""

import io
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from netmorph.data.dataset import DataError
from netmorph.errors import require

ImageSize = tuple[int, int]  # height and width, in pixels

EXTENSIONS = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff"))
# Pillow also opens formats that run other programs (EPS): an image from anywhere must not get there.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
# Pillow's mode -> the mode it is read as. Alpha is dropped; modes of more than 8 bits a channel are refused.
_MODES = {"1": "L", "L": "L", "LA": "L"} | dict.fromkeys(("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr"), "RGB")


def decode_images(encoded: Iterable[tuple[str, bytes]], count: int, size: ImageSize | None = None) -> Tensor:
    """Decode images of one size and mode.

    Args:
        encoded: where each image stands (for messages) and its file's content. It is read once, in order.
            (Threads gain nothing: small images spend their time in the interpreter.)
        count: how many there are, at least one.
        size: height and width to resize every image to; None: they must have one size already.

    Returns:
        uint8 [count, C, H, W]: one channel for grey images, else three.

    Raises:
        DataError: an image that cannot be decoded, or that differs from the first in size or mode.
    """
    images: NDArray[np.uint8] | None = None
    first = ""
    for row, (where, content) in enumerate(encoded):
        image = _channels_first(decode_image(where, content, lambda opened, mode: _resized(opened, mode, size)))
        if images is None:
            images, first = np.empty((count, *image.shape), np.uint8), where
        elif image.shape != images.shape[1:]:
            raise DataError(_difference(where, image.shape, first, images.shape[1:]))
        images[row] = image
    if images is None:
        raise DataError("there are no images to decode")
    return torch.from_numpy(images)


def check_size(size: ImageSize | None) -> None:
    """Refuse a height and width that cannot be meant.

    Raises:
        DataError: it is not two numbers of at least 1.
    """
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise DataError(f"size must be a height and a width of at least 1, got {size}")


def resize_images(images: Tensor, size: ImageSize | None) -> Tensor:
    """Resize uint8 images [N, C, H, W] to a height and width (bilinear, antialiased); None keeps them."""
    if size is None:
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True)


def decode_image(where: str, content: bytes, read: Callable[[Any, str], Any]) -> NDArray[np.uint8]:
    """The pixels [H, W] or [H, W, C] of one image; the array can be written to.

    Args:
        where: the image stands, for messages.
        content: of its file.
        read: from the opened Pillow image, nothing of it decoded yet, and the mode it should be read as, "L" or
            "RGB", to the one whose pixels are wanted.

    Raises:
        DataError: it cannot be decoded, or has more than 8 bits a channel.
    """
    pillow = require("PIL.Image", "data")
    try:
        with pillow.open(io.BytesIO(content), formats=_FORMATS) as image:
            mode = _MODES.get(image.mode)
            if mode is not None:
                pixels = np.array(read(image, mode))
    # Pillow's decoders meet arbitrary bytes here, and raise whatever their format's parser runs into.
    except Exception as error:
        known = not isinstance(error, pillow.UnidentifiedImageError)  # which tells of a buffer, not of a file
        reason = error if known else f"it is no image of a known format ({', '.join(_FORMATS)})"
        raise DataError(f"cannot decode {where}: {reason}; replace or remove that image") from error
    if mode is None:
        raise DataError(
            f"{where} has Pillow mode {image.mode!r}; supported are {', '.join(_MODES)} (8 bits a channel): "
            "convert that image"
        )
    return pixels


def _resized(image: Any, mode: str, size: ImageSize | None) -> Any:
    image = image if image.mode == mode else image.convert(mode)
    if size is None:
        return image
    return image.resize((size[1], size[0]), require("PIL.Image", "data").Resampling.BILINEAR)


def _channels_first(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)


def _difference(where: str, shape: tuple[int, ...], first: str, expected: tuple[int, ...]) -> str:
    if shape[0] != expected[0]:
        kinds = {1: "grey", 3: "in colour"}
        return f"{where} is {kinds[shape[0]]} but {first} is {kinds[expected[0]]}; convert the images to one mode"
    return (
        f"{where} is {shape[1]}x{shape[2]} (height x width) but {first} is {expected[1]}x{expected[2]}; "
        f"give them one size, or load(..., size=({expected[1]}, {expected[2]})) to resize all"
    )
