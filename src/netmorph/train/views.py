"""What a network is asked about an image when it is tested (test-time augmentation)."""

import torch
from torch import Tensor
from torch.nn import functional

from netmorph.errors import NetmorphError

# What a network may be asked about an image: itself; and its mirror image; and both, shifted by a pixel to two opposite
# corners (K. Jordan, airbench94, 2024).
VIEWS = (1, 2, 6)


def views_of(inputs: Tensor, views: int) -> list[Tensor]:
    """What a network is asked about images [N, C, H, W], see `VIEWS`."""
    if views not in VIEWS:
        raise NetmorphError(f"views must be one of {', '.join(map(str, VIEWS))}; {views!r} was given")
    if views == 1:
        return [inputs]
    shifted = []
    if views == 6:
        wide = functional.pad(inputs, (1, 1, 1, 1), "reflect")
        shifted = [wide[:, :, :-2, :-2], wide[:, :, 2:, 2:]]
    return [view for images in (inputs, *shifted) for view in (images, images.flip(3))]


def mean_answer(answers: list[Tensor]) -> Tensor:
    """The mean of the logits of all views, in float32 or wider."""
    wide = [answer.to(torch.promote_types(answer.dtype, torch.float32)) for answer in answers]
    return wide[0] if len(wide) == 1 else torch.stack(wide).mean(0)
