"""torchvision's compiled operators in plain PyTorch, for a PyTorch that torchvision was not compiled for.

Its detection models call them. To whoever records operators they look like the real ones: one operator each.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

ROI_ALIGN = (
    "roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
    "int sampling_ratio, bool aligned) -> Tensor"
)


def nms(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """The indices of the boxes that stay, the best first."""
    order, kept = scores.argsort(descending=True), []
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        low, high = torch.maximum(boxes[best, :2], boxes[rest, :2]), torch.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        order = rest[shared <= threshold * (area[best] + area[rest] - shared)]
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.long)


def roi_align(
    features: Tensor, regions: Tensor, scale: float, height: int, width: int, ratio: int, aligned: bool
) -> Tensor:
    """Each region of the maps, resampled to one size; 2 x 2 points a cell where `ratio` leaves it open."""
    points = ratio if ratio > 0 else 2
    pooled = []
    for region in regions:
        left, top, right, bottom = (region[1:] * scale - (0.5 if aligned else 0.0)).unbind()
        rows = top + (bottom - top) * (torch.arange(height * points).to(features) + 0.5) / (height * points)
        columns = left + (right - left) * (torch.arange(width * points).to(features) + 0.5) / (width * points)
        image = features[int(region[0])]
        y, x = torch.meshgrid(
            2 * rows / (image.shape[1] - 1 or 1) - 1, 2 * columns / (image.shape[2] - 1 or 1) - 1, indexing="ij"
        )
        sampled = F.grid_sample(image[None], torch.stack([x, y], -1)[None].to(features), align_corners=True)
        pooled.append(F.avg_pool2d(sampled, points)[0])
    return torch.stack(pooled) if pooled else features.new_zeros(0, features.shape[1], height, width)


@functools.cache
def in_plain_python() -> torch.library.Library | None:
    """Define the operators where torchvision's own do not load; what is returned keeps them."""
    import torchvision.extension
    import torchvision.ops.boxes
    import torchvision.ops.roi_align

    if torchvision.extension._has_ops():
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define(ROI_ALIGN)
    library.impl("nms", nms, "CompositeImplicitAutograd")
    library.impl("roi_align", roi_align, "CompositeImplicitAutograd")
    for module in (torchvision.extension, torchvision.ops.boxes, torchvision.ops.roi_align):
        for check in ("_assert_has_ops", "_has_ops"):
            if check in vars(module):
                setattr(module, check, lambda: True)
    return library
