"""Several groups in one edit: one plan, one check, one entry in the journal."""

import copy

import pytest
import torch
from nets import output, small, trained
from torch import Tensor, nn

from netmorph import EditError, WidthError, apply, narrow, trace, widen
from netmorph.edit import WidthEdit, narrow_all, widen_all
from netmorph.widenings import keep, net2net, r2r, unequal_split, zero


class Branches(nn.Module):
    """Concatenation, grouped convolution and a flatten: several groups cross one dimension of one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(2, 4, 3, padding=1)
        self.right = nn.Conv2d(2, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(10)
        self.mix = nn.Conv2d(10, 8, 1)
        self.grouped = nn.Conv2d(8, 8, 3, groups=2)
        self.head = nn.Linear(8 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, 2, 4, 4]`."""
        both = self.norm(torch.cat([self.left(x), self.right(x).relu()], 1)).relu()
        return self.head(self.grouped(self.mix(both).relu()).relu().flatten(1))


def branches() -> tuple[Branches, Tensor]:
    torch.manual_seed(0)
    model = Branches()
    nn.init.uniform_(model.norm.running_mean)
    return model.double(), torch.randn(3, 2, 4, 4).double()


@pytest.mark.parametrize("method", [r2r, net2net, unequal_split, zero])
def test_all_groups_at_once_are_exact(method) -> None:  # type: ignore[no-untyped-def]
    model, x = branches()
    optimizer = trained(model, x, torch.optim.Adam(model.parameters()))
    before = output(model, x)
    graph = trace(model, x)
    widths = {group.name: 2 * group.size + 1 for group in graph.editable() if group.size > 1}
    assert len(widths) >= 5
    graph = apply(graph, widen_all(graph, widths, method), optimizer)
    assert torch.allclose(before, output(model, x), rtol=1e-12, atol=1e-12)
    assert {name: graph.group(name).size for name in widths} == widths
    assert len(graph.journal) == 1
    assert graph.journal[0].edit["widths"]["left"] == [4, 9]
    assert {p.shape for p in model.parameters()} == {optimizer.state[p]["exp_avg"].shape for p in model.parameters()}
    assert model.norm.num_features == model.mix.in_channels == 9 + 13
    assert model.head.in_features == model.grouped.out_channels * 4
    trained(model, x, optimizer)


def test_narrowing_all_at_once_is_narrowing_one_after_the_other() -> None:
    model, x = branches()
    single = copy.deepcopy(model)
    graph = trace(model, x)
    kept = {group.name: range(0, group.size, 2) for group in graph.editable() if group.size > 2}
    apply(graph, narrow_all(graph, kept))
    graph = trace(single, x)
    for name, channels in kept.items():
        graph = apply(graph, narrow(graph, name, channels))
    for name, tensor in single.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    assert repr(single) == repr(model)


def test_moments_follow_like_one_edit_after_the_other() -> None:
    model, x = small()
    single = copy.deepcopy(model)
    results = []
    for net, joint in ((model, True), (single, False)):
        optimizer = trained(net, x, torch.optim.Adam(net.parameters()))
        graph = trace(net, x)
        if joint:
            apply(graph, widen_all(graph, {"0": 8, "3": 9}, net2net), optimizer)
        else:
            graph = apply(graph, widen(graph, "0", 8, net2net), optimizer)
            apply(graph, widen(graph, "3", 9, net2net), optimizer)
        results.append([optimizer.state[p]["exp_avg_sq"] for p in net.parameters()])
    assert all(map(torch.equal, *results))


def test_an_edit_that_is_exact_for_one_group_only_is_not_exact() -> None:
    model, x = small()
    graph = trace(model, x)
    edit = WidthEdit({"0": widen(graph, "0", 6).changes["0"], "3": keep(3, [0, 2])}, "mixed")
    assert not edit.plan(graph).exact
    apply(graph, edit)
    assert (model[0].out_channels, model[3].out_channels) == (6, 2)


def test_given_values_of_fresh_channels() -> None:
    model, x = small()
    graph = trace(model, x)
    rows, columns = torch.ones(2, 4, 3, 3).double(), torch.full((2, 2 * 4), 3.0).double()
    changes = widen(graph, "3", 5, zero).changes
    edit = WidthEdit(changes, "given", fresh={("3.weight", 0): rows, ("6.weight", 1): columns})
    graph = apply(graph, edit)
    assert torch.equal(model[3].weight[3:], rows)
    assert not model[6].weight[:, 12:].any()  # read with a share of zero
    with pytest.raises(EditError, match=r"'3.weight' have shape \(1, 4, 3, 3\), but \(2, 4, 3, 3\) is needed"):
        apply(graph, WidthEdit(widen(graph, "3", 7, zero).changes, "x", fresh={("3.weight", 0): rows[:1]}))
    with pytest.raises(EditError, match=r"given for \[\('0.weight', 0\)\], which this edit does not change"):
        apply(graph, WidthEdit(widen(graph, "3", 7).changes, "x", fresh={("0.weight", 0): rows}))


def test_what_cannot_be_asked() -> None:
    model, x = branches()
    graph = trace(model, x)
    with pytest.raises(WidthError, match="changes no group"):
        apply(graph, WidthEdit({}, "keep"))
    with pytest.raises(WidthError, match="widening 'mix' needs more than"):
        widen_all(graph, {"left": 8, "mix": 1})
    with pytest.raises(EditError, match="group 'head' is frozen"):
        narrow_all(graph, {"left": [0], "head": [0]})


def test_one_group_under_two_names_is_refused() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = nn.Linear(2, 4), nn.Linear(2, 4), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.first(x) + self.second(x))

    graph = trace(Sum(), torch.randn(3, 2))
    with pytest.raises(EditError, match="'first' and 'second' are the same channel group 'first'; give it once"):
        widen_all(graph, {"first": 6, "second": 6})
