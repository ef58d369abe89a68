import torch
from torch import nn

from netmorph import trace, zoo
from netmorph.draw.boxes import CONCATENATION, OUTSIDE, PRODUCT, RESIDUAL, SUM, Box
from netmorph.draw.reading import read
from netmorph.measure import flops, parameters
from tests.draw.nets import Residual, UNet, images


def kinds(box: Box) -> list[str]:
    return [inner.kind for inner in box.inside]


def links(box: Box) -> set[tuple[int, int]]:
    return {(edge.source, edge.target) for edge in box.edges}


def test_boxes_hold_what_modules_and_operators_cost():
    for name in ("lenet5", "resnet", "gpt"):
        takes = zoo.takes(name)
        model = zoo.build(name, takes.shape, takes.classes)
        inputs = zoo.example(name, takes.shape, takes.classes)
        box = read(trace(model, inputs))

        assert box.parameters == parameters(model)
        assert box.flops == flops(model, inputs) // len(inputs)
        assert box.flops == sum(inner.flops for inner in box.inside)


def test_a_residual_block_is_a_sum_with_one_of_its_own_terms():
    (block,) = read(trace(nn.Sequential(Residual(3)), images())).inside

    assert kinds(block) == ["Conv2d", "ReLU", RESIDUAL, "ReLU"]  # the module that is called twice is two boxes
    assert links(block) == {(OUTSIDE, 0), (0, 1), (OUTSIDE, 2), (1, 2), (2, 3), (3, OUTSIDE)}
    assert block.inside[0].detail == "3×3"
    assert block.inputs == block.outputs == ((3, 8, 8),)


def test_two_branches_are_a_plain_sum():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.one(x) + self.other(x)

    assert kinds(read(trace(Both(), torch.randn(2, 4)))) == ["Linear", "Linear", SUM]


def test_boxes_with_two_inputs_know_which_is_which():
    box = read(trace(UNet(), images()))
    ups = [inner for inner in box.inside if inner.kind == "Up"]

    assert [up.inputs for up in ups] == [((16, 2, 2), (8, 4, 4)), ((8, 4, 4), (4, 8, 8))]
    for up in ups:
        assert kinds(up) == ["ConvTranspose2d", CONCATENATION, "Conv2d", "ReLU"]
        into = {(edge.target, edge.output) for edge in up.edges if edge.source == OUTSIDE}
        assert {target for target, _ in into} == {0, 1}
        assert len({port for _, port in into}) == 2


def test_views_masks_and_constants_are_no_boxes_and_functional_layers_are():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Linear(4, 4)
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, x):
            mask = x.new_zeros(4)
            mask[0] = 1
            x = nn.functional.linear(x.view(-1, 4) / 2, self.weight.weight, self.weight.bias) + mask
            return torch.sigmoid(x.reshape(2, 4)) * self.scale

    box = read(trace(Functional(), torch.randn(2, 4)))

    assert [(inner.path, inner.kind) for inner in box.inside] == [
        ("weight", "Linear"),
        ("", "sigmoid"),
        ("scale", PRODUCT),
    ]
    assert [inner.parameters for inner in box.inside] == [20, 0, 4]
    assert not box.inside[-1].is_junction


def test_groups_stand_where_they_are_written_and_run_along_edges():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    box = read(trace(model, torch.randn(2, 4)))

    assert [inner.groups for inner in box.inside] == [("0",), (), ("2",)]
    assert next(edge for edge in box.edges if (edge.source, edge.target) == (0, 1)).groups == ("0",)


def test_a_model_without_modules_inside_is_drawn_by_its_operators():
    class Bare(nn.Module):
        def forward(self, x):
            return torch.relu(x) * x

    assert kinds(read(trace(Bare(), torch.randn(2, 4)))) == ["ReLU", PRODUCT]


def test_a_parametrized_layer_is_one_box():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.ReLU())

    assert kinds(read(trace(model, torch.randn(2, 4)))) == ["ParametrizedLinear", "ReLU"]


def test_what_is_written_into_a_part_of_a_tensor_is_in_the_tensor():
    class Filling(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.last = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x):
            whole = x.new_zeros(len(x), 4)
            whole[:, :2] = self.one(x)
            return self.last(whole)

    box = read(trace(Filling(), torch.randn(2, 4)))

    assert kinds(box) == ["Linear", "Linear"]
    assert links(box) == {(OUTSIDE, 0), (0, 1), (1, OUTSIDE)}
