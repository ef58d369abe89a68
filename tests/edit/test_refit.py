"""Layer after layer meets what it computed before; oracles in float64."""

import copy

import pytest
import torch
from nets import output
from torch import Tensor, nn

from netmorph import EditError, Samples, apply, narrow, narrow_to, reconstruct, trace, widen
from netmorph.edit import layer_fit, narrow_all
from netmorph.edit.refit import Refitted, kept_outputs, refit


def deep(*, groups: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    for _ in range(4):
        layers += [nn.Conv2d(16, 16, 3, padding=1, bias=False, groups=groups), nn.BatchNorm2d(16), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 5)).double()
    model(torch.randn(64, 3, 8, 8).double())  # statistics
    return model.eval()


def error(before: Tensor, after: Tensor) -> float:
    return float((before - after).square().mean() / before.var())


@torch.no_grad()
def narrowed(model: nn.Module, x: Tensor, new: Tensor, share: float) -> tuple[float, float, list[Refitted]]:
    """The error on new samples: reconstructed alone, and refitted as well."""
    before = output(model, new)
    graph = trace(model, x[:2])
    samples = Samples(graph, list(x.split(20)))
    edit = narrow_to(graph, params=share, multiple_of=1)
    whole = kept_outputs(edit, samples)
    apply(graph, reconstruct(edit, samples))
    rebuilt = error(before, output(model, new))
    told = refit(model, whole)
    return rebuilt, error(before, output(model, new)), told


def test_a_deep_network_is_closer_on_samples_it_has_not_seen() -> None:
    model = deep()
    x, new = torch.randn(200, 3, 8, 8).double(), torch.randn(50, 3, 8, 8).double()
    rebuilt, refitted, told = narrowed(model, x, new, 0.6)

    assert refitted < 0.8 * rebuilt
    assert [layer.layer for layer in told] == ["0.weight", "3.weight", "6.weight", "9.weight", "12.weight", "17.weight"]
    assert all(layer.after <= layer.before for layer in told)
    assert told[0].before == 0


@pytest.mark.parametrize("kind", ["bias", "none", "norm"])
@torch.no_grad()
def test_the_weights_are_those_of_least_squares(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_fit, "RIDGES", (1e-12,))
    torch.manual_seed(0)
    layer = nn.Linear(6, 4, bias=kind == "bias")
    model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), layer, *([nn.BatchNorm1d(4)] if kind == "norm" else []))
    model, x = model.double().eval(), torch.randn(500, 3).double()
    wanted = model[:3](x)
    graph = trace(model, x[:2])
    samples = Samples(graph, [x[:200], x[200:]])
    edit = narrow(graph, "0", kept=[0, 1, 3])
    whole = kept_outputs(edit, samples)
    apply(graph, edit)
    refit(model, whole)

    rows = model[:2](x)[:400]  # the last fifth is held out
    full = rows if kind == "none" else torch.cat([rows, torch.ones(400, 1)], dim=1)
    best = torch.linalg.lstsq(full, wanted[:400]).solution.T
    torch.testing.assert_close(model[2].weight, best[:, :3], rtol=1e-6, atol=1e-6)
    if kind == "bias":
        torch.testing.assert_close(model[2].bias, best[:, 3], rtol=1e-6, atol=1e-6)
    if kind == "norm":
        torch.testing.assert_close(model[3].running_mean, -best[:, 3], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(4, 6, 3, stride=2, padding=1),
        nn.Conv1d(4, 6, 4, padding="same", dilation=2),
        nn.Conv1d(4, 4, 3, padding=1, groups=4),
        nn.Conv1d(4, 8, 3, groups=2, padding_mode="circular", padding=1),
    ],
    ids=["stride", "same", "depthwise", "grouped"],
)
@torch.no_grad()
def test_convolutions_of_all_kinds_find_their_weights_again(layer: nn.Conv1d) -> None:
    """Nothing is dropped in front of it, so that there are weights without an error."""
    layer = copy.deepcopy(layer).double()
    model = nn.Sequential(nn.Conv1d(2, 4, 1), nn.Tanh(), layer, nn.Flatten(), nn.LazyLinear(3)).double()
    x = torch.randn(100, 2, 9).double()
    model(x)
    graph = trace(model, x[:2])
    samples = Samples(graph, [x])
    whole = kept_outputs(narrow(graph, graph.group("2").name, kept=range(graph.group("2").size)), samples)
    weight = layer.weight.clone()
    layer.weight += 0.3
    told = {found.layer: found for found in refit(model, whole)}["2.weight"]

    assert told.before > 1e-3
    assert told.after < 1e-8 * told.before
    torch.testing.assert_close(layer.weight, weight, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_nothing_else_changes() -> None:
    model = deep()
    x = torch.randn(40, 3, 8, 8).double()
    graph = trace(model, x[:2])
    samples = Samples(graph, [x])
    edit = narrow_all(graph, {"3": range(12)})
    before = copy.deepcopy(model.state_dict())
    whole = kept_outputs(edit, samples)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())

    apply(graph, edit)
    model.train()
    before = copy.deepcopy(model.state_dict())
    told = {layer.layer for layer in refit(model, whole)}
    changed = {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}

    assert model.training
    assert (
        {"6.weight", "7.running_mean"}
        <= changed
        <= told | {f"{n}.running_mean" for n in (1, 4, 7, 10, 13)} | {"17.bias"}
    )
    assert "0.weight" not in changed


