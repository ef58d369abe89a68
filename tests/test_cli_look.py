import json
import sys
from pathlib import Path

import pytest
import torch

from netmorph import apply, save, trace, widen
from netmorph.edit import Base
from tests.program import Program


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """LeNet-5 for digits, and the same with two more channels in its first layer."""
    folder = tmp_path_factory.mktemp("networks")
    base = Base("lenet5", {"input_shape": (1, 8, 8), "classes": 10})
    torch.manual_seed(0)
    graph = trace(base.build(), torch.randn(4, 1, 8, 8))
    save(folder / "start.safetensors", graph.model, graph.journal, base)
    graph = apply(graph, widen(graph, "conv1", to=8))
    save(folder / "grown.safetensors", graph.model, graph.journal, base)
    return str(folder / "start.safetensors"), str(folder / "grown.safetensors")


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Program:
    monkeypatch.chdir(tmp_path)
    return Program(monkeypatch, capsys)


def test_filters_of_two_networks(program, files, tmp_path):
    start, grown = files
    done = program("look", "filters", start, "--against", grown, "--output", "f.html")

    assert "Pictures: f.html" in done.out
    assert "<summary>All numbers" in (tmp_path / "f.html").read_text()
    before, after = json.loads((tmp_path / "f.json").read_text())["rows"]
    assert len(before["pictures"]) == 6
    assert [told["kind"] for told in after["pictures"]] == ["old"] * 6 + ["new"] * 2
    assert after["pictures"][0]["cosine"] == pytest.approx(1)


def test_rows_of_a_linear_layer_as_images_and_deep_weights_as_a_matrix(program, tmp_path):
    program("look", "filters", "mlp", "--input", "1x8x8", "--output", "m.json")
    assert len(json.loads((tmp_path / "m.json").read_text())["rows"][0]["pictures"][0]["values"][0]) == 8
    program("look", "filters", "lenet5", "--layer", "conv2", "--matrix", "--output", "c.json")
    [row] = json.loads((tmp_path / "c.json").read_text())["rows"]
    assert len(row["pictures"][0]["values"]) == 16 * 5


@pytest.mark.parametrize("method", ["gradients", "grad-cam"])
def test_saliency_is_the_same_right_after_an_exact_edit(program, files, tmp_path, method):
    pytest.importorskip("captum")
    start, grown = files
    arguments = ("--data", "digits", "--against", grown, "--method", method, "--images", "3", "--output", "s.json")
    assert program("look", "saliency", start, *arguments).code == 0

    rows = json.loads((tmp_path / "s.json").read_text())["rows"]
    assert [row["label"].partition("\n")[0] for row in rows] == ["image", "before", "after", "nothing learnt"]
    assert all(told["largest difference"] < 1e-6 for told in rows[2]["pictures"])
    assert [told["caption"] for told in rows[0]["pictures"]] == ["0", "1", "2"]


def test_what_excites_classes_and_channels(program, files, tmp_path):
    arguments = ("--data", "digits", "--steps", "2", "--classes", "2", "--no-random")
    assert program("look", "classes", files[0], *arguments, "--output", "c.svg").code == 0
    assert program("look", "classes", files[0], *arguments, "--layer", "conv2", "--output", "d.json").code == 0

    assert (tmp_path / "c.svg").read_text().count("<image ") == 2
    assert "what excites channels of conv2" in (tmp_path / "d.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("filters", "lenet5", "--layer", "relu1"), "is a ReLU"),
        (("filters", "lenet5", "--layer", "conv3"), "no layer 'conv3'"),
        (("filters", "lenet5", "--output", "f.png"), "got 'f.png'"),
        (("filters", "lenet5", "--against-option", "width=2"), "name it with --against"),
        (("saliency", "mlp", "--data", "digits", "--method", "grad-cam"), "Grad-CAM needs a convolution"),
        (("classes", "mlp", "--data", "diabetes"), "diabetes holds no images"),
        (("classes", "lenet5", "--data", "digits", "--layer", "conv9"), "no layer 'conv9'"),
    ],
)
def test_what_is_refused(program, arguments, told):
    done = program("look", *arguments)

    assert done.code in (1, 2)
    assert told in " ".join(done.err.split())


def test_captum_is_asked_for_before_the_data(program, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    done = program("look", "saliency", "lenet5", "--data", "nowhere")

    assert done.code in (1, 2)
    assert "pip install 'netmorph[look]'" in " ".join(done.err.split())
