"""The policies of tables on networks that are there."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from netmorph import apply, widen, zoo
from netmorph.edit.depth import residual
from netmorph.graph import trace
from netmorph.measure.cost import cost
from netmorph.policy import Bandit, Network, Networks, Policy, Surrogate, explore, local_search
from tests.policy.made_up import named

X = torch.linspace(-1, 1, 2 * 36).reshape(2, 1, 6, 6)


@pytest.fixture(scope="module")
def space() -> Networks:
    torch.manual_seed(0)
    return Networks(trace(zoo.build("mlp", (1, 6, 6), 3, width=0.25), X), menu=3)


def test_a_move_is_one_edit_of_a_copy_with_the_weights_of_the_parent(space: Networks) -> None:
    parent = Network(space.start)
    with torch.no_grad():
        space.start.model.fc3.bias += 1  # as if it was trained since it was traced
        before = space.start.model(X)
    moves = [*space.moves(parent, np.random.default_rng(0))]

    assert len({move.to for move in moves}) == 3
    for move in moves:
        graph = move.to.graph
        assert [(entry.edit.kind, entry.edit.layer) for entry in graph.journal] == [(move.kind, move.place)]
        assert torch.allclose(graph.model(X), before, atol=1e-4)
        assert space.cost(move.to) == cost(graph.model, X).flops > space.cost(parent)
    assert space.start.journal == ()
    assert torch.equal(space.start.model(X), before)


def test_features_tell_what_edits_did_and_where(space: Networks) -> None:
    graph = trace(copy.deepcopy(space.start.model), X)
    size = graph.groups["fc1"].size
    graph = apply(graph, widen(graph, "fc1", to=2 * size))
    graph = apply(graph, residual(graph, after="relu2"))
    inner = next(name for name in graph.groups if name.startswith("relu2."))
    graph = apply(graph, widen(graph, inner, to=4 * graph.groups[inner].size))
    told = space.features(Network(graph)).reshape(2, -1)
    paths = [*space.start.modules]

    assert {(row, paths[place]): told[row, place] for row, place in np.argwhere(told)} == {
        (0, "fc1"): 1.0,
        (0, "relu2"): 2.0,
        (1, "relu2"): 1.0,
    }
    assert not space.features(Network(space.start)).any()


@pytest.mark.parametrize("policy", [local_search, Bandit(children=2, choice=2), Surrogate(candidates=3)], ids=named)
def test_policies_run_on_networks(space: Networks, policy: Policy[Any]) -> None:
    judged = explore(space, lambda network: -space.cost(network), policy, 4, np.random.default_rng(0), 2)

    assert len({one.point for one in judged}) == 4
    assert {one.kind for one in judged[2:]} <= {"widen", "deepen", "random"}
