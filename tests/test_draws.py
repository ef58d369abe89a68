"""How fresh weights are drawn: each scale against what its formula promises."""

import pytest
import torch
from torch import Tensor, nn

import netmorph
from netmorph import EditError, WidthError
from netmorph.draws import DRAWS, Draw, Joined, fan_in, layer_spread, quiet, scaled
from netmorph.errors import NetmorphError
from netmorph.graph import Graph, Role
from netmorph.testing import check_edit
from netmorph.widenings import lemon, r2r, random_pad, zero


def network(hidden: int = 200, inputs: int = 100, out: int = 80) -> tuple[nn.Module, Graph]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, out)).double()
    return model, netmorph.trace(model, torch.randn(4, inputs).double())


def fresh(draw: Draw, method: netmorph.widenings.Widening = random_pad) -> tuple[Tensor, Tensor]:
    """The fresh rows and columns of a hidden layer of 200, widened to 300."""
    model, graph = network()
    netmorph.apply(graph, netmorph.widen(graph, "0", 300, method, draw=draw))
    return model.get_parameter("0.weight").detach()[200:], model.get_parameter("2.weight").detach()[:, 200:]


def joined(role: Role = Role.READ, dim: int = 1) -> Joined:
    return Joined(torch.eye(6, dtype=torch.float64), dim, 3, 6, 9, "0", role)


@pytest.mark.parametrize(
    ("draw", "column"),
    [(layer_spread, 1.0), (fan_in, (2 / 3) ** 0.5), (quiet(0.1), 0.1 * 2**0.5), (quiet(3), 1.0)],
    ids=["layer_spread", "fan_in", "quiet", "quiet, but not louder"],
)
def test_the_spread_of_rows_and_columns(draw: Draw, column: float) -> None:
    model, _ = network()
    layers = (model.get_parameter(name).detach() for name in ("0.weight", "2.weight"))
    ratios = [float(new.std() / old.std()) for new, old in zip(fresh(draw), layers, strict=True)]
    assert ratios == pytest.approx([1, column], rel=0.02)


def test_the_estimate_of_variances_holds_for_independent_channels() -> None:
    """What new channels add to sums, and to the gradient that comes back through them, relative to what is there."""
    model, graph = network(hidden=400, inputs=300, out=300)
    x, delta = torch.randn(500, 300).double(), torch.randn(500, 300).double()
    netmorph.apply(graph, netmorph.widen(graph, "0", 500, random_pad, draw=quiet(0.2)))
    rows, columns = (model.get_parameter(name).detach() for name in ("0.weight", "2.weight"))
    hidden = (x @ rows.T).abs() * torch.randn(500, 500).double().sign()  # independent, and of one size
    added, given = ((hidden[:, part] @ columns[:, part].T).std() for part in (slice(400, None), slice(400)))
    assert float(added / given) == pytest.approx(0.2, rel=0.05)
    back, first = ((delta @ columns[:, part] @ rows[part]).std() for part in (slice(400, None), slice(400)))
    assert float(back / first) == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_an_exact_method_stays_exact_however_its_weights_are_drawn(draw: Draw) -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).double()
    x = torch.randn(3, 2, 6, 6).double()
    check_edit(model, x, lambda graph: netmorph.widen(graph, "0", 7, r2r, draw=draw), export=False)


def test_norms_are_fitted_with_weights_of_any_draw() -> None:
    def widened(draw: Draw) -> tuple[Tensor, float]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2)).double()
        graph = netmorph.trace(model, torch.randn(3, 4).double())
        graph = netmorph.apply(graph, netmorph.widen(graph, "0", 24, lemon, draw=draw))
        return model[2].weight.detach()[:, 6:], graph.journal[-1].error

    (plain, _), (scaled_down, error) = widened(layer_spread), widened(fan_in)
    assert error < 1e-12
    torch.testing.assert_close(scaled_down, plain / 2)


def test_scaled_multiplies_the_rows_of_a_group_and_all_columns() -> None:
    one, other = (torch.Generator().manual_seed(0) for _ in range(2))
    draw = scaled(layer_spread, {"0": torch.tensor([1.0, 2.0, 3.0])}, columns=0.5)
    assert torch.equal(draw(joined(), one), layer_spread(joined(), other) * 0.5)
    rows, plain = draw(joined(Role.WRITE, 0), one), layer_spread(joined(Role.WRITE, 0), other)
    assert torch.equal(rows, plain * torch.tensor([[1.0], [2.0], [3.0]]))
    assert torch.equal(draw(joined(Role.CARRY), one), layer_spread(joined(Role.CARRY), other))


def test_a_draw_of_ones_own() -> None:
    def orthogonal(joined: Joined, generator: torch.Generator) -> Tensor:
        drawn = layer_spread(joined, generator)
        return nn.init.orthogonal_(torch.empty_like(drawn), generator=generator) if drawn.dim() > 1 else drawn

    rows, _ = fresh(orthogonal, zero)
    torch.testing.assert_close(rows @ rows.T, torch.eye(100).double())


def test_what_is_refused() -> None:
    _, graph = network()
    with pytest.raises(WidthError, match=r"a draw is a function, such as netmorph.draws.fan_in .* got 'fan_in'"):
        netmorph.widen(graph, "0", 300, draw="fan_in")  # type: ignore[arg-type]
    with pytest.raises(EditError, match=r"here \(50, 100\); <lambda> returned \(200, 100\)"):
        netmorph.apply(graph, netmorph.widen(graph, "0", 300, draw=lambda joined, generator: joined.tensor))
    with pytest.raises(NetmorphError, match="a number above 0, got 0"):
        quiet(0)
