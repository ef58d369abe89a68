"""The edited network as a torch.export program and as ONNX computes what it did, for other batch sizes too."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from netmorph import MissingExtra, apply, save, trace, widen, zoo
from netmorph.export import ExportError, exported, onnx, write_exported
from netmorph.graph import Graph


def edited() -> Graph:
    torch.manual_seed(0)
    model = zoo.resnet((3, 8, 8), 10, width=0.25, blocks=(1, 1), channels=(16, 32))
    graph = trace(model, torch.randn(1, 3, 8, 8))
    group = graph.editable()[0]
    return apply(graph, widen(graph, group.name, group.size + 3))


class Branching(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) if x.sum() > 0 else x


class OneBatch(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).view(2, 4)


def test_torch_export(tmp_path: Path) -> None:
    graph = edited()
    graph.model.train()
    write_exported(graph, tmp_path / "network.pt2")
    assert graph.model.training
    x = torch.randn(5, 3, 8, 8)
    network = torch.export.load(tmp_path / "network.pt2").module()
    torch.testing.assert_close(network(x), graph.model.eval()(x))


FULL_DISK = """
import pathlib, resource, signal, sys, torch
from torch import nn
from netmorph import trace
from netmorph.export import write_exported
path = pathlib.Path(sys.argv[1])
path.write_text("an older file")
graph = trace(nn.Sequential(nn.Linear(100, 100)), torch.randn(2, 100))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then a file that grows too large is an error, as on a full disk
for size in (0, 1000, 20000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        write_exported(graph, path)
    except Exception as error:
        print(size, type(error).__name__, path.read_text(), len([*path.parent.iterdir()]), flush=True)
"""


def test_a_full_disk_does_not_abort_the_interpreter(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FULL_DISK, str(tmp_path / "network.pt2")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    told = "".join(f"{size} SaveError an older file 1\n" for size in (0, 1000, 20000))
    assert (done.returncode, done.stdout) == (0, told), done.stderr


def test_a_network_is_not_overwritten_by_an_export(tmp_path: Path) -> None:
    graph = edited()
    save(tmp_path / "network.safetensors", graph.model, graph.journal)
    (tmp_path / "link.pt2").symlink_to(tmp_path / "network.safetensors")
    before = (tmp_path / "network.safetensors").read_bytes()
    for write in (write_exported, onnx):
        for name in ("network.safetensors", "link.pt2"):
            with pytest.raises(ExportError, match=f"{name} exists and holds the weights of a network"):
                write(graph, tmp_path / name)
    assert (tmp_path / "network.safetensors").read_bytes() == before


def test_keyword_inputs() -> None:
    model = nn.Bilinear(3, 4, 2)
    program = exported(trace(model, {"input1": torch.randn(2, 3), "input2": torch.randn(2, 4)}))
    new = {"input1": torch.randn(6, 3), "input2": torch.randn(6, 4)}
    torch.testing.assert_close(program.module()(**new), model(**new))


def test_what_torch_cannot_export_is_refused() -> None:
    with pytest.raises(ExportError, match=r"torch\.export cannot export this network: .*Plain code"):
        exported(trace(Branching(3, 3), torch.ones(2, 3)))


def test_a_fixed_batch_is_exported_on_request() -> None:
    graph = trace(OneBatch(3, 4), torch.ones(2, 3))
    with pytest.raises(ExportError, match="free_batch=False"):
        exported(graph)
    x = torch.randn(2, 3)
    torch.testing.assert_close(exported(graph, free_batch=False).module()(x), graph.model(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_onnx(tmp_path: Path) -> None:
    runtime: Any = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    graph = edited()
    path = tmp_path / "network.onnx"
    path.write_text("an older file")
    onnx(graph, path)
    assert [file.name for file in tmp_path.iterdir()] == ["network.onnx"]
    session = runtime.InferenceSession(str(path))
    x = torch.randn(5, 3, 8, 8)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), graph.model.eval()(x), rtol=1e-4, atol=1e-5)


def test_onnx_names_the_missing_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"netmorph\[onnx\]"):
        onnx(edited(), tmp_path / "network.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_weights_too_large_for_one_onnx_file_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    monkeypatch.setattr("netmorph.export.program.LARGEST", 1000)
    with pytest.raises(ExportError, match="GiB of weights"):
        onnx(trace(nn.Linear(30, 9), torch.randn(2, 30)), tmp_path / "network.onnx")
    assert list(tmp_path.iterdir()) == []
