"""Shrink and perturb: the formula, the optimizer, and the way back."""

import pytest
import torch
from nets import same, small, snapshot, trained

from netmorph import EditError, apply, trace, undo
from netmorph.edit import shrink_and_perturb


def test_weights_are_shrunk_and_noise_of_their_spread_is_added() -> None:
    model, x = small()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    graph = trace(model, x)
    graph = apply(graph, shrink_and_perturb(graph, 0.4, 0.1, seed=1))
    noise = {name: (p.detach() - 0.4 * before[name]) / 0.1 for name, p in model.named_parameters()}
    assert noise.keys() == before.keys()
    for name in ("3.weight", "6.weight"):
        limit = float(before[name].square().mean().sqrt()) * 3**0.5
        assert limit / 2 < float(noise[name].abs().max()) <= limit * (1 + 1e-9)
    torch.testing.assert_close(noise["1.weight"], torch.ones(4).double())  # gains without spread
    assert graph.journal[-1].error > 0
    assert str(graph.journal[-1].edit) == "perturb (shrink_and_perturb) of '0.weight and 7 more' from 8 to 8"


def test_the_optimizer_goes_on_without_the_old_direction() -> None:
    model, x = small()
    optimizer = trained(model, x, torch.optim.Adam(model.parameters()))
    squares = optimizer.state[model[0].weight]["exp_avg_sq"].clone()
    graph = trace(model, x)
    apply(graph, shrink_and_perturb(graph, names=["0.weight"]), optimizer)
    state = optimizer.state[model[0].weight]
    assert state["exp_avg"].abs().sum() == 0
    assert torch.equal(state["exp_avg_sq"], squares)
    assert optimizer.state[model[0].bias]["exp_avg"].abs().sum() > 0
    moved = model[0].weight.detach().clone()
    trained(model, x, optimizer, steps=1)
    assert not torch.equal(model[0].weight.detach(), moved)


def test_it_can_be_undone_until_something_is_trained() -> None:
    model, x = small()
    optimizer = trained(model, x, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9))
    optimizer.zero_grad()
    graph, before = trace(model, x), snapshot(model, optimizer)
    graph = apply(graph, shrink_and_perturb(graph), optimizer)
    graph = apply(graph, undo(graph), optimizer)
    assert same(before, snapshot(model, optimizer))
    graph = apply(graph, shrink_and_perturb(graph), optimizer)
    trained(model, x, optimizer)
    with pytest.raises(EditError, match="cannot be undone any more"):
        apply(graph, undo(graph), optimizer)


def test_what_is_refused() -> None:
    model, x = small()
    graph = trace(model, x)
    with pytest.raises(EditError, match=r"shrink is a number from 0 to 1, perturb one of 0 or more; got 4 and 0.1"):
        shrink_and_perturb(graph, 4)
    with pytest.raises(EditError, match=r"'0.weights' is none; see named_parameters\(\)"):
        shrink_and_perturb(graph, names=["0.weights"])
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(EditError, match="there are none"):
        shrink_and_perturb(graph)
