"""Modules taken out: what they did is folded into their neighbours, or kept as one layer."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from nets import output, small
from torch import Tensor, nn

from netmorph import EditError, apply, identity, load, residual, save, shallow, trace, zoo
from netmorph.edit import linearize
from netmorph.edit.shallow import least_squares

X = torch.randn(64, 4, 6, 6, generator=torch.Generator().manual_seed(0)).double()


class Affine(nn.Module):
    """A channel-wise affine block written as people do not fold by hand: two layers and a shortcut."""

    def __init__(self, layer: type[nn.Module], *kernel: int) -> None:
        super().__init__()
        self.a, self.b = layer(4, 3, *kernel), layer(3, 4, *kernel)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(self.a(x))


def model_with(*layers: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize(
    "behind",
    [
        [nn.Conv2d(4, 3, 3), nn.ReLU()],
        [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)],
        [nn.Flatten(), nn.Linear(144, 3)],
        [nn.Dropout(), nn.Conv2d(4, 3, 1, stride=2), nn.Tanh()],
    ],
    ids=["convolution", "pooling", "flatten", "dropout"],
)
def test_an_affine_block_folds_into_what_reads_it(behind: list[nn.Module]) -> None:
    model = model_with(nn.ReLU(), Affine(nn.Conv2d, 1), *behind)
    before = output(model, X)
    graph = trace(model, X)
    edit = shallow(graph, "1", data=[X[:32], (X[32:],)])
    told = edit.describe()
    assert told.left_out_error > 0.1
    assert told.fitted_error < 1e-6
    graph = apply(graph, edit)
    assert torch.allclose(output(model, X), before, rtol=0, atol=1e-10)
    assert type(model[1]) is nn.Identity
    assert graph.journal[-1].edit == told


def test_it_folds_into_all_who_read_it() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.a, self.b = Affine(nn.Linear), nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.block(x.tanh())
            return self.a(y).relu() + self.b(y).tanh()

    torch.manual_seed(0)
    model, x = Two().double(), torch.randn(50, 4).double()
    before = output(model, x)
    graph = trace(model, x)
    apply(graph, shallow(graph, "block", data=[x]))
    assert torch.allclose(output(model, x), before, rtol=0, atol=1e-10)


def test_else_into_what_writes_its_input() -> None:
    model = model_with(nn.Conv2d(4, 4, 3), Affine(nn.Conv2d, 1), nn.Tanh(), nn.Conv2d(4, 2, 1))
    before = output(model, X)
    graph = trace(model, X)
    apply(graph, shallow(graph, "1", data=[X]))
    assert torch.allclose(output(model, X), before, rtol=0, atol=1e-10)


def test_an_intercept_does_not_fold_into_padding_with_zeros() -> None:
    """The map without an intercept is fitted, and is the best of those."""
    model = model_with(nn.ReLU(), Affine(nn.Conv2d, 1), nn.Conv2d(4, 3, 3, padding=1))
    graph = trace(model, X)
    edit = shallow(graph, "1", data=[X])
    x = X.relu().movedim(1, -1).flatten(0, -2)
    y = output(model[:2], X).movedim(1, -1).flatten(0, -2)
    oracle = torch.linalg.lstsq(x, y).solution.T
    assert torch.allclose(edit.affine.matrix, oracle, rtol=0, atol=1e-10)
    assert not edit.affine.bias.any()
    assert edit.affine.error == pytest.approx(float((y - x @ oracle.T).norm() / y.norm()))


def test_linearize_is_least_squares_with_an_intercept() -> None:
    model = model_with(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), residual_block(), nn.ReLU())
    graph = trace(model, X)
    x = output(model[:2], X).movedim(1, -1).flatten(0, -2)
    y = output(model[:3], X).movedim(1, -1).flatten(0, -2)
    rows = torch.cat([x, torch.ones(len(x), 1).double()], 1)
    solution = torch.linalg.lstsq(rows, y).solution
    edit = linearize(graph, "2", [X])
    assert edit.affine.error < 0.99 * edit.affine.left_out
    assert edit.affine.error == pytest.approx(float((y - rows @ solution).norm() / y.norm()))
    apply(graph, edit)
    assert isinstance(model[2], nn.Conv2d)
    assert torch.allclose(
        output(model[:3], X),
        output(model[:2], X).movedim(1, -1).matmul(solution[:-1]).movedim(-1, 1) + solution[-1][:, None, None],
        rtol=0,
        atol=1e-10,
    )


def residual_block() -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1), nn.ReLU())


def test_folding_beats_leaving_out() -> None:
    """In a network, by the function's error on data that was not fitted."""
    torch.manual_seed(0)
    errors = []
    for data in (None, [X[:48]]):
        model = model_with(nn.Conv2d(4, 4, 1), nn.ReLU(), residual_block(), nn.Conv2d(4, 3, 1))
        before = output(model, X[48:])
        graph = trace(model, X[:2])
        apply(graph, shallow(graph, "2", data=data))
        errors.append(float((output(model, X[48:]) - before).norm()))
    assert errors[1] < 0.5 * errors[0]


