"""The optimizer goes on: the same object, its state mapped like the weights."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from nets import output, same, small, snapshot, trained
from torch import Tensor, nn

from netmorph import EditError, apply, factorize, merge, narrow, residual, trace, undo, widen
from netmorph.edit import Edit, linearize
from netmorph.graph import Graph
from netmorph.widenings import net2net, r2r, zero

Make = Callable[[Any], torch.optim.Optimizer]
OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "plain sgd": lambda p: torch.optim.SGD(p, lr=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "adamax": lambda p: torch.optim.Adamax(p, lr=0.01),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=0.1),
    "asgd": lambda p: torch.optim.ASGD(p, lr=0.01),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
}


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad])
def test_state_lies_in_memory_as_its_parameter_for_fused_optimizers(kind: Callable[..., torch.optim.Optimizer]) -> None:
    """Fused and not, networks in channels_last go on alike: a fused optimizer reads state in the order in memory."""
    models = [small(), small()]
    for (model, x), fused in zip(models, (False, True), strict=True):
        model.to(memory_format=torch.channels_last)
        options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        optimizer = trained(model, x, kind(model.parameters(), lr=0.01, fused=fused, **options))
        graph = apply(trace(model, x), widen(trace(model, x), "0", 7, r2r), optimizer)
        apply(graph, widen(graph, "3", 5, r2r), optimizer)
        for parameter, state in optimizer.state.items():
            for value in state.values():
                assert not isinstance(value, Tensor) or value.dim() == 0 or value.stride() == parameter.stride()
        trained(model, x, optimizer)
    for one, other in zip(*(model.parameters() for model, _ in models), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_has_the_parameters_shapes_and_training_goes_on(name: str) -> None:
    model, x = small()
    optimizer = trained(model, x, OPTIMIZERS[name](model.parameters()))
    graph = trace(model, x)
    graph = apply(graph, widen(graph, "0", 7, r2r), optimizer)
    graph = apply(graph, widen(graph, "3", 5, net2net), optimizer)
    graph = apply(graph, narrow(graph, "0", [0, 5, 2, 3]), optimizer)
    graph = apply(graph, residual(graph, "2"), optimizer)
    (group,) = optimizer.param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in model.parameters()}
    for parameter, state in optimizer.state.items():
        for value in state.values():
            assert not isinstance(value, Tensor) or value.numel() == 1 or value.shape == parameter.shape
    before = {name: p.detach().clone() for name, p in model.named_parameters() if name != "0.bias"}
    trained(model, x, optimizer)  # batch norm takes out what the bias before it adds
    assert all((model.get_parameter(name) != old).any() for name, old in before.items())


def test_moments_of_copies_are_those_of_their_own_gradients() -> None:
    """After an exact copying edit, momentum is what the widened network's own gradients would have given."""
    model, x = small()
    optimizer = trained(model, x, torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9), steps=3)
    graph = trace(model, x)
    apply(graph, widen(graph, "0", 9, net2net), optimizer)
    carried = {name: optimizer.state[p]["momentum_buffer"].clone() for name, p in model.named_parameters()}
    fresh = trained(model, x, torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9), steps=3)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(carried[name], fresh.state[parameter]["momentum_buffer"], msg=name)


def test_second_moments_are_squared_and_fresh_ones_take_the_largest() -> None:
    model, x = small()
    optimizer = trained(model, x, torch.optim.Adam(model.parameters(), lr=0.0), steps=3)
    old = optimizer.state[model[3].bias]["exp_avg_sq"].clone()
    graph = trace(model, x)
    graph = apply(graph, widen(graph, "3", 6, net2net), optimizer)
    halved = optimizer.state[model[3].bias]["exp_avg_sq"]
    torch.testing.assert_close(halved[:3], old / 4)
    apply(graph, widen(graph, "3", 8, zero), optimizer)
    state = optimizer.state[model[3].bias]
    torch.testing.assert_close(state["exp_avg_sq"][6:], halved.max().expand(2))
    assert state["exp_avg"][6:].tolist() == [0, 0]
    assert state["step"] == 3


def test_options_and_groups_stay() -> None:
    model, x = small()
    decay = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1}, {"params": plain, "lr": 0.5}], lr=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, [0.01, 0.5], total_steps=10)
    trained(model, x, optimizer)
    graph = trace(model, x)
    apply(graph, widen(graph, "0", 6), optimizer)
    assert [len(group["params"]) for group in optimizer.param_groups] == [3, 5]
    assert all(p.dim() > 1 for p in optimizer.param_groups[0]["params"])
    assert optimizer.param_groups[0]["weight_decay"] == 0.1
    trained(model, x, optimizer)
    scheduler.step()


