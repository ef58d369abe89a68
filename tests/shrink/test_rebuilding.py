"""From widths to a network of these widths."""

import copy

import pytest
import torch
from torch import Tensor, nn

from netmorph import EditError, Samples, trace
from netmorph.shrink import Rebuild, cut, fresh, kept


def convolutional() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 4),
    )
    model(torch.randn(64, 2, 8, 8))
    return model.eval()


@pytest.fixture(name="x")
def images() -> Tensor:
    return torch.randn(128, 2, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("rebuild", [kept, cut, fresh])
def test_widths_go_down_and_up(rebuild: Rebuild, x: Tensor) -> None:
    model = convolutional()
    samples = Samples(trace(model, x[:2]), [x[:64], x[64:]])
    graph = rebuild(samples, {"0": 7, "3": 11}, 0)
    assert {name: group.size for name, group in graph.groups.items() if name in ("0", "3")} == {"0": 7, "3": 11}
    assert graph.model(x).shape == (128, 4)
    assert len(graph.journal) == 2


def test_kept_weights_come_closer_than_cut_or_fresh_ones(x: Tensor) -> None:
    before = convolutional()
    target = before(x).detach()

    def error(rebuild: Rebuild) -> float:
        model = copy.deepcopy(before)
        graph = rebuild(Samples(trace(model, x[:2]), [x[:64]]), {"0": 8, "3": 6}, 0)
        return float((graph.model.eval()(x).detach() - target)[64:].square().mean() / target.var())

    assert error(kept) < 0.7 * error(cut)
    assert error(kept) < 0.5 * error(fresh)


def test_what_only_grows_computes_the_same(x: Tensor) -> None:
    model = convolutional()
    before = model(x).detach()
    graph = kept(Samples(trace(model, x[:2]), [x]), {"0": 20}, 0)
    torch.testing.assert_close(graph.model(x), before, atol=1e-5, rtol=1e-4)


def test_fresh_weights_follow_from_the_seed_and_leave_the_callers_random_state(x: Tensor) -> None:
    def made(seed: int) -> Tensor:
        weight: Tensor = fresh(Samples(trace(convolutional(), x[:2])), {"0": 5}, seed).model[0].weight  # type: ignore[index,assignment]
        return weight.detach()

    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = made(0)
    assert torch.equal(first, made(0))
    assert not torch.equal(first, made(1))
    convolutional()  # which seeds
    torch.set_rng_state(state)
    samples = Samples(trace(nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 2)), torch.randn(2, 2)))
    state = torch.get_rng_state()
    fresh(samples, {"0": 2}, 0)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_module_that_cannot_draw_weights_is_named_before_anything_changes() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(6))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight

    model = nn.Sequential(nn.Linear(3, 6), Scale(), nn.Linear(6, 2))
    with pytest.raises(EditError, match=r"Scale \(1\) holds weight and has no reset_parameters\(\)"):
        fresh(Samples(trace(model, torch.randn(2, 3))), {"0": 4}, 0)
    assert model[0].out_features == 6
