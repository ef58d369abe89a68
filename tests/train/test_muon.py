"""Muon: orthogonal updates of matrices, AdamW's for the rest, and edits in between."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import netmorph
from netmorph.train import muon
from netmorph.train.loop import train
from netmorph.train.muon import ADAMW_RMS, Muon, orthogonal
from netmorph.train.optimizer_state import OptimizerStateError
from netmorph.train.optimizers import build_optimizer
from netmorph.train.recipe import Recipe
from tests.train.small import dataset


@pytest.mark.parametrize("shape", [(8, 8), (5, 40), (40, 5), (1, 9)])
def test_singular_values_come_near_one_and_their_vectors_stay(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(shape, generator=generator, dtype=torch.float64)
    result = orthogonal(matrix[None])[0]
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ result @ right.T
    assert torch.allclose(inner, inner.diag().diag(), atol=1e-10)
    if min(shape) < max(shape):  # of a square one, the smallest value can be too small to come up
        assert 0.6 < inner.diag().min() <= inner.diag().max() < 1.3


def test_a_gradient_of_zero_moves_nothing() -> None:
    assert torch.equal(orthogonal(torch.zeros(1, 3, 4)), torch.zeros(1, 3, 4))


def test_parameters_of_one_dimension_move_as_with_adamw() -> None:
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 7, dtype=torch.float64)) for _ in range(2))
    muon = Muon([ours], lr=0.01, weight_decay=0.1)
    adamw = torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1)
    for step in range(5):
        ours.grad = torch.sin(ours.detach() * (step + 1))
        theirs.grad = ours.grad.clone()
        muon.step()
        adamw.step()
    assert torch.allclose(ours, theirs, atol=1e-12)


def test_matrices_move_by_the_orthogonal_part_of_nesterovs_momentum() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn(4, 3, 2, 2, generator=generator, dtype=torch.float64))
    start, gradients = weight.detach().clone(), torch.randn(2, 4, 3, 2, 2, generator=generator, dtype=torch.float64)
    optimizer = Muon([weight], lr=0.1, momentum=0.9, weight_decay=0.5)
    for gradient in gradients:
        weight.grad = gradient
        optimizer.step()
    buffers = [0.1 * gradients[0], 0.1 * gradients[1] + 0.09 * gradients[0]]
    for gradient, buffer in zip(gradients, buffers, strict=True):
        ahead = 0.1 * gradient + 0.9 * buffer
        start = start * (1 - 0.1 * 0.5) - 0.1 * ADAMW_RMS * 12**0.5 * orthogonal(ahead.flatten(1)[None]).view_as(start)
    assert torch.allclose(weight, start, atol=1e-12)


def test_matrices_of_one_shape_move_as_each_would_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3, 2, 2), (4, 12), (4, 3, 2, 2), (5,), (5, 4), (30, 3, 2, 2), (30, 3, 2, 2), (), (2, 0)]
    together, alone = ([nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in shapes] for _ in range(2))
    for place in (0, 5):
        together[place].data = together[place].data.to(memory_format=torch.channels_last)
    optimizers = [Muon(together, lr=0.1), *(Muon([parameter], lr=0.1) for parameter in alone)]
    for _ in range(3):
        for one, other in zip(together, alone, strict=True):
            other.grad = torch.randn(one.shape, generator=generator, dtype=torch.float64)
            one.grad = torch.empty_like(one).copy_(other.grad)  # in the layout of its parameter
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_in_float32_a_matrix_of_very_different_singular_values_stays_near_the_exact_result() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, 32, generator=generator, dtype=torch.float64))[0] for n in (32, 288))
    matrix = left * torch.logspace(0, -8, 32, dtype=torch.float64) @ right.T
    exact, found = orthogonal(matrix[None])[0], orthogonal(matrix[None].float())[0]
    assert torch.linalg.norm(exact - found) < 1e-3 * torch.linalg.norm(exact)


@pytest.mark.parametrize("shape", [(16, 144), (64, 64), (64, 576)])
def test_a_low_rank_in_bfloat16_stays_bounded(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, 3, generator=generator) for size in shape)
    with torch.autocast("cpu", torch.bfloat16):
        found = orthogonal((left @ right.T).bfloat16()[None])[0]
    assert found.dtype == torch.float32
    assert torch.linalg.matrix_norm(found, 2) < 1.3


def test_many_large_matrices_are_taken_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(muon, "TOGETHER", 100)
    monkeypatch.setattr(muon, "orthogonal", lambda matrices: sizes.append(len(matrices)) or matrices)
    weights = [nn.Parameter(torch.ones(5, 8)) for _ in range(5)] + [nn.Parameter(torch.ones(20, 8))]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    Muon(weights).step()
    assert sizes == [2, 2, 1, 1]


def test_state_that_is_loaded_goes_where_the_parameters_are() -> None:
    here, there = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3, device="meta"))
    here.grad = torch.ones(3)
    trained, fresh = Muon([here]), Muon([there])
    trained.step()
    fresh.load_state_dict(trained.state_dict())
    assert {name: tensor.device.type for name, tensor in fresh.state[there].items()} == dict.fromkeys(
        ("step", "exp_avg", "exp_avg_sq"), "meta"
    )


def weights(*shapes: tuple[int, ...]) -> list[nn.Parameter]:
    made = [nn.Parameter(torch.ones(shape)) for shape in shapes]
    for parameter in made:
        parameter.grad = torch.ones_like(parameter)
    return made


def trained_state(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Of a filter, a bias and a matrix that have moved, with something changed in it."""
    optimizer = Muon(weights((4, 3), (4,), (5, 2)))
    optimizer.step()
    state = optimizer.state_dict()
    change(state)
    return state


