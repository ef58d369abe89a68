"""The networks of torchvision and timm by name, also beside a PyTorch that torchvision was not compiled for."""

from __future__ import annotations

import functools
import sys
from types import ModuleType

import torch

from netmorph.errors import require

# What torchvision's compiled part would define and its Python part refers to when it is imported.
OPERATORS = ("nms", "qnms")


def vision_library(name: str) -> ModuleType:
    """Import `torchvision` or `timm`.

    A CPU build of PyTorch has no fitting build of torchvision's compiled operators, but its networks need none of
    them: where the import fails for that, the operators are declared, without a body, and it is tried again.

    Raises:
        MissingExtra: the library is not installed.
    """
    try:
        return require(name, "vision")
    except RuntimeError as error:
        if "operator torchvision::" not in str(error):
            raise
    for module in [module for module in sys.modules if module.partition(".")[0] in ("torchvision", "timm")]:
        del sys.modules[module]
    _declare()
    return require(name, "vision")


@functools.cache
def _declare() -> torch.library.Library:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in OPERATORS:
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library  # the declarations live as long as it does