def test_several_optimizers_share_the_work() -> None:
    model, x = small()
    body = torch.optim.SGD(model[:3].parameters(), lr=0.01, momentum=0.9)
    head = torch.optim.Adam(model[3:].parameters(), lr=0.01)
    for optimizer in (body, head):
        trained(model, x, optimizer)
    graph = trace(model, x)
    graph = apply(graph, widen(graph, "0", 6), [body, head])
    apply(graph, residual(graph, "2"), [body, head])
    held = [id(p) for o in (body, head) for g in o.param_groups for p in g["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters()), "each parameter in exactly one optimizer"


def test_a_module_registered_under_two_names() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.inner, self.out = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)
            self.again = self.inner

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.again(self.inner(self.first(x)).tanh()))

    model = Shared().double()
    x = torch.randn(5, 3).double()
    before = output(model, x)
    optimizer = trained(model, x, torch.optim.Adam(model.parameters(), lr=0.0))
    graph = trace(model, x)
    apply(graph, widen(graph, "first", 6), optimizer)
    assert model.inner is model.again
    torch.testing.assert_close(before, output(model, x))
    for parameter, state in optimizer.state.items():
        assert state["exp_avg"].shape == parameter.shape
    trained(model, x, optimizer)


def test_frozen_parameters_outside_the_optimizer_stay_outside() -> None:
    model, x = small()
    model[0].requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    graph = trace(model, x)
    apply(graph, widen(graph, "0", 6), optimizer)
    assert len(optimizer.param_groups[0]["params"]) == 6


def test_what_an_optimizer_holds_of_something_else_stays_as_it_is() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(5, 3)
    temperature = nn.Parameter(torch.ones(()))
    optimizer = torch.optim.Adam([temperature, *model.parameters()])
    (model(x) * temperature).square().mean().backward()
    optimizer.step()
    state = dict(optimizer.state[temperature])

    graph = trace(model, x)
    graph = apply(graph, widen(graph, "0", 6), optimizer)
    apply(graph, residual(graph, after="1"), optimizer)
    assert optimizer.param_groups[0]["params"][0] is temperature
    assert same(optimizer.state[temperature], state)
    assert {*optimizer.param_groups[0]["params"]} == {temperature, *model.parameters()}


def test_parameters_that_are_not_trained_stay_untrained() -> None:
    model, x = small()
    optimizer = trained(model, x, torch.optim.Adam(model[3:].parameters(), lr=0.01))
    graph = trace(model, x)
    apply(graph, widen(graph, "0", 6), optimizer)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in model[3:].parameters()]


def test_an_optimizer_of_another_model() -> None:
    model, x = small()
    other = trained(*small(), torch.optim.Adam(small()[0].parameters()))
    before = snapshot(model, other)
    graph = trace(model, x)
    with pytest.raises(EditError, match=r"holds none of this model's parameters.*model\.parameters\(\)"):
        apply(graph, widen(graph, "0", 6), other)
    assert same(before, snapshot(model, other))


def test_factored_state_cannot_be_carried() -> None:
    model, x = small()
    optimizer = trained(model, x, torch.optim.Adafactor(model.parameters()))
    before = snapshot(model, optimizer)
    graph = trace(model, x)
    with pytest.raises(
        EditError, match=r"state 'row_var' of shape .* for '0.weight' of shape \(4, 2, 3, 3\).*build a new one"
    ):
        apply(graph, widen(graph, "0", 6), optimizer)
    assert same(before, snapshot(model, optimizer))


def test_fresh_second_moments_are_never_zero() -> None:
    """Where none of a row's weights had a gradient yet, the mean of the tensor stands in."""
    model, x = small()
    optimizer = trained(model, x, torch.optim.Adam(model.parameters(), lr=0.0), steps=3)
    squares = optimizer.state[model[3].weight]["exp_avg_sq"]
    squares[1] = 0.0
    graph = trace(model, x)
    apply(graph, widen(graph, "0", 6, zero), optimizer)
    fresh = optimizer.state[model[3].weight]["exp_avg_sq"][:, 4:]
    torch.testing.assert_close(fresh[1], squares.mean().expand(2, 3, 3))
    torch.testing.assert_close(fresh[0, 0], squares[0].amax(0).clamp_min(squares.mean()))


