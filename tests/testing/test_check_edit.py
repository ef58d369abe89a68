"""`check_edit` passes netmorph's own edits, and finds each way in which an edit can be wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netmorph
from netmorph import EditError
from netmorph.edit import Description, Plan, undo
from netmorph.edit.blocks import THERE, Spec, chain_of
from netmorph.errors import NetmorphError
from netmorph.graph import Graph
from netmorph.testing import CheckError, check_attributes, check_edit

TOLD = Description("test", "none", "0", 4, 4)


def small() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(8, 3)


@dataclass(frozen=True)
class Made:
    """An edit whose plan is any function."""

    plan: Callable[[Graph], Plan]
    told: Any = TOLD

    def describe(self) -> Any:
        return self.told


def changed(change: Callable[[Tensor], Tensor], exact: bool = True) -> Callable[[Graph], Plan]:
    return lambda graph: Plan(exact, {"0.weight": change(graph.model.get_parameter("0.weight").detach())})


def check(plan: Callable[[Graph], Plan], **told: Any) -> None:
    check_edit(*small(), lambda graph: Made(plan, replace(TOLD, **told)))


def fails(match: str, plan: Callable[[Graph], Plan], **told: Any) -> None:
    with pytest.raises(CheckError, match=match):
        check(plan, **told)


def test_right_edits_pass_and_leave_the_model_alone() -> None:
    model, x = small()
    before = copy.deepcopy(model.state_dict())
    for edit in (
        lambda graph: netmorph.widen(graph, "0", 7),
        lambda graph: netmorph.narrow(graph, "2", [3, 1]),
        lambda graph: netmorph.residual(graph, "1"),
        lambda graph: Made(changed(torch.clone)),
        lambda graph: Made(changed(torch.neg, exact=False)),
    ):
        check_edit(model, x, edit)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}


def test_an_edit_that_claims_to_be_exact_and_is_not() -> None:
    fails(
        r"applying test \(none\) of '0' failed: OutputsDiffer: .* should keep the network's outputs", changed(torch.neg)
    )
    model, x = small()
    model.double()[0].weight.data /= 3
    with pytest.raises(CheckError, match="should keep the network's outputs"):
        check_edit(model, x, lambda graph: Made(changed(lambda weight: weight.float().double())))


def test_an_edit_that_is_exact_on_the_example_inputs_alone() -> None:
    def fitted(graph: Graph) -> Plan:
        """Some weights that give the same on inputs of less than full rank."""
        x, weight = graph.inputs[0], graph.model.get_parameter("0.weight").detach()
        return Plan(True, {"0.weight": weight @ (torch.linalg.pinv(x) @ x)})

    model, x = small()
    x[:, 2] = x[:, 0]
    with pytest.raises(
        CheckError, match=r"claims to be exact: output 0 differs by .* most at \(\d, \d\): \S+ instead of"
    ):
        check_edit(model, x, lambda graph: Made(fitted))


def test_a_plan_that_changes_the_network() -> None:
    def rude(graph: Graph) -> Plan:
        with torch.no_grad():
            graph.model.get_parameter("2.bias")[1] = 7.0
        return Plan(True)

    fails(r"plan\(\) of Made must change nothing: 2\.bias has other bits, first at \(1,\): 7\.0 instead of", rude)

    def holding(graph: Graph) -> Plan:
        graph.model.get_submodule("0").out_features = 9
        return Plan(True)

    fails(r"plan\(\) of Made must change nothing: 0\.out_features is 9 instead of 4", holding)


def test_a_plan_that_is_another_one_each_time() -> None:
    fails(r"two plans of one Made differ.*0\.weight", changed(torch.rand_like, exact=False))


def test_a_description_that_is_not_for_files() -> None:
    fails(r"describe\(\) of Made as JSON failed: TypeError", changed(torch.clone), widths=torch.ones(2))
    fails(r"is not plain JSON: .*\[1, 2\]", changed(torch.clone), widths=(1, 2))
    fails(r"has 4\.0 as 'after'; a int is needed", changed(torch.clone), after=4.0)
    with pytest.raises(CheckError, match="returned dict; a Description is needed"):
        check_edit(*small(), lambda graph: Made(changed(torch.clone), {}))
    with pytest.raises(CheckError, match="int is no edit"):
        check_edit(*small(), lambda graph: 3)  # type: ignore[arg-type, return-value]


def deepened(block: Spec, start: Callable[[nn.Module], object], exact: bool = True) -> Callable[[Graph], Plan]:
    """Behind the first activation."""
    spec = chain_of(THERE, block)

    def plan(graph: Graph) -> Plan:
        both = spec.build(graph.model, "1")
        with torch.no_grad():
            start(both[1])  # type: ignore[index]
        return Plan(exact, modules={"1": both}, specs={"1": spec.as_json()})

    return plan


LINEAR = Spec("linear", {"in_features": 4, "out_features": 4})


def zeros(block: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    first, last = (module for module in block.modules() if isinstance(module, nn.Linear))
    for layer in (first, last):
        layer.weight.uniform_(-0.5, 0.5, generator=generator)
        layer.bias.zero_()
    last.weight.zero_()


def test_what_gradients_can_reach_passes() -> None:
    check(deepened(Spec("residual", parts=(LINEAR, Spec("relu"), LINEAR)), zeros))


def test_new_parameters_that_no_gradient_reaches() -> None:
    """A branch that ends in a ReLU on exact zeros never learns."""
    plan = deepened(Spec("residual", parts=(LINEAR, Spec("relu"), LINEAR, Spec("relu"))), zeros)
    fails(r"1\.1\.body\.0\.weight: 16 of 16 new entries get no gradient in 4 steps", plan)


def test_a_new_entry_that_no_gradient_reaches() -> None:
    """Channels that nobody reads, and that are zero themselves."""

    def unread(graph: Graph) -> Any:
        edit = netmorph.widen(graph, "0", 6, netmorph.widenings.zero)
        rows, biases = torch.zeros(2, 3).double(), torch.zeros(2).double()
        return netmorph.edit.WidthEdit(edit.changes, "zeros", 0, {("0.weight", 0): rows, ("0.bias", 0): biases})

    with pytest.raises(CheckError, match=r"2\.weight: 8 of 24 new entries get no gradient|0\.weight: 6 of 18 new"):
        check_edit(*small(), unread)


class Meddler(nn.Module):
    """When it runs for the first time, it changes a parameter of another module."""

    def __init__(self, other: nn.Module) -> None:
        super().__init__()
        self.told = SimpleNamespace(other=other, first=iter([True]))  # what it has run is not put back

    def forward(self, x: Tensor) -> Tensor:
        if next(self.told.first, False):
            with torch.no_grad():
                self.told.other.bias += 1e-14
        return x.relu()


def test_an_undo_that_does_not_bring_the_bits_back() -> None:
    def meddled(graph: Graph) -> Plan:
        return Plan(True, modules={"1": Meddler(graph.model.get_submodule("0"))})

    fails(r"after undo of test \(none\) of '0': 0\.bias has other bits, first at \(0,\)", meddled)


def test_an_edit_that_no_journal_can_make_again() -> None:
    def unspecified(graph: Graph) -> Plan:
        made = deepened(LINEAR, torch.no_grad()(lambda layer: layer.load_state_dict(graph.model[2].state_dict())))
        return Plan(False, modules=made(graph).modules)

    fails("saving and loading after test .* failed: LoadError", unspecified)


def test_an_inverse_that_leaves_other_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    def narrowed(told: dict[str, Any], graph: Graph, parts: Any) -> Plan:
        return netmorph.narrow(graph, "2", [0, 1]).plan(graph)

    monkeypatch.setitem(undo.INVERSES, "narrowed", narrowed)

    def plan(graph: Graph) -> Plan:
        return replace(changed(torch.clone)(graph), inverse={"kind": "narrowed"})

    with pytest.raises(CheckError, match=r"undo of test .* after training leaves other shapes .*2\.bias, 2\.weight"):
        check(plan)


def test_an_edit_that_cannot_be_made_here_is_no_failed_check() -> None:
    model, x = small()
    with pytest.raises(EditError, match="frozen") as caught:
        check_edit(model, x, lambda graph: netmorph.widen(graph, "4", 9))
    assert not isinstance(caught.value, CheckError)
    graph = netmorph.trace(model, x)
    with pytest.raises(netmorph.NetmorphError, match="takes a function that makes the edit"):
        check_edit(model, x, netmorph.widen(graph, "0", 9))  # type: ignore[arg-type]


def test_what_is_no_network_to_check() -> None:
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), torch.randn(5, 3)
    for given, inputs, message in (
        (netmorph.trace(model, x), x, "an nn.Module, and its inputs; got Graph"),
        (nn.ReLU(), x, "ReLU has no parameters"),
        (model, x[:, :2], "forward failed on the example inputs"),
        (model, (), "forward failed on the example inputs"),
    ):
        with pytest.raises(NetmorphError, match=message):
            check_edit(given, inputs, lambda graph: netmorph.widen(graph, "0", 6))  # type: ignore[arg-type]


def test_attributes_that_are_not_true() -> None:
    model, _ = small()
    check_attributes(model)
    model[2].out_features = 5
    with pytest.raises(CheckError, match=r"2 \(Linear.*\): out_features is 5, and its tensors make it 4"):
        check_attributes(model)
