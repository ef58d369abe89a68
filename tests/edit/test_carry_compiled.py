"""Compiled and data-parallel wrappers compute the edited network."""

import pytest
import torch
from nets import output, small, trained
from torch import nn

from netmorph import apply, narrow, residual, trace, widen

pytestmark = pytest.mark.filterwarnings("ignore:Using `torch.compile.*global hooks:UserWarning")


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_model(backend: str) -> None:
    model, x = small()
    compiled = torch.compile(model, backend=backend)
    optimizer = trained(compiled, x, torch.optim.Adam(compiled.parameters(), lr=0.01))
    before = output(compiled, x)
    graph = trace(compiled, x)
    assert graph.model is model
    graph = apply(graph, widen(graph, "0", 7), optimizer)
    graph = apply(graph, residual(graph, "2"), optimizer)
    torch.testing.assert_close(output(compiled, x), before)
    apply(graph, narrow(graph, "0", [0, 2]), optimizer)
    start = {name: p.detach().clone() for name, p in model.named_parameters() if name != "0.bias"}
    trained(compiled, x, optimizer)
    assert all((model.get_parameter(name) != old).any() for name, old in start.items())
    torch.testing.assert_close(output(compiled, x), output(model, x))


def test_a_model_that_is_compiled_in_place() -> None:
    model, x = small()
    model.compile(backend="eager")
    before = output(model, x)
    graph = trace(model, x)
    apply(graph, widen(graph, "0", 7))
    torch.testing.assert_close(output(model, x), before)


def test_a_model_with_a_compiled_part() -> None:
    model, x = small()
    parts = nn.Sequential(torch.compile(model[:3], backend="eager"), model[3:])
    before = output(parts, x)
    graph = trace(parts, x)
    apply(graph, widen(graph, "0._orig_mod.0", 7))
    torch.testing.assert_close(output(parts, x), before)


def test_a_data_parallel_model() -> None:
    model, x = small()
    wrapper = nn.DataParallel(model)
    before = output(wrapper, x)
    graph = trace(wrapper, x)
    assert graph.model is model
    apply(graph, widen(graph, "0", 7))
    torch.testing.assert_close(output(wrapper, x), before)
