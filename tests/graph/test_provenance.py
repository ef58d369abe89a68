"""Integers that follow through arithmetic and through what Python makes of them, and those that do not."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netmorph import Allow, EditError, Graph, apply, narrow, trace
from netmorph.edit import widen_all
from netmorph.edit.apply import difference
from netmorph.widenings import net2net

EXACT = 1e-12
HEADS = 3

Forward = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """`[2, 5, 4]` -> 12 channels -> the function under test -> 2."""

    def __init__(self, forward: Forward, out: int = 12) -> None:
        super().__init__()
        self.between = forward
        self.first, self.last = nn.Linear(4, 12), nn.Linear(out, 2)
        self.dim, self.heads, self.head_dim, self.half = 12, 3, 4, 6

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self, self.first(x)).tanh().flatten(2))


def traced(forward: Forward, out: int = 12) -> Graph:
    torch.manual_seed(0)
    return trace(Net(forward, out).double(), torch.randn(2, 5, 4).double())


def written(graph: Graph) -> list[Any]:
    """The groups that the first layer writes."""
    return [g for g in graph.groups.values() if any((s.tensor, s.dim) == ("first.weight", 0) for s in g.sites)]


def heads(n: Net, y: Tensor, *sizes: int) -> Tensor:
    return y.view(*y.shape[:2], *sizes)


# Three heads of four.
WHOLE: dict[str, Forward] = {
    "int": lambda n, y: heads(n, y, int(n.heads), -1),
    "int of a quotient": lambda n, y: heads(n, y, n.heads, int(n.dim / n.heads)),
    "floor": lambda n, y: heads(n, y, n.heads, math.floor(n.dim / n.heads)),
    "ceil": lambda n, y: heads(n, y, n.heads, math.ceil(n.dim / n.heads)),
    "round": lambda n, y: heads(n, y, n.heads, round(n.dim / n.heads)),
    "floor of a size": lambda n, y: heads(n, y, math.floor(n.heads), math.ceil(n.head_dim)),
    "divmod": lambda n, y: heads(n, y, n.heads, divmod(n.dim, n.heads)[0]),
    "twice negative": lambda n, y: heads(n, y, n.heads, -(-n.dim // n.heads)),
    "abs": lambda n, y: heads(n, y, abs(n.heads), -1),
    "min": lambda n, y: heads(n, y, min(n.heads, n.dim), -1),
    "max": lambda n, y: heads(n, y, max(2, n.heads), -1),
    "reduce": lambda n, y: heads(
        n, heads(n, y, functools.reduce(operator.mul, (n.heads, n.head_dim))), n.heads, n.head_dim
    ),
    "prod": lambda n, y: heads(n, heads(n, y, n.heads, n.head_dim), math.prod((n.heads, n.head_dim))),
    "NumPy's prod": lambda n, y: heads(n, heads(n, y, n.heads, n.head_dim), int(np.prod([n.heads, n.head_dim]))),
    "numel": lambda n, y: heads(n, z := heads(n, y, n.heads, n.head_dim), z.shape[2:].numel()),
    "sum of shapes": lambda n, y: y.view(y.shape[:2] + torch.Size([n.heads, n.head_dim])),
    "length": lambda n, y: heads(n, y, len(n.first.weight)).view(*y.shape[:2], n.heads, -1),
}

# The first half times the second.
HALVES: dict[str, Forward] = {
    "shift right": lambda n, y: y[..., : y.shape[-1] >> 1] * y[..., y.shape[-1] >> 1 :],
    "shift left": lambda n, y: heads(n, y, n.half << 1)[..., : n.half] * y[..., n.half :],
    "int of a half": lambda n, y: y[..., : int(n.dim / 2)] * y[..., int(n.dim / 2) :],
    "int of times a half": lambda n, y: y[..., : int(n.dim * 0.5)] * y[..., int(n.dim * 0.5) :],
    "from the end": lambda n, y: y[..., : n.half] * y[..., -n.half :],
}


@pytest.mark.parametrize("name", [*WHOLE, *HALVES])
@torch.no_grad()
def test_followed(name: str) -> None:
    graph = traced(WHOLE[name]) if name in WHOLE else traced(HALVES[name], 6)
    groups = written(graph)
    assert all(group.allow == Allow.ANY for group in groups), [group.reasons for group in groups]
    before = graph.model(graph.inputs[0])
    apply(graph, widen_all(graph, {group.name: 2 * group.size for group in groups}, net2net))
    assert difference(before, graph.model(graph.inputs[0])) <= EXACT


def held_in_a_closure() -> Forward:
    count = 3
    return lambda n, y: heads(n, y, count, -1)


LOST: dict[str, Forward] = {
    "global": lambda n, y: heads(n, y, HEADS, -1),
    "closure": held_in_a_closure(),
    "value of a tensor": lambda n, y: heads(n, y, int(torch.tensor([3.0]).sum()), -1),
    "tensor as an index": lambda n, y: torch.cat([y[..., : torch.IntTensor([5])[0]], y[..., 5:]], -1),
    "computed with floats": lambda n, y: heads(n, y, int(math.sqrt(10)), -1),
}


@pytest.mark.parametrize("name", LOST)
def test_what_is_lost_is_told_apart_from_what_is_written(name: str) -> None:
    frozen = [group for group in written(traced(LOST[name])) if group.allow == Allow.FROZEN]
    told = " ".join(reason for group in frozen for reason in group.reasons)
    assert "comes from where tracing cannot follow" in told
    assert __file__ in told


def test_a_number_beside_a_followed_one_of_the_same_value_is_written() -> None:
    """`int(n.heads)` makes a plain 3, and so is the 3 in the code."""
    frozen = written(traced(lambda n, y: heads(n, y, int(n.heads), -1).flatten(2).view(2, 5, 3, 4)))
    assert any("the size 3 is written in the code" in reason for group in frozen for reason in group.reasons)


# Where a width becomes the value of a tensor, seen or out of sight.
VALUES: dict[str, Forward] = {
    "tensor": lambda n, y: y / torch.tensor(n.dim),
    "full": lambda n, y: y / torch.full((), n.dim),
    "arange": lambda n, y: y * torch.arange(n.dim).sum(),
    "new_tensor": lambda n, y: y / y.new_tensor([n.dim]),
    "fill": lambda n, y: y / torch.zeros(1).fill_(n.dim),
    "IntTensor": lambda n, y: y / torch.IntTensor([n.dim]),
    "NumPy": lambda n, y: y / torch.from_numpy(np.array([n.dim])),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_width_that_becomes_a_value_is_frozen_or_refused(name: str) -> None:
    graph = traced(lambda n, y: VALUES[name](n, heads(n, y, n.dim)))
    group = graph.group("first")
    if group.allow == Allow.FROZEN:
        assert "computes with this width, 12, as a number" in group.reasons[0]
        return
    with pytest.raises(EditError, match="gets a tensor that holds 6 in place of 12"):
        apply(graph, narrow(graph, "first", range(6)))
    assert graph.model.dim == 12
