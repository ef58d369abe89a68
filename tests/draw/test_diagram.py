import json
import re
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from netmorph import apply, draw, narrow, residual, trace, widen, zoo
from netmorph.draw import Change
from tests.draw.nets import Broken, Dense, Residual, UNet, images


def lenet5():
    return zoo.build("lenet5", (1, 28, 28), 10), torch.randn(2, 1, 28, 28)


def test_a_picture_is_one_svg_with_names_shapes_numbers_and_a_text_in_its_place():
    diagram = draw.architecture(trace(*lenet5()), "LeNet-5")
    drawn = diagram.svg()
    root = ElementTree.fromstring(drawn)

    assert root.attrib["role"] == "img"
    assert root[0].text == diagram.text()
    assert "LeNet-5: 61.7" in diagram.text()
    for told in (
        "61,706 parameters",
        "conv1",
        "Conv2d 5×5",
        "400",
        "frozen: the model",
        "prefers-color-scheme:dark",
    ):
        assert told in drawn
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")


def test_the_same_network_gives_the_same_picture():
    assert draw.architecture(trace(*lenet5())).svg() == draw.architecture(trace(*lenet5())).svg()


def test_depth_says_how_many_boxes_lie_in_each_other():
    diagram = draw.architecture(trace(nn.Sequential(Residual(3), nn.ReLU(), Residual(3)), images()))

    assert not any(box.inside for box in diagram.at(1).inside)
    assert diagram.at(2).inside[0].inside
    with pytest.raises(draw.DrawError, match=r"1 or more; got 0"):
        diagram.svg(0)


def test_the_page_unfolds_each_structure_once_and_asks_for_nothing(tmp_path):
    page = draw.architecture(trace(UNet(), images())).save(tmp_path / "unet.html").read_text()

    assert page.count("<summary><b>ups.0</b> Up</summary>") == 1
    assert "<b>ups.1</b>" not in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "<td>ups.1.conv</td>" in page


def test_numbers_are_plain_values(tmp_path):
    diagram = draw.architecture(trace(UNet(), images()))
    told = json.loads(diagram.save(tmp_path / "unet.json").read_text())

    assert told["network"]["parameters"] == sum(parameter.numel() for parameter in UNet().parameters())
    assert [box["path"] for box in told["network"]["inside"]][:3] == ["first", "pool", "downs.0"]
    assert told["groups"]["first"]["size"] == 4


def test_other_files_are_refused(tmp_path):
    with pytest.raises(draw.DrawError, match=r"got '.png'"):
        draw.architecture(trace(*lenet5())).save(tmp_path / "lenet.png")
    assert not [*tmp_path.iterdir()]


def test_notebooks_show_it():
    assert draw.architecture(trace(*lenet5()))._repr_svg_().startswith("<svg")


def test_modules_of_what_cannot_be_traced_are_drawn_with_the_reason():
    diagram = draw.module_tree(Broken(), "no forward <today>")

    assert "no forward &lt;today&gt;" in diagram.svg()
    assert [box.path for box in diagram.root.walk()] == ["", "body", "body.0", "body.1"]
    assert "Linear" in diagram.svg()
    twice = draw.module_tree(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), "why")
    assert "2 × Linear" in twice.svg()
    assert "side by side" not in twice.svg()


def test_dense_layers_take_little_room():
    diagram = draw.architecture(trace(Dense(20), images()))

    assert "20 × DenseLayer" in diagram.svg()
    assert len(diagram.html()) < 60_000


def changes(diagram: draw.Diagram) -> dict[str, Change]:
    return {box.path: box.change for box in diagram.root.walk() if box.change not in (None, Change.SAME)}


def test_an_edit_is_drawn_from_the_graphs_of_before_and_after():
    before = trace(*lenet5())
    after = apply(before, widen(before, "conv1", to=9))
    diagram = draw.difference(before, after)

    assert changes(diagram) == {
        "": Change.WIDER,
        **dict.fromkeys(("conv1", "relu1", "pool1", "conv2"), Change.WIDER),
    }
    assert "gives 6 → 9" in diagram.svg()
    assert "reads 6 → 9" in diagram.svg()
    assert "wider conv1 (Conv2d)" in diagram.text()


def test_any_edit_of_a_journal_is_drawn():
    def base():
        return lenet5()[0]

    graph = trace(*lenet5())
    for group, width in (("conv1", 9), ("fc1", 130), ("conv1", 12)):
        graph = apply(graph, widen(graph, group, to=width))
    journal = graph.journal

    second = draw.edits(base, graph.inputs, journal, 2)
    assert second.title == "widen (r2r) of 'fc1' from 120 to 130"
    assert set(changes(second)) == {"", "fc1", "relu3", "fc2"}
    assert "gives 6 → 12" in draw.edits(base, graph.inputs, journal, 1, 3).svg()
    with pytest.raises(draw.DrawError, match="edits 1 to 3; asked for were those from 4 to 4"):
        draw.edits(base, graph.inputs, journal, 4)


def test_narrower_layers_and_new_blocks_are_told_apart():
    before = trace(zoo.build("resnet", (3, 16, 16), 10, width=0.5), images(16))
    graph = apply(before, narrow(before, "stage2.0.conv1", range(5)))
    graph = apply(graph, residual(graph, after="stage1.0"))
    found = changes(draw.difference(before, graph))

    assert found["stage2.0.conv1"] == found["stage2.0.conv2"] == Change.NARROWER
    assert found["stage1.1"] == Change.NEW
    assert "stage1.2" not in found  # which was stage1.1
    assert Change.GONE not in found.values()


def test_a_layer_of_another_size_is_found_under_another_path():
    first = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    second = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    diagram = draw.difference(trace(first, torch.randn(2, 4)), trace(second, torch.randn(2, 4)))

    assert changes(diagram) == {"": Change.OTHER, "2": Change.NEW, "3": Change.NEW}
    edges = {(edge.source, edge.target): edge.change for edge in diagram.root.edges}
    assert edges[1, 4] == Change.GONE
    assert edges[1, 2] == edges[3, 4] == Change.NEW


def test_other_kernels_and_missing_layers():
    first = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())
    second = nn.Sequential(nn.Conv2d(3, 3, 5, padding=2), nn.ReLU())
    diagram = draw.difference(trace(first, images()), trace(second, images()), "3 to 5")

    assert "3×3 → 5×5" in diagram.svg()
    assert changes(diagram)["0"] == Change.OTHER
    assert [box.kind for box in diagram.root.inside if box.change == Change.GONE] == ["BatchNorm2d"]
    assert 'class="gone"' in diagram.svg()


def test_equal_networks_do_not_differ():
    diagram = draw.difference(trace(*lenet5()), trace(*lenet5()))

    assert not changes(diagram)
    assert "Nothing differs" in diagram.text()


def test_it_tells_no_folder_of_its_maker() -> None:
    model = zoo.build("gpt", (8,), 16, depth=1, channels=8, heads=2)
    told = draw.architecture(trace(model, torch.zeros(2, 8, dtype=torch.long))).svg()
    assert "transformer.py:" in told
    assert "/transformer.py:" not in told
