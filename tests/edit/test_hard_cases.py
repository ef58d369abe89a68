"""Cases in which a check on the example inputs alone would be fooled."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import same, small, snapshot
from torch import Tensor, nn

from netmorph import EditError, NetmorphError, TraceError, apply, identity, load, narrow, residual, save, trace, widen
from netmorph.files import SaveError
from netmorph.widenings import r2r


class Shifted(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) - 0.5


@pytest.mark.parametrize("activation", [nn.Hardtanh(-5, 5), Shifted(nn.Linear(4, 4), nn.ReLU())])
def test_identity_is_exact_far_from_the_example_inputs(activation: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(3, 4), activation, nn.Linear(4, 2)).double()
    far = 100 * torch.randn(50, 3, dtype=torch.float64)
    before = model(far)
    graph = trace(model, 0.01 * torch.randn(2, 3, dtype=torch.float64))
    apply(graph, identity(graph, "1"))
    torch.testing.assert_close(model(far), before, rtol=1e-12, atol=1e-12)


def test_outputs_without_a_finite_number_check_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    before = snapshot(model, torch.optim.SGD(model.parameters()))
    graph = trace(model, torch.full((2, 3), float("nan")) + torch.arange(3.0) * float("nan"))
    with pytest.raises(EditError, match="no edit can be checked on them"):
        apply(graph, widen(graph, "0", 6))
    assert same(before, snapshot(model, torch.optim.SGD(model.parameters())))


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        return self.layer(x) / step


def test_a_single_number_is_an_input_as_it_stands() -> None:
    graph = trace(Scaled(), (torch.zeros(2, 3), torch.tensor(4.0)))
    image, step = graph.inputs
    assert image.std() > 0
    assert step == 4


def test_inputs_by_keyword() -> None:
    graph = trace(Scaled(), {"step": torch.tensor(4.0), "x": torch.randn(2, 3)})
    assert list(graph.groups) == ["layer", "layer.in"]


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.act, self.head = nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2)
        self.places = nn.Parameter(torch.randn(1, 7, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.embed(x) + self.places))


def test_a_layer_behind_tokens_runs_over_their_features() -> None:
    graph = trace(Tokens(), torch.randn(2, 7, 5))
    graph = apply(graph, residual(graph, "act"))
    first = graph.model.get_submodule("act.1.body.0")
    assert isinstance(first, nn.Linear)
    assert first.in_features == 8


def test_an_optimizer_with_flat_state_is_refused_also_where_its_parameter_stays() -> None:
    model, x = small()
    optimizer = torch.optim.LBFGS(model.parameters())

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = model(x).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    graph = trace(model, x)
    last = list(graph.groups)[-2]
    with pytest.raises(EditError, match=r"L-BFGS keeps"):
        apply(graph, widen(graph, last, graph.groups[last].size + 2), optimizer)


@pytest.mark.parametrize("edit", [residual, identity])
def test_edits_leave_the_random_state_alone(edit: Callable[..., object]) -> None:
    model, x = small()
    graph = trace(model, x)
    state = torch.get_rng_state()
    apply(graph, edit(graph, "2"))  # type: ignore[arg-type]
    assert torch.equal(state, torch.get_rng_state())


def test_a_group_is_found_by_any_module_that_writes_it() -> None:
    class Stream(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(4))
            self.first, self.second, self.last = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x) * self.scale
            return self.last(x + self.second(x).relu())

    graph = trace(Stream(), torch.randn(2, 3))
    assert next(iter(graph.groups)) == "first"
    assert graph.group("second") is graph.group("first")


@pytest.mark.parametrize(
    ("build", "example", "message"),
    [
        (lambda: nn.LazyLinear(4), torch.randn(2, 3), r"'weight', 'bias' have no size yet; run the model once"),
        (lambda: nn.Linear(3, 4, device="meta"), torch.randn(2, 3), r"'weight' is on the meta device"),
        (lambda: nn.Linear(3, 4), torch.randn(2, 3, device="meta"), r"an example input is on the meta device"),
        (lambda: nn.Linear(3, 4), torch.randn(2, 3).to_sparse(), r"an example input is sparse"),
    ],
)
def test_tensors_without_values_are_refused(build: Callable[[], nn.Module], example: Tensor, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        trace(build(), example)


def test_what_is_no_argument_of_an_edit_is_told() -> None:
    model, x = small()
    graph = trace(model, x)
    wider = widen(graph, "0", np.int64(graph.groups["0"].size + 1))  # type: ignore[arg-type]
    twin = copy.deepcopy(model)
    for given, message in [
        (lambda: widen(graph, "0", 99, "r2r"), "a method is a function"),  # type: ignore[arg-type]
        (lambda: widen(graph, model[0], 99), "no channel group"),  # type: ignore[arg-type,index]
        (lambda: narrow(graph, "0", 2), "given by their indices, as range"),  # type: ignore[arg-type]
        (lambda: apply(model, wider), "takes a graph"),  # type: ignore[arg-type]
        (lambda: apply(graph, r2r), "and an edit"),  # type: ignore[arg-type]
        (lambda: apply(graph, wider, model.parameters()), "takes the optimizer that trains the model"),  # type: ignore[arg-type]
        (lambda: trace(model, x, copies=[twin, twin]), "each of the model's copies once"),
        (lambda: trace(model, x, copies=twin), "takes a list"),  # type: ignore[arg-type]
        (lambda: trace(model, x, copies=[twin.state_dict()]), "takes a list of modules"),  # type: ignore[list-item]
        (lambda: load("nowhere", model), "takes a function that builds"),
    ]:
        with pytest.raises(NetmorphError, match=message):
            given()


def test_numbers_that_the_file_format_lacks(tmp_path: Path) -> None:
    model = nn.Linear(3, 4)
    model.register_buffer("bits", torch.empty(2, dtype=torch.bits8))
    with pytest.raises(SaveError, match=r"no torch.bits8 \('bits'\)"):
        save(tmp_path / "net.safetensors", model)
    assert not [*tmp_path.iterdir()]
    model = nn.Linear(3, 4, dtype=torch.complex128)
    save(tmp_path / "net.safetensors", model)  # it lacks this one, too: pairs of numbers
    again, _ = load(tmp_path / "net.safetensors", lambda: nn.Linear(3, 4, dtype=torch.complex128))
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_marks_on_parameters_stay_and_hooks_on_gradients_are_not_lost() -> None:
    model, x = small()
    graph = trace(model, x)
    weight = model.get_parameter("0.weight")
    weight.no_decay = True  # type: ignore[attr-defined]
    wider = widen(graph, "0", graph.groups["0"].size + 2)
    for register in (weight.register_hook, weight.register_post_accumulate_grad_hook):
        handle = register(lambda given: None)  # type: ignore[arg-type]
        with pytest.raises(EditError, match=r"'0\.weight' has hooks on its gradient"):
            apply(graph, wider)
        handle.remove()
    apply(graph, wider)
    assert model.get_parameter("0.weight") is not weight
    assert model.get_parameter("0.weight").no_decay  # type: ignore[attr-defined]