def test_an_average_of_weights_is_edited_like_weights() -> None:
    model, x = small()
    optimizer = torch.optim.ASGD(model.parameters(), lr=0.05, t0=0)
    trained(model, x, optimizer, steps=6)

    def average() -> nn.Module:
        other = copy.deepcopy(model)
        for mean, parameter in zip(other.parameters(), model.parameters(), strict=True):
            mean.data.copy_(optimizer.state[parameter]["ax"])
        return other

    before = output(average(), x)
    assert not torch.allclose(before, output(model, x))
    graph = trace(model, x)
    graph = apply(graph, widen(graph, "0", 7), optimizer)
    graph = apply(graph, widen(graph, "3", 5, net2net), optimizer)
    torch.testing.assert_close(output(average(), x), before)
    kept = optimizer.state[model[0].weight]["ax"][[0, 5]].clone()
    graph = apply(graph, narrow(graph, "0", [0, 5]), optimizer)
    assert torch.equal(optimizer.state[model[0].weight]["ax"], kept)
    apply(graph, residual(graph, "2"), optimizer)
    trained(model, x, optimizer)


def test_state_that_nobody_knows_is_refused() -> None:
    """An optimizer of the user's own: a guess would be wrong in silence."""
    model, x = small()
    optimizer = trained(model, x, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9))
    for state in optimizer.state.values():
        state["iterate"] = state["momentum_buffer"].clone()
    before = snapshot(model, optimizer)
    graph = trace(model, x)
    with pytest.raises(EditError, match=r"keeps 'iterate', and netmorph does not know.*POWERS\['iterate'\] = 1"):
        apply(graph, widen(graph, "0", 6), optimizer)
    assert same(before, snapshot(model, optimizer))


def test_a_pair_of_numbers_is_no_single_one() -> None:
    model, x = small()
    optimizer = trained(model, x, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9))
    optimizer.state[model[0].weight]["bounds"] = torch.tensor([0.0, 1.0])
    graph = trace(model, x)
    with pytest.raises(EditError, match=r"state 'bounds' of shape \(2,\) for '0.weight' of shape \(4, 2, 3, 3\)"):
        apply(graph, widen(graph, "0", 6), optimizer)


def test_lbfgs_is_refused_by_name() -> None:
    model, x = small()
    graph = trace(model, x)
    with pytest.raises(EditError, match=r"L-BFGS keeps steps and gradients of all parameters in one vector"):
        apply(graph, widen(graph, "0", 6), torch.optim.LBFGS(model.parameters()))


def test_muon_keeps_its_matrices() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    x = torch.randn(8, 4).double()
    muon = torch.optim.Muon([p for p in model.parameters() if p.dim() == 2], lr=0.01)
    adam = torch.optim.Adam([p for p in model.parameters() if p.dim() != 2], lr=0.01)
    for optimizer in (muon, adam):
        trained(model, x, optimizer)
    before = muon.state[model[0].weight]["momentum_buffer"].clone()
    graph = trace(model, x)
    graph = apply(graph, widen(graph, "0", 9, r2r), [muon, adam])
    carried = muon.state[model[0].weight]["momentum_buffer"]
    assert torch.equal(carried[:6], before)
    assert (carried[6:] == 0).all()
    with pytest.raises(EditError, match=r"no matrix, and Muon.*apply\(graph, edit, \[muon, other\]\)"):
        apply(graph, residual(graph, "1"), muon)
    apply(graph, residual(graph, "1"), [muon, adam])
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    for optimizer in (muon, adam):
        trained(model, x, optimizer)
    assert all((p != start[name]).any() for name, p in model.named_parameters())


def test_inserted_parameters_stand_where_the_model_has_them() -> None:
    """Then the state goes into an optimizer that is built from the edited model, which knows parameters by number."""
    model, x = small()
    optimizer = trained(model, x, torch.optim.Adam(model.parameters(), lr=0.01))
    graph = trace(model, x)
    apply(graph, residual(graph, "2"), optimizer)
    trained(model, x, optimizer)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in model.parameters()]
    fresh = torch.optim.Adam(model.parameters(), lr=0.01)
    fresh.load_state_dict(optimizer.state_dict())
    for parameter in model.parameters():
        assert torch.equal(fresh.state[parameter]["exp_avg"], optimizer.state[parameter]["exp_avg"])


