"""torchvision and timm are imported in an environment that nobody has mended, too."""

import subprocess
import sys

import pytest


def test_libraries_are_imported_beside_a_pytorch_that_they_were_not_compiled_for() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    program = (
        "import sys; from netmorph.torchvision_operators import Declaring;"
        "sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Declaring)];"
        "from netmorph.zoo.vision import vision_library; print(vision_library('timm').__name__);"
        "import torchvision.models; print(torchvision.models.resnet18(num_classes=2).fc.out_features)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=200)
    assert done.stdout.split() == ["timm", "2"], done.stderr[-2000:]
