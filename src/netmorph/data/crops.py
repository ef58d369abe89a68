"""From an image of any size to one of a wanted size: shrunk once, then cropped and resized as training asks."""

import math

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from netmorph.data.images import ImageSize

# Shares of the area and width-to-height ratios that a random crop takes.
AREA = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
# Share of the short side that the crop of an evaluation takes: 224 of 256 pixels.
CENTRE = 7 / 8
_TRIES = 10

Box = tuple[int, int, int, int]  # top, left, height and width, in pixels


def default_short_side(size: ImageSize) -> int:
    """The short side at which a centre crop has the wanted size without being resized: 256 for 224."""
    return math.ceil(max(size) / CENTRE)


def shrunk_size(size: ImageSize, short_side: int) -> ImageSize:
    """Height and width of an image whose short side is at most so long; a smaller image stays as it is."""
    factor = min(1.0, short_side / min(size))
    return round(size[0] * factor), round(size[1] * factor)


def random_crop(size: ImageSize, generator: np.random.Generator) -> Box:
    """A box of random area and shape at a random place: what inception networks were trained with.

    Source: C. Szegedy et al., Going Deeper with Convolutions, CVPR 2015; the numbers, and what is done where no
    box fits in ten tries (the largest in the middle whose ratio is allowed), are torchvision's.
    """
    height, width = size
    for _ in range(_TRIES):
        area = height * width * generator.uniform(*AREA)
        ratio = math.exp(generator.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        box_height, box_width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < box_height <= height and 0 < box_width <= width:
            top, left = generator.integers((height - box_height + 1, width - box_width + 1))
            return int(top), int(left), box_height, box_width
    ratio = min(max(width / height, RATIO[0]), RATIO[1])
    return _middle(size, min(height, round(width / ratio)), min(width, round(height * ratio)))


def centre_crop(size: ImageSize, wanted: ImageSize) -> Box:
    """The box in the middle that has the shape of the wanted size and `CENTRE` of the largest such box."""
    factor = CENTRE * min(size[0] / wanted[0], size[1] / wanted[1])
    return _middle(size, max(1, int(wanted[0] * factor)), max(1, int(wanted[1] * factor)))


def resize(image: Tensor, size: ImageSize) -> Tensor:
    """uint8 [H, W, C] -> [height, width, C]; bilinear, antialiased. The image itself if it has that size."""
    if tuple(image.shape[:2]) == size:
        return image
    planes = F.interpolate(image.permute(2, 0, 1)[None], size, mode="bilinear", antialias=True)
    return planes[0].permute(1, 2, 0)


def crop(image: Tensor, box: Box) -> Tensor:
    """The pixels of [H, W, C] inside a box, as a view."""
    top, left, height, width = box
    return image[top : top + height, left : left + width]


def _middle(size: ImageSize, height: int, width: int) -> Box:
    return (size[0] - height) // 2, (size[1] - width) // 2, height, width