def test_inserted_weights_join_weights_and_biases_join_biases() -> None:
    model, x = small()
    weights = [(n, p) for n, p in model.named_parameters() if p.dim() > 1]
    others = [(n, p) for n, p in model.named_parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": weights, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=1e-3
    )
    graph = trace(model, x)
    apply(graph, residual(graph, "2"), optimizer)
    names = dict(model.named_parameters())
    for group, wide in zip(optimizer.param_groups, (True, False), strict=True):
        assert {p.dim() > 1 for p in group["params"]} == {wide}
        assert all(names[name] is p for name, p in zip(group["param_names"], group["params"], strict=True))
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {id(p) for p in model.parameters()}


def test_factors_join_the_group_of_the_layer_that_they_make() -> None:
    model, x = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2)), torch.randn(5, 4)
    layers = [model[0], model[2], model[4]]
    optimizer = torch.optim.Adam([{"params": [*layer.parameters()]} for layer in layers])

    def held() -> list[set[str]]:
        names = {id(p): name for name, p in model.named_parameters()}
        return [{names[id(p)] for p in group["params"]} for group in optimizer.param_groups]

    before = held()
    graph = trace(model, x)
    graph = apply(graph, factorize(graph, "2", 3), optimizer)
    assert held() == [before[0], {"2.0.weight", "2.1.weight", "2.1.bias"}, before[2]]
    apply(graph, merge(graph, "2"), optimizer)
    assert held() == before


MOMENTUM: dict[str, Make] = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
}


@pytest.mark.parametrize("name", MOMENTUM)
@pytest.mark.parametrize("widths", [(4, 6, 3, 2), (4, 4, 4, 4)])
def test_a_merged_layer_starts_without_state(widths: tuple[int, ...], name: str) -> None:
    """It has the name of the first of the two, but another weight, and mostly another shape."""
    torch.manual_seed(0)
    one, two, three, four = widths
    model, x = (
        nn.Sequential(nn.Linear(one, two), nn.Linear(two, three), nn.ReLU(), nn.Linear(three, four)),
        torch.randn(5, one),
    )
    optimizer = trained(model, x, MOMENTUM[name](model.parameters()))
    graph = trace(model, x)
    before = optimizer.state[model[3].weight]
    apply(graph, merge(graph, "0"), optimizer)
    assert model[0].weight not in optimizer.state
    assert optimizer.state[model[3].weight] is before
    assert {id(p) for p in optimizer.param_groups[0]["params"]} == {id(p) for p in model.parameters()}
    trained(model, x, optimizer)
    assert all(value.shape == p.shape for p, s in optimizer.state.items() for value in s.values() if value.numel() > 1)


def test_a_linearized_layer_starts_without_state_and_so_does_its_undoing() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 2, 3)), torch.randn(4, 3, 6, 6)
    optimizer = trained(model, x, MOMENTUM["sgd"]([{"params": [p]} for p in model.parameters()]))
    weight = model[0].weight
    momentum = optimizer.state[weight]["momentum_buffer"].clone()
    graph = trace(model, x)
    graph = apply(graph, linearize(graph, "0", [x]), optimizer)
    assert model[0].weight not in optimizer.state
    trained(model, x, optimizer)
    assert optimizer.param_groups[0]["params"][0] is model[0].weight
    apply(graph, undo(graph), optimizer)
    assert model[0].weight is weight
    assert torch.equal(optimizer.state[weight]["momentum_buffer"], momentum)
    assert [id(group["params"][0]) for group in optimizer.param_groups] == [id(p) for p in model.parameters()]
    trained(model, x, optimizer)


@pytest.mark.parametrize("edit", [lambda graph: residual(graph, "2"), lambda graph: factorize(graph, "3", 2)])
def test_new_parameters_of_fused_sgd_start_with_a_momentum_of_zero(edit: Callable[[Graph], Edit]) -> None:
    """It refuses momenta of some parameters without others; a first step on zero is a first step without."""
    models = [small(), small()]
    for (model, x), fused in zip(models, (False, True), strict=True):
        optimizer = trained(model, x, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=fused))
        graph = trace(model, x)
        apply(graph, edit(graph), optimizer)
        trained(model, x, optimizer)
    torch.testing.assert_close(models[1][0].state_dict(), models[0][0].state_dict(), rtol=0, atol=1e-12)
