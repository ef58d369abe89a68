"""All or nothing: after any failure, model and optimizer are bit for bit as they were."""

import math
import sys
from typing import Any

import pytest
import torch
from nets import same, small, snapshot, trained
from torch import Tensor, nn

from netmorph import Allow, EditError, apply, identity, narrow, residual, shallow, trace, widen
from netmorph.edit.difference import difference
from netmorph.graph import RULES
from netmorph.widenings import r2r, random_pad

applying = sys.modules["netmorph.edit.apply"]


class HardCoded(nn.Module):
    """Flattens by a size typed in."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(2, 4, 3), nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        x = x.view(-1, 64)
        return self.head(x)


class Stored(HardCoded):
    """Flattens by a size that the module holds."""

    def __init__(self) -> None:
        super().__init__()
        self.columns = 64

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).relu().view(-1, self.columns))


class Picky(HardCoded):
    """Goes another way for any but four channels, and asks out of sight."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x.relu() if str(x.shape[1]) == "4" else x.abs()
        return self.head(x.flatten(1))


def test_a_size_written_in_the_code_is_refused_with_its_line() -> None:
    """Also where it still divides: twice the channels would fill twice the rows, and the samples be mixed up."""
    model, x = HardCoded().double(), torch.randn(3, 2, 6, 6).double()
    graph = trace(model, x)
    before = snapshot(model)
    for to in (5, 8):
        with pytest.raises(EditError, match=r"'conv' is frozen: the size 64 .* in the code.*test_apply\.py:\d+"):
            apply(graph, widen(graph, "conv", to))
    assert same(before, snapshot(model))


def test_a_size_that_a_module_holds_follows() -> None:
    model, x = Stored().double(), torch.randn(3, 2, 6, 6).double()
    before = model(x)
    graph = trace(model, x)
    graph = apply(graph, widen(graph, "conv", 7))
    assert model.columns == 7 * 16
    assert type(model.columns) is int
    assert difference(before.detach(), model(x).detach()) < 1e-12
    assert ("", "columns", 7 * 16) in graph.journal[-1].attributes


def test_a_forward_that_goes_another_way_is_refused() -> None:
    model, x = Picky().double(), torch.randn(3, 2, 6, 6).double()
    optimizer = trained(model, x, torch.optim.Adam(model.parameters()))
    graph = trace(model, x)
    before = snapshot(model, optimizer)
    with pytest.raises(EditError, match=r"aten\.abs runs where aten\.relu ran before .*test_apply\.py:\d+"):
        apply(graph, widen(graph, "conv", 5), optimizer)
    assert same(before, snapshot(model, optimizer))


def test_a_stale_graph() -> None:
    model, x = small()
    first = trace(model, x)
    second = apply(first, widen(first, "0", 6))
    before = snapshot(model)
    with pytest.raises(
        EditError, match=r"out of date: 0\.bias, 0\.weight, 1\.bias changed since it was traced\. Go on with"
    ):
        apply(first, widen(first, "3", 6))
    assert same(before, snapshot(model))
    apply(second, widen(second, "3", 6))


def test_a_graph_from_before_a_layer_without_weights_was_taken_out_is_stale() -> None:
    model, x = small()
    first = trace(model, x)
    apply(first, shallow(first, "4"))
    with pytest.raises(EditError, match="out of date"):
        apply(first, widen(first, "0", 6))


