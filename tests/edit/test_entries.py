"""What the last edit added to the parameters."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import netmorph
from netmorph import EditError
from netmorph.edit import Description, Plan, new_entries
from netmorph.edit.entries import new_statistics
from netmorph.graph import Graph


def network() -> tuple[nn.Module, Graph]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    return model, netmorph.trace(model, torch.randn(2, 3, 4, 4))


def places(entries: dict[str, Tensor], name: str, dim: int) -> list[int]:
    """Where along a dimension everything is new; elsewhere nothing may be."""
    across = entries[name].movedim(dim, 0).flatten(1) if entries[name].dim() > 1 else entries[name][:, None]
    assert torch.equal(across.any(1), across.all(1))
    return [int(place) for place in across.all(1).nonzero()]


@pytest.mark.parametrize("method", [netmorph.widenings.r2r, netmorph.widenings.net2net, netmorph.widenings.random_pad])
def test_channels_behind_the_old_ones_are_new(method: Any) -> None:
    _, graph = network()
    entries = new_entries(netmorph.apply(graph, netmorph.widen(graph, "0", 6, method)))
    assert entries.keys() == {"0.weight", "0.bias", "1.weight", "1.bias", "4.weight"}
    assert all(places(entries, name, 0) == [4, 5] for name in entries if name != "4.weight")
    assert places(entries, "4.weight", 1) == list(range(16, 24))  # a channel owns four columns behind the flatten


def test_a_weight_between_two_widened_groups_is_new_on_both_sides() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    graph = netmorph.trace(model, torch.randn(2, 3))
    entries = new_entries(netmorph.apply(graph, netmorph.edit.widen_all(graph, {"0": 3, "2": 4})))
    assert entries["2.weight"].tolist() == [[False, False, True]] * 2 + [[True] * 3] * 2


def test_an_inserted_block_is_new_and_what_it_stands_behind_is_not() -> None:
    model, graph = network()
    entries = new_entries(netmorph.apply(graph, netmorph.residual(graph, after="0")))
    inside = {name for name, _ in model.named_parameters() if name.startswith("1.")}
    assert entries.keys() == inside
    assert len(inside) == 4
    assert all(entry.all() for entry in entries.values())


def test_narrowing_adds_nothing() -> None:
    _, graph = network()
    assert new_entries(netmorph.apply(graph, netmorph.narrow(graph, "0", [2, 0]))) == {}


def test_only_the_last_edit_counts_also_after_undo() -> None:
    _, graph = network()
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", 6))
    first = new_entries(graph)
    graph = netmorph.apply(graph, netmorph.residual(graph, after="2"))
    assert all(name.startswith("3.") for name in new_entries(graph))
    again = new_entries(netmorph.apply(graph, netmorph.undo(graph)))
    assert again.keys() == first.keys()
    assert all(torch.equal(again[name], first[name]) for name in first)


def test_of_several_edits_all_that_they_added_wherever_it_is_now() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    graph = netmorph.trace(model, torch.randn(2, 3))
    graph = netmorph.apply(graph, netmorph.widen(graph, "2", 6))
    graph = netmorph.apply(graph, netmorph.residual(graph, after="3"))  # an entry behind
    graph = netmorph.apply(graph, netmorph.residual(graph, after="1"))  # and one before: both have other numbers now
    entries = new_entries(graph, 3)
    assert {name for name, found in entries.items() if found.all()} == {
        f"{entry}.body.{layer}.{kind}" for entry in (2, 5) for layer in (0, 2) for kind in ("weight", "bias")
    }
    assert {name for name, found in entries.items() if not found.all()} == {"3.weight", "3.bias", "6.weight"}
    assert places(entries, "3.weight", 0) == [4, 5]
    graph = netmorph.apply(graph, netmorph.widen(graph, "3", 8))
    assert places(new_entries(graph, 4), "3.weight", 0) == [4, 5, 6, 7]  # of a group that changed again, too
    assert new_entries(graph, 4)["5.body.0.weight"].all()
    assert new_entries(graph, 1).keys() == {
        "3.weight",
        "3.bias",
        "6.weight",
        "5.body.0.weight",
        "5.body.2.weight",
        "5.body.2.bias",
    }
    with pytest.raises(EditError, match="takes the graph that apply returned"):
        new_entries(graph, 5)


def test_new_channels_are_followed_through_later_edits_of_their_group() -> None:
    graph = network()[1]
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", 6))
    graph = netmorph.apply(graph, netmorph.narrow(graph, "0", [4, 0, 1]))
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", 5))
    for found, edits in ((new_entries, 3), (new_statistics, 3), (new_entries, 1), (new_statistics, 1)):
        name = "0.weight" if found is new_entries else "1.running_mean"
        assert places(found(graph, edits), name, 0) == ([0, 3, 4] if edits == 3 else [3, 4])


def test_what_a_later_edit_takes_out_is_gone() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    graph = netmorph.trace(model, torch.randn(2, 4))
    for place in ("1", "2"):
        graph = netmorph.apply(graph, netmorph.residual(graph, after=place, hidden=4))
    inner = [name for name in graph.groups if name.startswith("2.")]
    graph = netmorph.apply(graph, netmorph.edit.widen_all(graph, dict.fromkeys(inner, 6)))
    graph = netmorph.apply(graph, netmorph.shallow(graph, "2"))
    assert len(inner) == 1
    assert new_entries(graph, 2) == {}  # and not what has the number 2 now
    assert {name.partition(".")[0] for name in new_entries(graph, 4)} == {"2"}


def test_buffers_of_a_block_that_was_put_in_wherever_it_is_now() -> None:
    graph = network()[1]
    graph = netmorph.apply(graph, netmorph.identity(graph, "2", norm=True))
    graph = netmorph.apply(graph, netmorph.residual(graph, after="0"))
    new = {name for name, entries in new_statistics(graph, 2).items() if entries.all()}
    assert len(new) == 3  # of a batch norm
    assert "2.running_mean" in new_statistics(graph, 2).keys() - new  # the batch norm that was there


def test_what_is_not_known() -> None:
    _, graph = network()
    with pytest.raises(EditError, match="takes the graph that apply returned"):
        new_entries(graph)
    graph = netmorph.apply(graph, netmorph.widen(graph, "0", 6))
    with pytest.raises(EditError, match="takes the graph that apply returned"):
        new_entries(netmorph.edit.forget(graph))


@dataclass(frozen=True)
class Doubled:
    """Resizes tensors without channel maps."""

    def plan(self, graph: Graph) -> Plan:
        names = ("0.weight", "0.bias", "2.weight")
        old = {name: graph.model.get_parameter(name).detach() for name in names}
        tensors = {name: torch.cat([tensor, tensor], int(name == "2.weight")) for name, tensor in old.items()}
        attributes: list[tuple[str, str, Any]] = [("0", "out_features", 6), ("2", "in_features", 6)]
        return Plan(exact=False, tensors=tensors, attributes=attributes)

    def describe(self) -> Description:
        return Description("double", "cat", "0", 3, 6)


def test_a_users_edit_that_resizes_tensors_in_its_own_way() -> None:
    graph = netmorph.trace(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)), torch.randn(2, 2))
    with pytest.raises(EditError, match=r"Doubled resizes '0.weight' in its own way"):
        new_entries(netmorph.apply(graph, Doubled()))


def test_a_narrowing_after_which_a_group_is_gone_adds_nothing() -> None:
    model = nn.Sequential(nn.Conv1d(1, 2, 1), nn.Conv1d(2, 2, 1, groups=2), nn.GroupNorm(1, 2), nn.Conv1d(2, 1, 1))
    graph = netmorph.trace(model, torch.randn(2, 1, 5))
    (name,) = (group.name for group in graph.editable() if group.size > 1)
    graph = netmorph.apply(graph, netmorph.narrow(graph, name, [0]))
    assert new_entries(graph) == {}
