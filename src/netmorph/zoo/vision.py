"""The networks of torchvision and timm by name, also beside a PyTorch that torchvision was not compiled for."""

from __future__ import annotations

import sys
from types import ModuleType

from netmorph.errors import require
from netmorph.torchvision_operators import FAILURE, declare


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
        if FAILURE not in str(error):
            raise
    for module in [module for module in sys.modules if module.partition(".")[0] in ("torchvision", "timm")]:
        del sys.modules[module]
    declare()
    return require(name, "vision")