@pytest.mark.parametrize("where", ["make", "traced", "difference", "prepare", "_sealed"])
@pytest.mark.parametrize("kind", ["widen", "narrow", "residual", "identity", "shallow"])
def test_a_failure_in_the_middle(where: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = small()
    optimizer = trained(model, x, torch.optim.Adam(model.parameters()))
    graph = trace(model, x)
    edit = {
        "widen": lambda: widen(graph, "0", 6),
        "narrow": lambda: narrow(graph, "0", [1, 2]),
        "residual": lambda: residual(graph, "2"),
        "identity": lambda: identity(graph, "0"),
        "shallow": lambda: shallow(graph, "2"),
    }[kind]()
    before = snapshot(model, optimizer)
    done = getattr(applying, where)

    def fails(*args: Any, **kwargs: Any) -> Any:
        done(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(applying, where, fails)
    with pytest.raises(KeyboardInterrupt):
        apply(graph, edit, optimizer)
    assert same(before, snapshot(model, optimizer))
    monkeypatch.undo()
    apply(graph, edit, optimizer)


def test_a_failing_second_optimizer_leaves_the_first() -> None:
    model, x = small()
    good = trained(model, x, torch.optim.Adam(model.parameters()))
    bad = trained(model, x, torch.optim.Adafactor(model.parameters()))
    before = snapshot(model, good, bad)
    graph = trace(model, x)
    with pytest.raises(EditError, match="row_var"):
        apply(graph, widen(graph, "0", 6), [good, bad])
    assert same(before, snapshot(model, good, bad))


def test_an_edit_that_claims_to_be_exact_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong rule: normalizing over channels, said to treat each on its own."""
    layer_norm = RULES[torch.ops.aten.layer_norm.default]

    def careless(couple: Any, *args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(couple, "limit", lambda *a: None)
        return layer_norm(couple, *args, **kwargs)

    monkeypatch.setitem(RULES, torch.ops.aten.layer_norm.default, careless)
    model = nn.Sequential(nn.Linear(2, 4), nn.LayerNorm(4), nn.Linear(4, 2)).double()
    x = torch.randn(3, 2).double()
    graph = trace(model, x)
    assert graph.group("0").allow == Allow.ANY
    before = snapshot(model)
    with pytest.raises(EditError, match=r"should keep the network's outputs, but they differ by \d.*put back.*op rule"):
        apply(graph, widen(graph, "0", 6))
    assert same(before, snapshot(model))


def test_difference() -> None:
    one, nan, inf = torch.tensor([1.0, 2.0]), torch.tensor([1.0, torch.nan]), torch.tensor([1.0, torch.inf])
    assert difference(one, one) == 0
    assert difference((one, [one]), (one, [one + 1])) == 0.5
    assert math.isnan(difference(one, nan))
    assert math.isnan(difference((one, one), (nan, one)))
    assert difference(nan, nan) == 0
    assert difference(inf, inf) == 0
    assert difference(one, inf) == math.inf
    with pytest.raises(EditError, match=r"shape from \(2,\) to \(1,\)"):
        difference(one, one[:1])


def test_outputs_that_become_nan_are_no_exact_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = small()
    graph = trace(model, x)
    before = snapshot(model)
    monkeypatch.setattr(applying, "difference", lambda *results: math.nan)
    with pytest.raises(EditError, match="differ by nan"):
        apply(graph, widen(graph, "0", 6))
    assert same(before, snapshot(model))


def test_integer_outputs_first() -> None:
    class Predicts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 64), nn.Linear(64, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            logits = self.b(self.a(x).relu())
            return (logits > 0).long(), logits

    torch.manual_seed(0)
    model = Predicts()
    graph = trace(model, torch.randn(50, 4))
    apply(graph, widen(graph, "a", 200, r2r))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_other_dtypes_are_exact_up_to_their_rounding(dtype: torch.dtype) -> None:
    model, x = small()
    model, x = model.to(dtype), x.to(dtype)
    graph = trace(model, x)
    for name in ("0", "3"):
        graph = apply(graph, widen(graph, name, 9))
        graph = apply(graph, widen(graph, name, 16))
    assert all(p.dtype == dtype for p in model.parameters())


def test_a_model_in_low_precision_that_returns_float32() -> None:
    class Upcast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8), nn.ReLU(), nn.Linear(8, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x).float()

    torch.manual_seed(0)
    model = Upcast().bfloat16()
    graph = trace(model, torch.randn(20, 8).bfloat16())
    graph = apply(graph, widen(graph, "body.0", 50))


def test_the_graph_returned_is_of_the_edited_model() -> None:
    model, x = small()
    graph = trace(model, x)
    after = apply(graph, widen(graph, "0", 6))
    assert after.model is model
    assert after.group("0").size == 6
    assert graph.group("0").size == 4
    assert [entry.edit.after for entry in after.journal] == [6]
    assert 0 <= after.journal[0].error < 1e-12
    worse = apply(after, widen(after, "0", 8, random_pad))
    assert worse.journal[1].error > 1e-6


def test_modes_gradients_and_random_state_survive() -> None:
    model, x = small()
    model.train()
    model[1].eval()
    model(x).sum().backward()
    kept = model[6].bias.grad
    state = torch.get_rng_state()
    graph = trace(model, x)
    apply(graph, widen(graph, "0", 6))
    assert [module.training for module in model] == [True, False, True, True, True, True, True]
    assert model[6].bias.grad is kept
    assert model[0].weight.grad is None
    assert torch.equal(state, torch.get_rng_state())


def test_an_edit_that_is_not_described_is_refused_before_anything_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = small()
    graph, before = trace(model, x), snapshot(model)
    edit = widen(graph, "0", 6)
    monkeypatch.setattr(type(edit), "describe", lambda self: {"kind": "widen"})
    with pytest.raises(EditError, match=r"WidthEdit\.describe\(\) returned dict; it returns a netmorph\.edit\.Descr"):
        apply(graph, edit)
    assert same(snapshot(model), before)
