"""torchvision models beside a CPU build of torch, for which torchvision's compiled part does not load."""

import functools

import torch
from torch import nn


@functools.cache
def _stub_operators() -> torch.library.Library:
    # Its Python part only needs these two operators to be declared, before the first import.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def vision_model(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A model with random weights, and one image that it takes."""
    _stub_operators()
    from torchvision import models

    options = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
    size = 299 if name == "inception_v3" else 64
    return models.get_model(name, weights=None, **options), torch.randn(1, 3, size, size)