@torch.no_grad()
def test_a_fit_that_does_not_serve_is_dropped() -> None:
    """Fewer samples than inputs: what is fitted to them says nothing of others."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 5)).double()
    x = torch.randn(10, 30).double()
    graph = trace(model, x[:2])
    edit = narrow(graph, "0", kept=range(39))
    whole = kept_outputs(edit, Samples(graph, [x]))
    apply(graph, edit)
    told = refit(model, whole)

    assert all(layer.after <= layer.before for layer in told)


class Twice(nn.Module):
    """One layer is used twice, another one's weight is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.computed = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.twice(torch.tanh(self.twice(torch.tanh(self.first(x))))))
        result: Tensor = self.last(nn.functional.linear(x, self.computed.weight * 2))
        return result


@torch.no_grad()
def test_weights_that_are_used_twice_or_computed_stay() -> None:
    torch.manual_seed(0)
    model, x = Twice().double(), torch.randn(100, 4).double()
    graph = trace(model, x[:2])
    edit = narrow(graph, "computed", kept=range(4))
    whole = kept_outputs(edit, Samples(graph, [x]))
    apply(graph, edit)

    assert {layer.layer for layer in refit(model, whole)} == {"first.weight", "last.weight"}


@torch.no_grad()
def test_what_cannot_be_asked() -> None:
    model, x = deep(), torch.randn(8, 3, 8, 8).double()
    graph = trace(model, x)
    edit = narrow(graph, "3", kept=range(8))
    with pytest.raises(EditError, match="no batches"):
        kept_outputs(edit, Samples(graph))
    with pytest.raises(EditError, match="adds channels"):
        kept_outputs(widen(graph, "3", to=20), Samples(graph, [x]))
    whole = kept_outputs(edit, Samples(graph, [x]))
    with pytest.raises(EditError, match="apply that edit"):
        refit(model, whole)
    with pytest.raises(EditError, match="put together"):
        kept_outputs(edit, Samples(graph, [x, x[..., :4]]))
    apply(graph, edit)
    next(model.parameters()).fill_(float("nan"))
    with pytest.raises(EditError, match="NaN"):
        refit(model, whole)


class Residual(nn.Module):
    """Blocks that add to a stream; their layers with or without a batch norm in between."""

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        self.into = nn.Linear(6, 8)
        self.inner = nn.ModuleList(nn.Linear(8, 12) for _ in range(3))
        self.outer = nn.ModuleList(nn.Linear(12, 8, bias=not norm) for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm1d(8) if norm else nn.Identity() for _ in range(3))

    def stream(self, x: Tensor) -> Tensor:
        x = self.into(x)
        for inner, outer, norm in zip(self.inner, self.outer, self.norms, strict=True):
            x = x + norm(outer(torch.relu(inner(x))))
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.stream(x).tanh()


@pytest.mark.parametrize("norm", [False, True])
@torch.no_grad()
def test_what_adds_to_a_stream_makes_up_for_the_errors_in_the_stream(norm: bool) -> None:
    """The last block has all its channels, so what it gave by itself it gives again; the stream is what is off."""
    torch.manual_seed(0)
    model, x, new = Residual(norm=norm).double(), torch.randn(500, 6).double(), torch.randn(200, 6).double()
    model(x)
    model.eval()
    wanted = model.stream(new)
    graph = trace(model, x[:2])
    samples = Samples(graph, [x])
    edit = narrow_all(graph, {"inner.0": range(7), "inner.1": range(7)})
    whole = kept_outputs(edit, samples)
    apply(graph, reconstruct(edit, samples))
    before = error(wanted, model.stream(new))
    told = {layer.layer: layer for layer in refit(model, whole)}

    assert error(wanted, model.stream(new)) < 0.8 * before
    assert told["outer.2.weight"].after < 0.95 * told["outer.2.weight"].before
    assert told["outer.2.weight"].after == pytest.approx(error(wanted, model.stream(new)), rel=0.5)


def test_it_takes_the_batches_that_the_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 2))
    graph = trace(model, torch.randn(2, 64))
    samples = Samples(graph, [torch.randn(100, 64) for _ in range(4)])
    edit = narrow(graph, "0", range(8))
    assert len(kept_outputs(edit, samples).batch) == 400
    # The largest activation is 16 numbers of 4 bytes: a quarter of this holds 200 samples, six times.
    monkeypatch.setattr("netmorph.edit.refit.total", lambda device: 4 * 6 * 16 * 4 * 200)
    assert len(kept_outputs(edit, samples).batch) == 200
    monkeypatch.setattr("netmorph.edit.refit.total", lambda device: 1)
    assert len(kept_outputs(edit, samples).batch) == 100
