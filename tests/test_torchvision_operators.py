"""An environment whose torchvision was not compiled for its PyTorch is mended, and no other is touched."""

import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from netmorph import torchvision_operators
from netmorph.torchvision_operators import FILE, LINE, Declaring, mend

START = "import netmorph.torchvision_operators as mended; mended.install()"


def answered(stderr: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, int(bool(stderr)), "", stderr)

    return run


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_libraries_that_import_torchvision_work_in_a_mended_environment() -> None:
    pytest.importorskip("torchvision", reason="torchvision is not installed")
    program = (
        f"{START}; import torchvision.models, pytorch_lightning; from transformers import Trainer;"
        "print(torchvision.models.resnet18(num_classes=2).fc.out_features)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program],
                          capture_output=True, text=True, timeout=200)  # fmt: skip
    assert done.stdout.strip() == "2", done.stderr[-2000:]


def test_python_starts_without_pytorch_there() -> None:
    done = subprocess.run([sys.executable, "-c", f"{START}; import sys; print('torch' in sys.modules)"],
                          capture_output=True, text=True)  # fmt: skip
    assert done.stdout.strip() == "False", done.stderr


def test_only_the_failure_it_knows_is_mended(monkeypatch: pytest.MonkeyPatch, packages: Path) -> None:
    monkeypatch.setattr(subprocess, "run", answered(""))
    assert mend() == "torchvision can be imported"
    monkeypatch.setattr(subprocess, "run", answered("No module named 'torchvision'"))
    assert "No module named 'torchvision'" in mend()
    assert not list(packages.iterdir())
    monkeypatch.setattr(subprocess, "run", answered("RuntimeError: operator torchvision::nms does not exist"))
    assert str(packages / FILE) in mend()
    assert "netmorph.torchvision_operators" in (packages / FILE).read_text()


def test_the_line_that_python_runs_minds_no_missing_netmorph() -> None:
    count = "sum(type(finder).__name__ == 'Declaring' for finder in sys.meta_path)"
    for missing, expected in (("", 1), ("sys.modules['netmorph.torchvision_operators'] = None; ", 0)):
        program = f"import sys; before = {count}; {missing}exec({LINE!r}); print({count} - before)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.stdout == f"{expected}\n", done.stderr


def test_operators_that_someone_else_declared_are_left_alone() -> None:
    program = (
        "import torch; own = torch.library.Library('torchvision', 'FRAGMENT');"
        "own.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor');"
        f"{START}; import torchvision"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_finder_declares_once_and_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    declared: list[bool] = []
    monkeypatch.setattr(torchvision_operators, "declare", lambda: declared.append(True))
    finder = Declaring()
    monkeypatch.setattr(sys, "meta_path", [finder])
    finder.find_spec("torch", None)
    assert (declared, sys.meta_path) == ([], [finder])
    finder.find_spec("torchvision", None)
    assert (declared, sys.meta_path) == ([True], [])
