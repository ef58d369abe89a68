import pytest
import torch
from torch import nn

import netmorph
from netmorph import look
from netmorph.look import LookError
from netmorph.look.weights import kin_of_equals
from netmorph.widenings import net2net, r2r, random_pad


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4 * 9, 3)
    ).double()


@pytest.fixture
def graph():
    return netmorph.trace(net(), torch.randn(4, 1, 6, 6, dtype=torch.float64))


def test_filters_of_a_convolution_and_of_a_layer_that_reads_pixels():
    assert torch.equal(look.filters(net(), "0"), net()[0].weight)
    rows = look.filters(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), "1", (3, 2, 2))
    assert rows.shape == (5, 3, 2, 2)
    assert look.filters(net(), "4").shape == (3, 1, 1, 36)


@pytest.mark.parametrize(
    ("layer", "image", "told"),
    [
        ("1", None, "'1' is a ReLU; filters are of Conv2d and Linear layers: 0, 4"),
        ("5", None, "no layer '5'"),
        ("4", (1, 6, 6), "reads 36 numbers"),
    ],
)
def test_what_has_no_filters(layer, image, told):
    image = image and (1, 5, 5)
    with pytest.raises(LookError, match=told):
        look.filters(net(), layer, image)


def test_two_linear_layers_as_images():
    first, second = nn.Linear(6, 4), nn.Linear(4, 2)
    seen = look.through(look.filters(nn.Sequential(first), "0", (1, 2, 3)), second.weight.detach())

    expected = second(first(torch.eye(6))) - second(first(torch.zeros(6)))
    assert torch.allclose(seen.flatten(1).T.float(), expected, atol=1e-5)


def test_kernels_as_one_matrix():
    kernels = torch.arange(24.0).view(2, 3, 2, 2)

    assert torch.equal(look.matrix(kernels)[:2, 2:4], kernels[0, 1])
    assert look.matrix(kernels).shape == (4, 6)


def test_how_far_filters_have_turned():
    before = torch.eye(2).view(2, 1, 1, 2)
    after = torch.tensor([[2.0, 0.0], [1.0, 1.0], [9.0, 9.0]]).view(3, 1, 1, 2)

    assert look.moved(before, after).tolist() == pytest.approx([1, 0.5**0.5])
    with pytest.raises(LookError, match="cannot be compared"):
        look.moved(before, torch.ones(3, 2, 1, 2))


@pytest.mark.parametrize(
    ("method", "marks", "names"),
    [
        (r2r, ["old"] * 4 + ["twin"] * 4, ["5 a", "6 b", "7 a", "8 b"]),
        (random_pad, ["old"] * 4 + ["new"] * 4, ["5", "6", "7", "8"]),
        (net2net, ["old"] * 4 + ["twin"] * 4, None),
    ],
)
def test_what_the_last_edit_made_of_channels(graph, method, marks, names):
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", to=8, method=method))
    found = look.kin(look.channels_of(graph, "0"))

    assert [one.mark for one in found] == marks
    assert names is None or [one.name for one in found[4:]] == names
    assert names or sorted(one.name[-1] for one in found[4:]) == ["1", "2", "3", "4"]


def test_the_course_of_a_widened_layer(graph, tmp_path):
    before = look.filters(graph.model, "0")
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", to=8, method=r2r))
    course = look.Course(graph, "0", before=before)
    assert torch.equal(course.looks[0].filters[:4], before)
    assert course.parted() is None

    optimizer = torch.optim.SGD(graph.model.parameters(), 0.1)
    for _ in range(3):
        graph.model(torch.randn(8, 1, 6, 6, dtype=torch.float64)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    found = course.look("step 3")

    assert course.parted() == "step 3"
    assert max(found.moved) < 1
    sheet = course.sheet("r2r")
    assert [len(row.panels) for row in sheet.rows] == [4, 8, 8]
    assert {panel.mark for panel in sheet.rows[2].panels} == {"old", "twin"}


def test_the_course_of_a_new_first_layer():
    model = nn.Sequential(nn.Conv2d(3, 3, 1, groups=3), nn.Conv2d(3, 4, 3), nn.ReLU()).double()
    graph = netmorph.trace(model, torch.randn(2, 3, 6, 6, dtype=torch.float64))
    graph = netmorph.apply(graph, netmorph.identity(graph, after="0"))
    course = look.Course(graph, "1.0")

    assert {one.mark for one in course.kin} == {"new"}
    assert [one.name for one in kin_of_equals(torch.ones(2, 1, 1, 1), "new")] == ["1 a", "2 a"]
    assert torch.equal(course.looks[0].filters.sum((2, 3)), torch.eye(3, dtype=torch.float64))
