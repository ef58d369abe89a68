import json
from pathlib import Path

import pytest
import torch

from netmorph import apply, save, trace, widen
from netmorph.edit import Base
from tests.documented import check_documented
from tests.program import Program


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Program:
    monkeypatch.chdir(tmp_path)
    return Program(monkeypatch, capsys)


def test_a_picture_a_page_and_numbers(program, tmp_path):
    assert "Picture: lenet5.svg" in program("draw", "lenet5").out
    assert "conv1" in (tmp_path / "lenet5.svg").read_text()
    assert program("draw", "resnet", "--output", "net.html", "--option", "width=0.5").code == 0
    assert "<summary>" in (tmp_path / "net.html").read_text()
    told = json.loads(program("draw", "lenet5", "--json").out)
    assert told["network"]["kind"] == "Sequential"
    check_documented(told)


def test_against_another_network(program, tmp_path):
    program("draw", "mlp", "--input", "6", "--against", "mlp", "--against-option", "width=2", "--output", "d.svg")

    drawn = (tmp_path / "d.svg").read_text()
    assert "gives 128 → 256" in drawn
    assert "mlp → mlp" in drawn


def test_what_an_edit_changed(program, tmp_path):
    base = Base("mlp", {"input_shape": (6,), "classes": 3})
    graph = trace(base.build(), torch.randn(4, 6))
    for width in (130, 140):
        graph = apply(graph, widen(graph, wide(graph), to=width))
    save("grown.safetensors", graph.model, graph.journal, base)

    assert program("draw", "grown.safetensors", "--edit", "2", "--output", "d.svg").code == 0
    assert "gives 130 → 140" in (tmp_path / "d.svg").read_text()
    refused = program("draw", "grown.safetensors", "--edit", "3")
    assert refused.code in (1, 2)
    assert "has 2 edits; --edit 3 is none of them" in " ".join(refused.err.split())


def wide(graph):
    return next(group.name for group in graph.editable() if group.size > 100)


def test_modules_of_a_network_that_cannot_be_traced(program, tmp_path):
    assert program("draw", "tests.draw.nets:broken", "--output", "b.svg").code == 0
    assert "no forward today" in (tmp_path / "b.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--against", "mlp", "--edit", "1"), "give one of them"),
        (("--against-option", "width=2"), "name it with --against"),
        (("--output", "lenet.png"), "got 'lenet.png'"),
        (("--edit", "1"), "has no edits"),
    ],
)
def test_what_is_refused(program, arguments, told):
    done = program("draw", "lenet5", *arguments)

    assert done.code in (1, 2)
    assert told in " ".join(done.err.split())