def of_pytorch() -> dict[str, Any]:
    optimizer = torch.optim.Muon(weights((4, 3), (5, 2)))
    optimizer.step()
    return optimizer.state_dict()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (of_pytorch, r"of 2 parameters in 1 groups, and this Muon moves 3 in 1"),
        (lambda: trained_state(lambda state: state["param_groups"][0].pop("betas")), r"group 0 .* lacks betas"),
        (
            lambda: trained_state(lambda state: state["state"].update({0: {"exp_avg": 1}})),
            r"parameter 0, of shape \(4, 3\), the state holds exp_avg \(no tensor\), and Muon keeps momentum",
        ),
        (
            lambda: trained_state(lambda state: state["state"][1].pop("step")),
            r"parameter 1, of shape \(4,\), .* exp_avg",
        ),
        (
            lambda: trained_state(lambda state: state["state"][2].update(momentum_buffer=torch.ones(2, 5))),
            r"holds momentum_buffer \(2, 5\), and Muon keeps momentum_buffer \(5, 2\)",
        ),
        (lambda: {"state": {}}, r"no state of an optimizer: KeyError\('param_groups'\)"),
    ],
)
def test_a_state_of_another_layout_is_refused_and_nothing_changes(
    state: Callable[[], dict[str, Any]], message: str
) -> None:
    optimizer = Muon(weights((4, 3), (4,), (5, 2)))
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(OptimizerStateError, match=message):
        optimizer.load_state_dict(state())
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    torch.testing.assert_close(after["state"], before["state"], rtol=0, atol=0)
    optimizer.step()


def test_parameters_that_never_moved_and_states_that_do_not_say_where_they_were_computed_are_taken() -> None:
    moving = weights((4, 3), (4,), (5, 2))
    moving[0].grad = None
    trained, fresh = Muon(moving, lr=0.5), Muon(weights((4, 3), (4,), (5, 2)))
    trained.step()
    state = trained.state_dict()
    del state["param_groups"][0]["fused"]
    fresh.load_state_dict(state)
    assert fresh.param_groups[0]["lr"] == 0.5
    fresh.step()
    assert fresh.state[fresh.param_groups[0]["params"][1]]["step"] == 2


def test_a_training_does_not_go_on_with_the_state_of_another_muon(tmp_path: Path) -> None:
    def linear() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 3, bias=False))

    recipe, path = Recipe(epochs=1, optimizer="muon"), tmp_path / "state"
    first, again = linear(), linear()
    train(first, dataset(), recipe, optimizer=torch.optim.Muon(first.parameters()), checkpoint=path)
    before = again[1].weight.detach().clone()
    with pytest.raises(OptimizerStateError, match="group 0 of the state lacks betas"):
        train(again, dataset(), recipe, checkpoint=path, resume=True)
    assert torch.equal(again[1].weight, before)


def test_matrices_move_as_with_the_muon_of_pytorch() -> None:
    generator = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(24, 10, generator=generator), torch.randn(4, 24, 10, generator=generator)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    muon = Muon([ours], lr=0.01, momentum=0.9, weight_decay=0.1)
    peer = torch.optim.Muon([theirs], 0.01, 0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        muon.step()
        peer.step()
    moved, expected = ours.detach() - start, theirs.detach() - start
    assert torch.linalg.norm(moved - expected) < 0.02 * torch.linalg.norm(expected)  # PyTorch iterates in bfloat16


def test_an_update_is_about_as_large_as_adamws() -> None:
    weight = nn.Parameter(torch.zeros(32, 16, 3, 3))
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    Muon([weight], lr=1.0, weight_decay=0.0).step()
    assert weight.detach().square().mean().sqrt().item() == pytest.approx(ADAMW_RMS, rel=0.2)


def test_it_goes_on_after_an_edit() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    optimizer = build_optimizer(model, Recipe(optimizer="muon", learning_rate=0.01))
    inputs, labels = torch.randn(16, 6, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 3

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()

    step()
    graph = netmorph.trace(model, inputs)
    netmorph.apply(graph, netmorph.widen(graph, "0", 8), optimizer)
    assert optimizer.state[model[0].weight]["momentum_buffer"].shape == (8, 6)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    step()
    moved = [(old - new).abs().max() for old, new in zip(before, model.parameters(), strict=True)]
    assert all(0 < distance < 0.05 for distance in moved)


def test_a_closure_gives_its_loss() -> None:
    weight = nn.Parameter(torch.ones(2, 2))

    def closure() -> float:
        weight.grad = torch.ones(2, 2)
        return 3.5

    assert Muon([weight]).step(closure) == 3.5
    assert not torch.equal(weight, torch.ones(2, 2))
