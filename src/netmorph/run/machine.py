"""Where numbers were made: part of every result."""

import platform
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from netmorph.cores import available_cores


def machine() -> dict[str, Any]:
    """Platform, processor and cores."""
    return {"platform": platform.platform(), "processor": platform.machine(), "cores": available_cores()}


def versions() -> dict[str, str]:
    """Of netmorph and what computes for it."""
    return {
        "netmorph": version("netmorph"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
