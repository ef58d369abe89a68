"""A comparison of sizes bounds a width: the forward's way stays the same."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from netmorph import Allow, Group, WidthError, apply, narrow, trace, widen
from netmorph.edit import narrow_all


class Net(nn.Module):
    """`[3, 4]` -> 24 channels, in blocks of 6 that are added up -> 2."""

    def __init__(self, between: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        self.between = between
        self.radix, self.floor = 4, 5
        self.first, self.last = nn.Linear(4, 24), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        if self.radix > 1:
            y = y.view(len(y), self.radix, -1).sum(1)
        return self.last(self.between(self, y))


def groups(between: Callable[[Net, Tensor], Tensor]) -> tuple[Group, Group]:
    """The blocks, and what is in each."""
    graph = trace(Net(between), torch.randn(3, 4))
    return graph.group("first"), graph.group("last.in_features")


# With 6 channels in a block, and the least and most of them.
COMPARISONS: dict[str, tuple[Callable[[Net, Tensor], Tensor], int, int | None]] = {
    "less": (lambda n, y: y * 2 if y.shape[-1] < 4 else y, 4, None),
    "at most": (lambda n, y: y * 2 if y.shape[-1] <= 9 else y, 1, 9),
    "at least": (lambda n, y: y * 2 if y.shape[-1] >= 3 else y, 3, None),
    "more, the other way round": (lambda n, y: y * 2 if y.shape[-1] > 2 else y, 3, None),
    "a fraction": (lambda n, y: y * 2 if y.shape[-1] > 4.5 else y, 5, None),
    "two sizes": (lambda n, y: y * 2 if y.shape[-1] < n.floor else y, 5, None),
    "a chain": (lambda n, y: y * 2 if 3 <= y.shape[-1] < 20 else y, 3, 19),
    "largest": (lambda n, y: y[..., : max(y.shape[-1], 4)], 4, None),
    "a product": (lambda n, y: y * 2 if 2 * y.shape[-1] > 7 else y, 4, None),
    "a quotient": (lambda n, y: y * 2 if y.shape[-1] // 2 >= 2 else y, 4, None),
    "nothing": (lambda n, y: y, 1, None),
}


@pytest.mark.parametrize("name", COMPARISONS)
def test_least_and_most(name: str) -> None:
    between, least, most = COMPARISONS[name]
    blocks, inside = groups(between)
    assert (blocks.least, blocks.most) == (2, None)
    assert (inside.least, inside.most) == (least, most)
    assert inside.allow == Allow.ANY


def test_found_unequal_is_no_reason_to_freeze() -> None:
    _, inside = groups(lambda n, y: y * 2 if y.shape[-1] == 4 else y)
    assert inside.allow == Allow.ANY
    graph = trace(Net(lambda n, y: y * 2 if y.shape[-1] != 4 else y), torch.randn(3, 4))
    with pytest.raises(WidthError, match=r"finds 6 != 4 at .*test_bounds\.py"):
        apply(graph, narrow(graph, "last.in_features", range(4)))
    apply(graph, narrow(graph, "last.in_features", range(3)))


def test_an_edit_that_asks_for_less_names_group_and_line() -> None:
    model = Net(lambda n, y: y)
    graph = trace(model, torch.randn(3, 4))
    told = r"takes 'first' to 1, but the forward finds 4 > 1 at .*test_bounds\.py:\d+ .*'first' takes 2 or more"
    with pytest.raises(WidthError, match=told):
        apply(graph, narrow_all(graph, {"first": [0], "last.in_features": range(3)}))
    apply(graph, narrow_all(graph, {"first": [0, 3], "last.in_features": range(3)}))
    assert (model.radix, model.last.in_features) == (2, 3)


def test_two_of_what_may_not_be_one_are_frozen_with_the_line() -> None:
    """Whether there are several is a switch: half of two would be none to choose."""
    model = Net(lambda n, y: y)
    model.radix, model.last = 2, nn.Linear(12, 2)
    graph = trace(model, torch.randn(3, 4))
    blocks = next(group for group in graph.groups.values() if group.name == "first" and group.size == 2)
    assert blocks.allow == Allow.FROZEN
    assert re.search(r"finds 2 > 1 at .*test_bounds\.py:\d+", blocks.reasons[0])


def test_an_edit_that_asks_for_more_is_told_the_most() -> None:
    graph = trace(Net(lambda n, y: y * 2 if y.shape[-1] <= 9 else y), torch.randn(3, 4))
    with pytest.raises(WidthError, match=re.escape("'last.in_features' takes from 1 to 9")):
        apply(graph, widen(graph, "last.in_features", 10))


def test_a_bound_between_two_groups_is_checked_for_both_together() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.z = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            z = self.b(y)
            return self.z(z * 2 if z.shape[-1] < y.shape[-1] else z)

    graph = trace(Two(), torch.randn(3, 4))
    assert (graph.group("a").least, graph.group("b").most) == (7, 7)
    with pytest.raises(WidthError, match="'a' to 4"):
        apply(graph, narrow(graph, "a", range(4)))
    apply(graph, narrow_all(graph, {"a": range(4), "b": range(3)}))
