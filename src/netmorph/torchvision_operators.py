"""torchvision beside a PyTorch that it was not compiled for: its Python part works once a few operators are declared.

PyPI's torchvision belongs to PyPI's PyTorch. Beside a CPU build, `import torchvision` fails (`operator torchvision::nms
does not exist`), and so do timm, Lightning and transformers' Trainer, which import it. No network needs the operators.
`python -m netmorph.torchvision_operators` mends the environment that it runs in, where that is needed: from then on
they are declared when someone imports torchvision, whatever the program. `make` calls it.

Imports nothing but the standard library until then: an environment so mended imports this module when Python starts.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import sysconfig
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

# What the compiled part would define and the Python part refers to when it is imported.
OPERATORS = ("nms", "qnms")
FAILURE = "operator torchvision::"
MODULE = "netmorph.torchvision_operators"
FILE = "netmorph-torchvision.pth"  # Python runs the lines of such files when it starts
LINE = f"import contextlib; exec('with contextlib.suppress(ImportError):\\n import {MODULE}\\n {MODULE}.install()')\n"


@functools.cache
def declare() -> Any:
    """Declare what is missing, without a body. The declarations live as long as what is returned, which is kept."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in OPERATORS:
        if not torch._C._jit_get_schemas_for_operator(f"torchvision::{operator}"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


class Declaring(MetaPathFinder):
    """Declares the operators when torchvision is about to be imported; finds nothing itself."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> None:
        """See `importlib`."""
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            declare()


def install() -> None:
    """Called when Python starts, in an environment that was mended."""
    sys.meta_path.insert(0, Declaring())


def mend() -> str:
    """Where `import torchvision` fails for want of its operators, make it work in this environment.

    Returns:
        What was found or done, in a line.
    """
    tried = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True)
    if tried.returncode == 0:
        return "torchvision can be imported"
    if FAILURE not in tried.stderr:
        return f"torchvision cannot be imported, and not for want of operators: {tried.stderr.strip()[-300:]}"
    place = Path(sysconfig.get_path("purelib")) / FILE
    place.write_text(LINE)
    return f"torchvision was not compiled for this PyTorch: {place} declares its operators whenever it is imported"


if __name__ == "__main__":
    print(mend())
