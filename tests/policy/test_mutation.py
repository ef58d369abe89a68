import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from netmorph import zoo
from netmorph.errors import NetmorphError
from netmorph.graph import Graph, trace
from netmorph.policy import Mutation, mutate
from netmorph.policy.mutation import deepen_somewhere, widen_somewhere

X = torch.linspace(-1, 1, 2 * 36).reshape(2, 1, 6, 6)


def graph() -> Graph:
    torch.manual_seed(0)
    return trace(zoo.build("mlp", (1, 6, 6), 3, width=0.25), X)


def mutated(seed: int, mutation: Mutation) -> Graph:
    return mutate(graph(), np.random.default_rng(seed), mutation)


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_one_to_so_many_edits_are_drawn() -> None:
    mutation = Mutation(edits=3, locality=0.9)
    assert {len(mutated(seed, mutation).journal) for seed in range(12)} == {1, 2, 3}


def test_deepen_decides_the_kind() -> None:
    for share, kind in ((0.0, "widen"), (1.0, "deepen")):
        journal = mutated(0, Mutation(deepen=share, locality=0.9)).journal
        assert {entry.edit.kind for entry in journal} == {kind}


def test_growth_bounds_each_widening() -> None:
    for seed in range(10):
        for entry in mutated(seed, Mutation(deepen=0.0, growth=1.5, locality=0.9)).journal:
            before, after = entry.edit.before, entry.edit.after
            assert before < after <= max(before + 1, round(1.5 * before))


def test_on_edit_is_told_of_each_edit_and_what_is_new() -> None:
    start, sizes, shares = graph(), [size(graph().model)], []

    def note(edited: Graph, share: float) -> None:
        sizes.append(size(edited.model))
        shares.append(share)
        assert len(edited.journal) == len(shares)

    mutate(start, np.random.default_rng(1), Mutation(locality=0.9), on_edit=note)
    assert shares == pytest.approx([1 - before / after for before, after in itertools.pairwise(sizes)])


def test_the_optimizer_is_carried() -> None:
    start = graph()
    optimizer = torch.optim.SGD(start.model.parameters(), lr=0.1, momentum=0.9)
    new = mutate(start, np.random.default_rng(1), Mutation(locality=0.9), optimizer=optimizer)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in new.model.parameters()}


def test_nothing_is_made_where_nothing_fits() -> None:
    assert mutated(0, Mutation(locality=1e-6)).journal == ()


def test_a_network_without_a_free_group_or_layer_stays() -> None:
    linear = trace(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), X)
    generator = np.random.default_rng(0)
    assert widen_somewhere(linear, generator, Mutation()) is None
    assert deepen_somewhere(linear, generator, Mutation()) is None
    assert mutate(linear, generator, Mutation()) is linear


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("edits", (0, -1)),
        ("tries", (0,)),
        ("locality", (0.0, -0.1, 1.1, float("nan"))),
        ("growth", (1.0, 0.5, float("inf"), float("nan"))),
        ("deepen", (-0.1, 1.1, float("nan"))),
    ],
)
def test_values_out_of_range_are_refused(name: str, values: tuple[float, ...]) -> None:
    for value in values:
        with pytest.raises(NetmorphError, match=f"{name} must be .* got {value}"):
            replace(Mutation(), **{name: value})