def test_a_module_that_gives_zeros_alone_has_errors_that_a_file_can_hold(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU6(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    x = torch.randn(5, 3)
    graph = trace(model, x)
    found = least_squares(graph, "1", [x], intercept=True)
    assert (found.left_out, found.error) == (1.0, pytest.approx(0.0, abs=1e-6))
    save(tmp_path / "n.safetensors", model, apply(graph, linearize(graph, "1", [x])).journal)


def test_directions_that_the_data_does_not_show_pass_through() -> None:
    model = model_with(nn.Identity(), nn.Linear(4, 4), nn.Linear(4, 2))
    x = torch.randn(9, 4).double()
    x[:, 3] = 0
    graph = trace(model, x)
    matrix = least_squares(graph, "1", [x], intercept=False).matrix
    assert torch.allclose(matrix[:, 3], torch.eye(4).double()[:, 3], rtol=0, atol=1e-10)


def test_tokens() -> None:
    model = model_with(nn.Linear(4, 4), Affine(nn.Linear), nn.Tanh(), nn.Linear(4, 2))
    x = torch.randn(8, 5, 4).double()
    before = output(model, x)
    graph = trace(model, x)
    apply(graph, linearize(graph, "1", [x]))
    assert torch.allclose(output(model, x), before, rtol=0, atol=1e-10)


def test_a_moving_average_folds_into_its_own_weights() -> None:
    model = model_with(nn.ReLU(), Affine(nn.Conv2d, 1), nn.Conv2d(4, 3, 3))
    average = deepcopy(model)
    with torch.no_grad():
        average[2].weight.mul_(2)
        average[2].bias.mul_(2)
    before = output(average, X)
    graph = trace(model, X, copies=[average])
    apply(graph, shallow(graph, "1", data=[X]))
    assert torch.allclose(output(average, X), before, rtol=0, atol=1e-10)


def test_a_stream_that_passes_by_is_refused() -> None:
    torch.manual_seed(0)
    model = zoo.build("resnet", (3, 8, 8), 3, blocks=(3,), channels=(4,)).double()
    x = torch.randn(4, 3, 8, 8).double()
    graph = trace(model, x)
    with pytest.raises(EditError, match=r"what 'stage1\.1' does cannot be folded .* linearize keeps it as one layer"):
        shallow(graph, "stage1.1", data=[x])
    graph = apply(graph, shallow(graph, "stage1.2", data=[x]))  # the last one: the linear layer reads it
    graph = apply(graph, linearize(graph, "stage1.1", [x]))
    assert isinstance(model.stage1[1], nn.Conv2d)


@pytest.mark.parametrize(
    ("path", "data", "message"),
    [
        ("3", [], "nothing was seen of '3': the data holds no batch"),
        ("0", None, r"'0' turns \(3, 2, 6, 6\) into \(3, 4, 4, 4\)"),
        ("9", [], "no module '9' to edit"),
    ],
)
def test_messages(path: str, data: list[Tensor] | None, message: str) -> None:
    model, x = small()
    graph = trace(model, x)
    with pytest.raises(EditError, match=message):
        linearize(graph, path, [x] if data is None else data)


def test_saved_and_loaded(tmp_path: Path) -> None:
    def base() -> nn.Module:
        return model_with(nn.Conv2d(4, 4, 3), Affine(nn.Conv2d, 1), nn.ReLU(), residual_block(), nn.Conv2d(4, 3, 1))

    model = base()
    graph = trace(model, X)
    for make in (
        lambda graph: shallow(graph, "3", data=[X]),
        lambda graph: linearize(graph, "1", [X]),
        lambda graph: residual(graph, "2"),
        lambda graph: identity(graph, "2", norm=True, data=[X]),
        lambda graph: shallow(graph, "4"),
    ):
        graph = apply(graph, make(graph))
    save(tmp_path / "net", model, graph.journal)
    again, journal = load(tmp_path / "net", base)
    assert torch.equal(output(again, X), output(model, X))
    assert repr(again) == repr(model)
    assert [(entry.edit, entry.shapes) for entry in journal] == [(entry.edit, entry.shapes) for entry in graph.journal]


@pytest.mark.parametrize("training", [False, True])
def test_the_user_model_is_left_alone_by_looking_at_data(training: bool) -> None:
    model, x = small()
    model.train(training)
    mean = model[1].running_mean.clone()
    linearize(trace(model, x), "4", [x])
    assert torch.equal(model[1].running_mean, mean)
    assert all(module.training is training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
