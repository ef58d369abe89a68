"""Encoded images (PNG, JPEG, ...) -> one uint8 tensor."""

import io
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
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
    """Decode images, and give them one size and mode; a warning tells where they have not.

    Args:
        encoded: where each image stands (for messages) and its file's content. It is read once, in order.
            (Threads gain nothing: small images spend their time in the interpreter.)
        count: how many there are, at least one.
        size: height and width to resize every image to; None: they keep theirs, or where these differ, all get the
            median height and the median width.

    Returns:
        uint8 [count, C, H, W]: one channel for grey images, else three; grey ones among those in colour have three
        equal channels.

    Raises:
        DataError: an image that cannot be decoded.
    """
    images: NDArray[np.uint8] | None = None
    different: list[NDArray[np.uint8]] = []  # all of them, from the first one on that differs
    for row, (where, content) in enumerate(encoded):
        image = _channels_first(decode_image(where, content, lambda opened, mode: _resized(opened, mode, size)))
        if images is None:
            images = np.empty((count, *image.shape), np.uint8)
        if not different and image.shape == images.shape[1:]:
            images[row] = image
            continue
        different = different or list(images[:row])
        different.append(image)
    if images is None:
        raise DataError("there are no images to decode")
    return _alike(different) if different else torch.from_numpy(images)


def _alike(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Images [C, H, W] of different sizes or modes in one tensor."""
    channels, heights, widths = np.array([image.shape for image in images]).T
    size = int(np.median(heights)), int(np.median(widths))
    grey = int((channels == 1).sum())
    if 0 < grey < len(images):
        warnings.warn(grey_among(grey, len(images)), stacklevel=2)
    if len(sizes := set(zip(heights.tolist(), widths.tolist(), strict=True))) > 1:
        small, *_, large = sorted(sizes, key=lambda size: (math.prod(size), size))
        warnings.warn(
            f"the {len(images)} images have {len(sizes)} different sizes, from {small[0]}x{small[1]} to "
            f"{large[0]}x{large[1]} (height x width); all are resized to the median, size=({size[0]}, {size[1]}). Give "
            "another size if that is not meant",
            stacklevel=2,
        )
    together = torch.empty(len(images), int(channels.max()), *size, dtype=torch.uint8)
    for row, image in enumerate(images):
        one = torch.from_numpy(image)[None]
        together[row] = (one if image.shape[1:] == size else resize_images(one, size))[0]
    return together


def grey_among(grey: int, count: int) -> str:
    """What is told of images that are read together with others in colour."""
    return f"{grey} of {count} images are grey and the others in colour; all are read in colour"


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
