"""A forward that keeps something between calls: what ran before the trace, or since, changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar

import keeping_models
import pytest
import torch
from keeping_models import KEEPING, Net, ramp, state_that_goes_on
from torch import Tensor, nn

from netmorph import Allow, apply, narrow, trace, undo, widen
from netmorph.graph import Graph

BUILD = pytest.mark.parametrize("build", KEEPING, ids=lambda build: build.__name__)


def built(build: Callable[[], nn.Module]) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return build().double().eval(), torch.randn(2, 5, 4, dtype=torch.float64)


def groups(graph: Graph) -> dict[str, Any]:
    return {
        name: (group.size, group.allow, group.reasons, [(site.tensor, site.dim) for site in group.sites])
        for name, group in graph.groups.items()
    }


def held(value: Any) -> Any:
    """All that stands in something, tensors and other objects by identity."""
    if isinstance(value, dict):
        return [(key, held(entry)) for key, entry in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [held(entry) for entry in value]
    return id(value), type(value), value.tolist() if isinstance(value, Tensor) else None


def state(model: nn.Module) -> list[Any]:
    variables = [keeping_models.SIZES, keeping_models.TABLES, keeping_models.TABLE]
    return [held(vars(module)) for module in model.modules()] + [held(variables)]


@BUILD
def test_a_run_before_the_trace_changes_nothing(build: Callable[[], nn.Module]) -> None:
    model, x = built(build)
    before = state(model)
    cold = trace(model, x)
    assert state(model) == before
    assert cold.group(KEEPING[build]).allow is Allow.ANY
    model, x = built(build)
    with torch.no_grad():
        model(x)
    before = state(model)
    assert groups(trace(model, x)) == groups(cold)
    assert state(model) == before


@BUILD
@pytest.mark.parametrize("runs_first", [False, True], ids=["cold", "warm"])
def test_edits_between_runs(build: Callable[[], nn.Module], runs_first: bool) -> None:
    model, x = built(build)
    forgets = build is state_that_goes_on  # its outputs go on from call to call

    def run() -> Tensor:
        with torch.no_grad():
            return model(x)

    if runs_first:
        run()
    graph = trace(model, x)
    name = graph.group(KEEPING[build]).name
    size = graph.group(name).size
    before = run()
    graph = apply(graph, widen(graph, name, 2 * size))
    assert forgets or torch.allclose(run(), before, rtol=1e-12)
    assert copy.deepcopy(model)(x).shape == before.shape
    model.train()(x).sum().backward()  # what a trace left would be refused by autograd
    model.eval()
    graph = apply(graph, undo(graph))
    assert forgets or torch.allclose(run(), before, rtol=1e-12)
    graph = apply(graph, narrow(graph, name, range(size // 2)))
    assert run().shape == before.shape


def test_what_does_not_depend_on_the_edit_stays() -> None:
    model, x = built(keeping_models.attribute_from_none)
    graph = trace(model, x)
    model(x)
    table = model.table
    apply(graph, widen(graph, "a", 9))
    assert model.table is table


def test_what_depends_on_the_edit_goes_for_all_shapes() -> None:
    model, x = built(keeping_models.dictionary_by_shape)
    model(x), model(torch.cat([x, x], 1))
    model.tables["doc"] = "a user's own note"
    graph = trace(model, x)
    apply(graph, widen(graph, "a", 9))
    assert model.tables == {"doc": "a user's own note"}


def test_a_failed_edit_leaves_what_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = built(keeping_models.dictionary_by_shape)
    model(x)
    before = state(model)
    graph = trace(model, x)
    monkeypatch.setattr("netmorph.edit.apply.prepare", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        apply(graph, widen(graph, "a", 9))
    assert state(model) == before


def test_copies_forget_as_well() -> None:
    model, x = built(keeping_models.weights_computed_in_eval_mode)
    twin = copy.deepcopy(model)
    model(x), twin(x)
    graph = trace(model, x, copies=[twin])
    expected = twin(x)
    apply(graph, widen(graph, "1.heads", 4))
    assert torch.allclose(twin(x), expected, rtol=1e-12)


def test_a_users_table_is_no_cache() -> None:
    """It does not come back by itself, or not with the same results: it is a constant, and stays."""

    def run(net: Any, x: Tensor) -> Tensor:
        if net.table is None:
            net.table = torch.zeros(5, 1, dtype=x.dtype)
        return net.z(net.a(x) + net.table + net.fixed)

    model, x = built(lambda: Net(run, table=ramp(5), fixed=ramp(5)))
    before = state(model)
    expected = model(x)
    graph = trace(model, x)
    assert state(model) == before
    assert not graph.recording.kept
    graph = apply(graph, widen(graph, "a", 9))
    assert torch.allclose(model(x), expected, rtol=1e-12)


def test_sizes_in_a_users_table_freeze() -> None:
    heads = {6: 2}

    def run(net: Any, x: Tensor) -> Tensor:
        y = net.a(x)
        return net.z(y.reshape(*y.shape[:2], heads[y.shape[2]], -1).tanh().flatten(2))

    graph = trace(*built(lambda: Net(run)))
    assert graph.group("a").allow is Allow.FROZEN
    assert heads == {6: 2}


def test_layers_that_share_a_cached_function_are_no_relations() -> None:
    class Shared(nn.Module):
        known: ClassVar[dict[int, int]] = {}

        def forward(self, y: Tensor) -> Tensor:
            width = y.shape[-1]
            if width not in self.known:
                self.known[width] = width // 2
            return keeping_models.gated(y, self.known[width])

    model = nn.Sequential(nn.Linear(4, 12), Shared(), nn.Linear(6, 12), Shared(), nn.Linear(6, 2)).double()
    x = torch.randn(2, 5, 4, dtype=torch.float64)
    for _ in range(2):
        graph = trace(model, x)
        assert graph.group("0").name != graph.group("2").name
        assert Shared.known in ({}, {12: 6})
        model(x)
    graph = apply(graph, widen(graph, "0", 8))
    assert [model[0].out_features, model[2].out_features] == [16, 12]


def test_tables_and_what_they_are_for_beside_hooks() -> None:
    class Hooked(Net):
        def __init__(self) -> None:
            super().__init__(type(self).once, table=None, table_for=None, hooked=False)

        def once(self, x: Tensor) -> Tensor:
            if not self.hooked:
                self.z.register_forward_hook(lambda module, args, result: None)
                self.hooked = True
            y = self.a(x)
            if self.table_for != y.shape[-1]:
                self.table_for, self.table = y.shape[-1], torch.zeros_like(y[0])
            return self.z(y + self.table)

    torch.manual_seed(0)
    model, x = Hooked().double().eval(), torch.randn(3, 4, dtype=torch.float64)
    graph = trace(model, x)
    model(x)
    apply(graph, widen(graph, "a", 9))
    assert model(x).shape == (3, 2)
    assert len(model.z._forward_hooks) == 1


def test_hooks_that_the_first_call_hangs_hang_once() -> None:
    """Libraries collect hidden states by hooks that the first call puts in, and remember that they are there."""

    class Collecting(Net):
        def __init__(self, hooked: list[Tensor]) -> None:
            super().__init__(type(self).collected, hooked=hooked)
            self.ready = False

        def collected(self, x: Tensor) -> Tensor:
            if not self.ready:
                self.a.register_forward_hook(lambda module, args, result: self.hooked.append(result))
                self.ready = True
            self.hooked.clear()
            self.a(x)
            return self.z(torch.cat(self.hooked, -1))

    torch.manual_seed(0)
    model, x = Collecting([]).double().eval(), torch.randn(3, 4, dtype=torch.float64)
    graph = trace(model, x)
    assert not model.a._forward_hooks
    model(x)
    graph = apply(graph, widen(graph, "a", 9))
    graph = apply(graph, narrow(graph, "a", range(5)))
    model(x)
    assert len(model.a._forward_hooks) == 1
