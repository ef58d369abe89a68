"""How many channels a group needs, against float64 decompositions."""

import math

import pytest
import torch
from torch import Tensor, nn

from netmorph import Samples, trace, zoo
from netmorph.graph import Role
from netmorph.measure import SpectrumError
from netmorph.measure.spectrum import Spectrum, numerical_rank
from netmorph.shrink import ShrinkError, activations, by_rank, explaining, to_cost, weights


def net(rank: int = 3, width: int = 12) -> nn.Sequential:
    """The second layer writes channels of this rank (about their means)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, width), nn.Linear(width, 4)).double()
    with torch.no_grad():
        model[2].weight.copy_(torch.randn(width, rank).double() @ torch.randn(rank, 8).double())
    return model


def samples(model: nn.Module, x: Tensor) -> Samples:
    return Samples(trace(model, x[:2]), [x[:30], x[30:]])


def test_activations_are_those_about_their_mean() -> None:
    model, x = net(), torch.randn(64, 5).double()
    seen = model[:3](x).detach()
    seen = seen - seen.mean(0)
    told = activations((found := samples(model, x)).graph.group("2"), found)
    values = torch.linalg.svdvals(seen)
    torch.testing.assert_close((told.values / told.values[0])[:3], (values / values[0])[:3])
    assert numerical_rank(told) == 3
    assert explaining(1 - 1e-9)(told) == 3


def test_weights_are_those_that_write_the_group_side_by_side() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 6), nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            result: Tensor = self.c(self.a(x) + self.b(y))
            return result

    model = Sum()
    graph = trace(model, (torch.randn(2, 3), torch.randn(2, 4)))
    group = graph.group("a")
    assert {site.tensor for site in group.where(Role.WRITE)} >= {"a.weight", "b.weight"}
    told = weights(group, Samples(graph))
    expected = torch.linalg.svdvals(torch.cat([model.a.weight, model.b.weight], 1).detach().double())
    torch.testing.assert_close(told.values, expected)


def test_heads_are_groups_like_others() -> None:
    model = zoo.build("gpt", (16,), 20, width=0.5, depth=1)
    with torch.no_grad():  # the second head gives twice what the first one does
        value = model.get_submodule("blocks.0.attention.value")
        value.weight[16:32], value.bias[16:32] = 2 * value.weight[:16], 2 * value.bias[:16]
        for part in ("query", "key"):
            layer = model.get_submodule(f"blocks.0.attention.{part}")
            layer.weight[16:32], layer.bias[16:32] = layer.weight[:16].clone(), layer.bias[:16].clone()
    tokens = torch.randint(0, 20, (6, 16))
    found = Samples(trace(model, tokens[:2]), [tokens])
    heads = found.graph.group("blocks.0.attention.query")
    assert heads.size == 4
    assert explaining(0.999999)(activations(heads, found)) == 3
    wanted = by_rank(explaining(0.9))(found)
    assert wanted.widths["blocks.0.fc1"] < 256
    assert wanted.widths.keys() == {group.name for group in found.graph.editable()}


@pytest.mark.parametrize(("share", "rank"), [(0.5, 1), (0.9, 2), (0.99, 3), (0.999999, 4)])
def test_a_share_of_the_variance(share: float, rank: int) -> None:
    squares = torch.tensor([0.6, 0.35, 0.045, 0.005, 0.0]).double()
    assert explaining(share)(Spectrum(squares.sqrt(), 9, 5, 1e-7)) == rank


def test_nothing_explains_nothing() -> None:
    assert explaining(0.9)(Spectrum(torch.zeros(4).double(), 4, 4, 1e-7)) == 0


def test_widths_are_ranks() -> None:
    found = samples(net(), torch.randn(64, 5).double())
    wanted = by_rank(numerical_rank)(found)
    assert wanted.ranks == {"0": 8, "2": 3}
    assert wanted.widths == {"0": 8, "2": 3}
    assert by_rank(numerical_rank, groups=["2"])(found).widths == {"2": 3}
    assert by_rank(numerical_rank, minimum=5)(found).widths == {"0": 8, "2": 5}
    assert by_rank(numerical_rank, multiple_of=4)(found).widths == {"0": 8, "2": 4}
    assert by_rank(numerical_rank, fill=0.5)(found).widths == {"0": 8, "2": 6}
    assert by_rank(numerical_rank, own={"0": explaining(0.01)})(found).widths == {"0": 1, "2": 3}


def test_a_group_that_its_rank_fills_grows() -> None:
    found = samples(net(), torch.randn(64, 5).double())
    assert by_rank(numerical_rank, growth=2, fill=0.8)(found).widths == {"0": 16, "2": 4}
    assert by_rank(numerical_rank, growth=1.01, fill=0.8)(found).widths["0"] == 9


def test_a_layer_of_rank_zero_becomes_one_channel() -> None:
    model = net()
    with torch.no_grad():
        model[2].weight.zero_()
    wanted = by_rank()(samples(model, torch.randn(64, 5).double()))
    assert wanted.ranks["2"] == 0
    assert wanted.widths["2"] == 1


def test_constant_data_are_told() -> None:
    with pytest.raises(ShrinkError, match=r"nothing in the network varies on these samples\. Are the data constant"):
        by_rank()(samples(net(), torch.full((64, 5), 3.7).double()))


def test_constant_data_are_told_in_float32_too() -> None:
    """The mean is no variance, though its rounding looks like one."""
    model = nn.Sequential(nn.Linear(5, 8), nn.Linear(8, 2))
    with pytest.raises(ShrinkError, match="nothing in the network varies"):
        by_rank()(samples(model, torch.full((64, 5), 1000.0)))


def test_zero_weights_are_told() -> None:
    model = net()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    found = samples(model, torch.randn(64, 5).double())
    for spectrum in (activations, weights):
        with pytest.raises(ShrinkError, match="or all weights zero"):
            by_rank(spectrum=spectrum)(found)


def test_nan_is_told() -> None:
    model = net()
    with torch.no_grad():
        model[2].weight[0, 0] = math.nan
    found = samples(model, torch.randn(64, 5).double())
    with pytest.raises(SpectrumError, match=r"group '2' .* is NaN or infinite"):
        by_rank()(found)
    with pytest.raises(SpectrumError, match="weights of group 2' holds NaN"):
        by_rank(spectrum=weights)(found)


def test_nothing_to_shrink_is_told() -> None:
    found = samples(nn.Linear(5, 3), torch.randn(64, 5))
    with pytest.raises(ShrinkError, match="no group of channels may change"):
        by_rank()(found)


@pytest.mark.parametrize("told", [{"multiple_of": 0}, {"minimum": 0}, {"growth": 0.5}, {"fill": 0.0}, {"fill": 1.5}])
def test_arguments_that_make_no_sense(told: dict[str, float]) -> None:
    with pytest.raises(ShrinkError, match="are at least 1, and fill is above 0"):
        by_rank(**told)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, math.nan])
def test_shares_that_are_none(share: float) -> None:
    with pytest.raises(ShrinkError, match="above 0 and below 1"):
        explaining(share)


def test_a_share_of_the_cost() -> None:
    found = samples(net(width=32), torch.randn(64, 5).double())
    wanted = to_cost(params=0.5, multiple_of=1)(found)
    assert wanted.ranks == {}
    assert 1 <= wanted.widths["2"] < 32
