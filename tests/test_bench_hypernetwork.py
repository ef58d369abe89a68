"""The hypernetwork of the benchmark: what it begins as, what it does not depend on, and that it learns."""

import pytest
import torch
from torch import Tensor, nn

import netmorph
from benchmarks import hypernetwork
from benchmarks._hypernetwork import Hypernetwork
from benchmarks.hypernetwork import (
    Batches,
    Task,
    ahead,
    curve,
    deeper,
    drawn_by,
    layer_by,
    steps_to,
    task,
    taught,
    wider,
)
from netmorph.widenings import r2r, random_pad


@pytest.fixture(scope="module")
def images() -> Batches:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(200, 12, generator=generator)
    return Batches(images, images[:, :10].argmax(1))


@pytest.fixture(scope="module")
def given(images: Batches) -> Task:
    return task(images, seed=3)


def changed() -> Hypernetwork:
    torch.manual_seed(1)
    network = Hypernetwork()
    for weight in network.parameters():
        nn.init.normal_(weight, 0, 0.3)
    return network.requires_grad_(False)


def test_it_begins_as_the_layers_own_spread(given: Task) -> None:
    edits = [
        drawn_by(Hypernetwork().requires_grad_(False), random_pad)(given, 7),
        netmorph.widen(given.graph, given.group, given.to, random_pad, seed=7),
    ]
    plans = [edit.plan(given.graph).tensors for edit in edits]
    for name, tensor in plans[0].items():
        torch.testing.assert_close(tensor, plans[1][name])


def test_the_order_of_old_channels_does_not_matter() -> None:
    network, order = changed(), torch.randperm(6)
    rows, readers = torch.randn(6, 5), torch.randn(6, 3)
    noise = torch.randn(2, network.noise)

    def made(rows: Tensor, readers: Tensor) -> tuple[Tensor, Tensor]:
        held = network.heard(rows, readers)
        return network.forward(held, held.mean(0).expand(2, -1), noise)

    shares, scales = made(rows, readers)
    moved, same = made(rows[order], readers[order])
    torch.testing.assert_close(moved, shares[:, :, order])
    torch.testing.assert_close(same, scales)


def test_an_exact_edit_is_exact_with_it_on_convolutions_too() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).double()
    graph = netmorph.trace(model, torch.randn(3, 1, 4, 4).double())
    draw = changed().double().draw(graph, "0", 7, r2r, seed=0)
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", 7, r2r, draw=draw))
    assert graph.journal[-1].error < 1e-9


@pytest.mark.parametrize("grown", [wider(random_pad), deeper], ids=["channels", "layer"])
def test_it_learns(given: Task, grown: hypernetwork.Grown) -> None:
    network = taught([given], grown, updates=4, seed=0)
    losses = [ahead(*grown(one, given, 3), given.batches[:3]).detach() for one in (Hypernetwork(), network)]
    assert losses[1] < losses[0]


def test_starts_are_judged_on_copies(given: Task, images: Batches) -> None:
    before = [weight.clone() for weight in given.graph.model.parameters()]
    losses = curve(given, layer_by(changed()), images, 0)

    assert [*losses] == [*range(0, hypernetwork.STEPS + 1, hypernetwork.EVERY)]
    assert all(map(torch.equal, before, given.graph.model.parameters()))
    assert steps_to(0.5, {0: 1.0, 4: 0.4, 8: 0.3}) == 4
    assert steps_to(0.2, {0: 1.0}) == hypernetwork.STEPS + hypernetwork.EVERY
