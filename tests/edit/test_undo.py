"""Undo: the same bits without training in between, the inverse where there is one after it, or a clear error."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import output, small, trained
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from netmorph import (
    EditError,
    apply,
    factorize,
    identity,
    load,
    merge,
    narrow,
    residual,
    save,
    shallow,
    trace,
    undo,
    widen,
    zoo,
)
from netmorph.edit import Description, Plan, copy_block, forget, gradmax, linearize, pointwise_first, stack, widen_all
from netmorph.edit.undo import first_copies, summed_copies
from netmorph.graph import Graph
from netmorph.widenings import WIDENINGS, net2net, rms_pad

SHAPE = {"input_shape": (3, 8, 8), "classes": 3, "width": 0.25, "blocks": (1, 2), "channels": (8, 16)}
Make = Callable[[Graph, Tensor], Any]
EDITS: dict[str, Make] = {
    **{
        f"widen {name}": lambda graph, x, method=method: widen(graph, "stage2.0.conv1", 9, method)
        for name, method in WIDENINGS.items()
    },
    "widen a stream": lambda graph, x: widen(graph, "conv1", 7, net2net),
    "widen several": lambda graph, x: widen_all(graph, {"conv1": 5, "stage2.1.conv1": 8}),
    "gradmax": lambda graph, x: gradmax(graph, "stage1.0.conv1", 4, [x], lambda model, x: model(x).square().sum()),
    "narrow": lambda graph, x: narrow(graph, "conv1", [1]),
    "residual": lambda graph, x: residual(graph, "stage2.0.relu2"),
    "identity": lambda graph, x: identity(graph, "relu1", norm=True, data=[x]),
    "copy": lambda graph, x: copy_block(graph, "stage2.1"),
    "stack": lambda graph, x: stack(graph, "stage2.1"),
    "shallow": lambda graph, x: shallow(graph, "stage2.1"),
    "fold": lambda graph, x: shallow(graph, "stage2.1", data=[x]),
    "linearize": lambda graph, x: linearize(graph, "stage2.1", [x]),
    "factorize": lambda graph, x: factorize(graph, "stage2.0.conv1", 2),
    "factorize with a bias": lambda graph, x: factorize(graph, "fc", 2, pointwise_first),
}


def resnet() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return zoo.build("resnet", **SHAPE).double(), torch.randn(4, 3, 8, 8).double()


def state(model: nn.Module, *optimizers: torch.optim.Optimizer) -> dict[str, Any]:
    """All that undo gives back: bits, structure, attributes."""
    plain = (int, float, str, bool, tuple, type(None))
    return deepcopy(
        {
            "tensors": dict(model.state_dict()),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "order": [[[id_of(model, p) for p in g["params"]] for g in o.param_groups] for o in optimizers],
            "attributes": {
                path: {key: value for key, value in vars(module).items() if isinstance(value, plain)}
                for path, module in model.named_modules()
            },
            "text": repr(model),
        }
    )


def id_of(model: nn.Module, parameter: Tensor) -> str:
    return next((name for name, p in model.named_parameters() if p is parameter), "another's")


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


OPTIMIZERS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
    "adamw": lambda ps: torch.optim.AdamW(ps, lr=1e-2, amsgrad=True),
    "sgd": lambda ps: torch.optim.SGD(ps, lr=1e-2, momentum=0.9),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", EDITS)
def test_the_same_bits_come_back(name: str, optimizer: str) -> None:
    model, x = resnet()
    held = trained(model, x, OPTIMIZERS[optimizer](list(model.parameters())))
    before = state(model, held)
    graph = trace(model, x)
    edited = apply(graph, EDITS[name](graph, x), held)
    assert not same(before, state(model, held))
    undone = apply(edited, undo(edited), held)
    assert same(before, state(model, held))
    assert undone.journal == ()
    assert str(undone.groups) == str(graph.groups) or undone.groups.keys() == graph.groups.keys()
    assert all(parameter.grad is None or parameter.grad.shape == parameter.shape for parameter in model.parameters())
    trained(model, x, held)  # and training goes on


def test_back_to_the_start_of_the_session() -> None:
    model, x = resnet()
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    held = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.1}, {"params": others}])
    trained(model, x, held)
    states, graph = [], trace(model, x)
    makes = [
        EDITS["factorize"],
        lambda graph, x: widen(graph, "stage2.0.conv1.0", 4),
        EDITS["fold"],
        EDITS["widen a stream"],
        EDITS["residual"],
        EDITS["factorize with a bias"],
        lambda graph, x: merge(graph, "fc"),
        EDITS["narrow"],
        EDITS["gradmax"],
        EDITS["linearize"],
    ]
    for number, make in enumerate(makes):
        if number == 6:  # not every edit is carried by an optimizer
            assert len(graph.journal) == 6
        states.append(state(model, held))
        graph = apply(graph, make(graph, x) if number != 9 else linearize(graph, "stage1.0", [x]), held)
    for before in reversed(states):
        graph = apply(graph, undo(graph), held)
        assert same(before, state(model, held))
    assert graph.journal == ()


def test_training_between_two_edits_stays() -> None:
    model, x = small()
    held = trained(model, x, torch.optim.Adam(model.parameters()))
    graph = apply(trace(model, x), widen(trace(model, x), "0", 6), held)
    trained(model, x, held)
    between = state(model, held)
    graph = apply(graph, residual(graph, "2"), held)
    graph = apply(graph, undo(graph), held)
    assert same(between, state(model, held))
    before = output(model, x)
    graph = apply(graph, undo(graph), held)
    assert model[0].out_channels == 4
    assert not torch.equal(before, output(model, x))


def test_what_the_edit_left_alone_keeps_its_training() -> None:
    model, x = small()
    for parameter in model[:3].parameters():
        parameter.requires_grad_(False)
    held = torch.optim.SGD(model[3:].parameters(), lr=0.1)
    old = model[0].weight.detach().clone()
    graph = trace(model, x)
    graph = apply(graph, factorize(graph, "0", 2), held)
    model.eval()
    held.zero_grad()
    model(x).square().sum().backward()
    held.step()
    kept = model[6].weight.detach().clone()
    apply(graph, undo(graph), held)
    assert torch.equal(model[0].weight, old)
    assert torch.equal(model[6].weight, kept)
    assert not model[0].weight.requires_grad


def test_a_moving_average_comes_back_too() -> None:
    model, x = small()
    held = trained(model, x, torch.optim.Adam(model.parameters()))
    average = AveragedModel(model)
    with torch.no_grad():
        for parameter in average.parameters():
            parameter.mul_(1.1)
    before = state(average)
    graph = trace(model, x, copies=[average])
    for make in (lambda g: narrow(g, "0", [0, 2]), lambda g: widen(g, "3", 5, net2net), lambda g: shallow(g, "4")):
        graph = apply(graph, make(graph), held)
    assert not same(before, state(average))
    while graph.journal:
        graph = apply(graph, undo(graph), held)
    assert same(before, state(average))


# -- after training ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [WIDENINGS["net2net"], WIDENINGS["unequal_split"]])
def test_widening_is_inverted_on_trained_weights(method: Any) -> None:
    """Copies that were trained alike (their writers frozen) give the same function when they are summed."""
    model, x = small()
    graph = trace(model, x)
    graph = apply(graph, widen(graph, "0", 7, method))
    with torch.no_grad():
        model[3].weight.add_(torch.randn_like(model[3].weight))
        model[6].bias.add_(1)
    before = output(model, x)
    graph = apply(graph, undo(graph))
    assert (model[0].out_channels, model[1].num_features, model[3].in_channels) == (4, 4, 4)
    assert torch.allclose(output(model, x), before, rtol=0, atol=1e-12)
    assert graph.journal == ()


def test_fresh_channels_are_dropped_with_their_moments() -> None:
    model, x = small()
    held = trained(model, x, torch.optim.Adam(model.parameters()))
    graph = trace(model, x)
    graph = apply(graph, widen(graph, "0", 8), held)
    trained(model, x, held)
    weight, moment = model[0].weight[:4].detach().clone(), held.state[model[0].weight]["exp_avg"][:4].clone()
    apply(graph, undo(graph), held)
    assert torch.equal(model[0].weight, weight)
    assert torch.equal(held.state[model[0].weight]["exp_avg"], moment)
    assert held.state[model[0].weight]["step"] == 4
    trained(model, x, held)


@pytest.mark.parametrize("name", ["residual", "identity", "copy", "stack"])
def test_a_trained_block_is_taken_out(name: str) -> None:
    model, x = resnet()
    text = repr(model)
    held = trained(model, x, torch.optim.Adam(model.parameters()))
    graph = trace(model, x)
    graph = apply(graph, EDITS[name](graph, x), held)
    trained(model, x, held)
    inner = model.fc.weight.detach().clone()
    apply(graph, undo(graph), held)
    assert repr(model) == text
    assert torch.equal(model.fc.weight, inner)
    assert {id(p) for p in held.param_groups[0]["params"]} == {id(p) for p in model.parameters()}


def test_trained_factors_are_multiplied() -> None:
    model, x = resnet()
    text = repr(model)
    graph = trace(model, x)
    graph = apply(graph, factorize(graph, "stage2.0.conv1", 2))
    with torch.no_grad():
        for parameter in model.get_submodule("stage2.0.conv1").parameters():
            parameter.add_(0.1)
    before = output(model, x)
    apply(graph, undo(graph))
    assert repr(model) == text
    assert torch.allclose(output(model, x), before, rtol=0, atol=1e-12)


def test_a_module_taken_out_comes_back_as_it_was_with_its_optimizer_state() -> None:
    model, x = resnet()
    held = trained(model, x, torch.optim.Adam(model.parameters()))
    block = model.stage2[1]
    before = state(block)
    step = held.state[block.conv1.weight]["step"].item()
    graph = trace(model, x)
    graph = apply(graph, linearize(graph, "stage2.1", [x]), held)
    trained(model, x, held)
    apply(graph, undo(graph), held)
    assert model.stage2[1] is block
    assert same(before, state(block))
    assert held.state[block.conv1.weight]["step"].item() == step
    assert len(held.param_groups[0]["params"]) == len(list(model.parameters()))


def test_what_comes_back_has_the_mode_of_the_network() -> None:
    model, x = resnet()
    graph = trace(model.train(), x)
    graph = apply(graph, shallow(graph, "stage2.1"))
    graph = apply(graph, factorize(graph, "conv1", 2))
    model.eval()
    graph = apply(graph, undo(graph))
    apply(graph, undo(graph))
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("name", ["widen zero", "narrow", "residual", "linearize", "factorize"])
def test_what_was_frozen_since_stays_frozen(name: str) -> None:
    model, x = resnet()
    model.fc.bias.requires_grad_(False)
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    graph = trace(model, x)
    graph = apply(graph, EDITS[name](graph, x))
    apply(graph, undo(graph))
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
    graph = trace(model, x)
    graph = apply(graph, EDITS[name](graph, x))
    model.requires_grad_(False)
    apply(graph, undo(graph))
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", ["narrow", "linearize", "shallow"])
def test_a_network_that_was_converted_since(name: str) -> None:
    model, x = resnet()
    graph = trace(model, x)
    graph = apply(graph, EDITS[name](graph, x))
    model.float()
    converted = trace(model, x.float(), graph.journal)
    with pytest.raises(EditError, match=r"were torch\.float64 on cpu, .*and are torch\.float32 on cpu, .* now; what"):
        apply(converted, undo(converted))


@pytest.mark.parametrize("name", ["narrow", "fold"])
def test_what_is_lost_is_said(name: str) -> None:
    model, x = resnet()
    held = trained(model, x, torch.optim.Adam(model.parameters()))
    graph = trace(model, x)
    graph = apply(graph, EDITS[name](graph, x), held)
    trained(model, x, held)
    before = state(model, held)
    with pytest.raises(EditError, match=r"(narrow|shallow) .* cannot be undone any more"):
        apply(graph, undo(graph), held)
    assert same(before, state(model, held))


def test_a_merge_of_trained_layers_is_lost() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4), nn.Tanh()).double()
    x = torch.randn(5, 3).double()
    graph = trace(model, x)
    merged = apply(graph, merge(graph, "0"))
    with torch.no_grad():
        model[0].weight.add_(1)
    with pytest.raises(EditError, match=r"merge .* cannot be undone any more"):
        apply(merged, undo(merged))


@pytest.mark.parametrize(
    "write", [lambda t: t.data.mul_(-1), lambda t: t.data.copy_(t.data.flip(0)), lambda t: t[0].add_(1)]
)
def test_any_change_is_noticed(write: Callable[[Tensor], Any]) -> None:
    model, x = small()
    graph = trace(model, x)
    graph = apply(graph, narrow(graph, "0", [0, 1, 2]))
    with torch.no_grad():
        write(model[0].bias)
    with pytest.raises(EditError, match="cannot be undone any more"):
        apply(graph, undo(graph))


def test_another_optimizer_starts_without_state_where_old_parameters_come_back() -> None:
    model, x = small()
    held = trained(model, x, torch.optim.Adam(model.parameters()))
    weight = model[0].weight
    graph = trace(model, x)
    graph = apply(graph, narrow(graph, "0", [0]), held)
    other = torch.optim.Adam(model.parameters())
    other.load_state_dict(held.state_dict())
    apply(graph, undo(graph), other)
    assert other.param_groups[0]["params"][0] is model[0].weight is weight
    assert weight not in other.state
    assert other.state[model[6].weight]
    trained(model, x, other)


def test_a_copy_that_was_not_edited_along_cannot_follow() -> None:
    model, x = small()
    graph = trace(model, x)
    graph = apply(graph, narrow(graph, "0", [0]))
    late = trace(model, x, graph.journal, copies=[deepcopy(model)])
    with pytest.raises(EditError, match="of the model and the copies that apply edited"):
        apply(late, undo(late))
    assert model[0].out_channels == 1


def test_an_undo_takes_back_the_last_edit_alone() -> None:
    model, x = small()
    graph = trace(model, x)
    graph = apply(graph, widen(graph, "0", 6))
    earlier = undo(graph)
    graph = apply(graph, residual(graph, "2"))
    with pytest.raises(EditError, match="the edit to undo, widen of '0', is not the last one of this graph"):
        apply(graph, earlier)
    assert apply(graph, undo(graph)).journal == graph.journal[:1]


# -- what there is to undo --------------------------------------------------------------------------------------------


def test_nothing_to_undo(tmp_path: Path) -> None:
    model, x = small()
    graph = trace(model, x)
    with pytest.raises(EditError, match="there is no edit to undo"):
        undo(graph)
    graph = apply(graph, narrow(graph, "0", [0, 2]))
    save(tmp_path / "net", model, graph.journal)
    again, journal = load(tmp_path / "net", lambda: small()[0])
    assert journal == forget(graph).journal
    for lost in (forget(graph), trace(deepcopy(model), x, graph.journal), trace(again, x, journal)):
        with pytest.raises(EditError, match=r"narrow \(keep\) of '0' cannot be undone any more"):
            apply(lost, undo(lost))
    graph = trace(model, x, graph.journal)
    assert apply(graph, undo(graph)).journal == ()


@pytest.mark.parametrize("name", [name for name in EDITS if name.split()[0] in "widen gradmax residual copy factorize"])
def test_what_has_an_inverse_is_undone_of_a_file_as_of_a_trained_network(name: str, tmp_path: Path) -> None:
    model, x = resnet()
    text = repr(model)
    graph = trace(model, x)
    graph = apply(graph, EDITS[name](graph, x))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    save(tmp_path / "net", model, graph.journal)
    again, journal = load(tmp_path / "net", lambda: resnet()[0])
    read = trace(again, x, journal)
    assert apply(read, undo(read)).journal == ()
    apply(graph, undo(graph))
    assert repr(again) == repr(model) == text
    assert same(dict(again.state_dict()), dict(model.state_dict()))


def test_a_journal_of_another_network_is_noticed() -> None:
    model, x = small()
    graph = trace(model, x)
    graph = forget(apply(graph, widen(graph, "0", 6)))
    other = trace(small()[0], x, graph.journal)
    with pytest.raises(EditError, match="group '0' has 4 channels, the edit to undo made 6"):
        apply(other, undo(other))


def test_channels_that_belong_together_otherwise_since_are_noticed() -> None:
    """Five channels padded by five, a difference of plain integers, look like the same five twice."""

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.last = nn.Linear(3, 1), nn.Linear(1, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x)
            y = self.second(x)
            return self.last(y + nn.functional.pad(x, [int(y.shape[1]) - int(x.shape[1]), 0]))

    model = Padded()
    graph = trace(model, torch.randn(2, 3))
    graph = apply(graph, widen(graph, "first", 5, WIDENINGS["zero"]))
    with torch.no_grad():
        model.first.weight += 1
    with pytest.raises(EditError, match=r"'second.weight' had the shape \[6, 1\], and would have \[2, 1\] now"):
        apply(graph, undo(graph))


def test_a_saved_network_knows_nothing_of_what_was_undone(tmp_path: Path) -> None:
    model, x = small()
    graph = trace(model, x)
    graph = apply(graph, widen(graph, "0", 6))
    graph = apply(graph, factorize(graph, "3", 1))
    graph = apply(graph, undo(graph))
    save(tmp_path / "net", model, graph.journal)
    again, journal = load(tmp_path / "net", lambda: small()[0])
    assert [entry.edit.kind for entry in journal] == ["widen"]
    assert torch.equal(output(again, x), output(model, x))


def test_what_an_edit_multiplied_is_divided_again() -> None:
    model, x = small()
    before = output(model, x)
    graph = trace(model, x)
    graph = forget(apply(graph, widen(graph, "0", 7, rms_pad)))
    assert not torch.allclose(output(model, x), before)
    apply(graph, undo(graph))
    torch.testing.assert_close(output(model, x), before, rtol=1e-12, atol=1e-12)


def test_copies_of_channels() -> None:
    channels = net2net(2, 5, torch.Generator().manual_seed(0))
    tensor = torch.arange(10.0).reshape(2, 5)
    sums = torch.stack([tensor[:, channels.source == old].sum(1) for old in range(2)], 1)
    assert torch.equal(summed_copies(tensor, 1, channels.source), sums)
    assert torch.equal(first_copies(tensor, 1, channels.source), tensor[:, :2])


class Several:
    """An edit of the user's that puts in or takes out two entries of a list at once."""

    def __init__(self, *, grows: bool) -> None:
        self.grows = grows

    def plan(self, graph: Graph) -> Plan:
        if self.grows:
            return Plan(exact=True, inserted={f"{number}": nn.Hardtanh(-1e9, 1e9) for number in (1, 2)})
        return Plan(exact=False, removed=("2", "1"))

    def describe(self) -> Description:
        return Description("deepen" if self.grows else "shallow", "several", "0", 0, 2)


@pytest.mark.parametrize("grows", [True, False])
def test_several_entries_of_a_list_go_back_to_their_places(grows: bool) -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(*(nn.Linear(4, 4) for _ in range(5))), torch.randn(3, 4)
    before = list(model)
    graph = apply(trace(model, x), Several(grows=grows))
    first, *behind = before
    now = list(model)
    assert now[0] is first
    assert now[3:] == behind if grows else now[1:] == behind[2:]
    apply(graph, undo(graph))
    assert list(model) == before
