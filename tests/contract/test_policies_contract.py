"""Every policy, on every zoo network: only exact edits, within its bounds, by its seed alone.

A learning-rate policy changes no output by itself, moves nothing further than the schedule would, outlives the next
edit and a checkpoint, and leaves nothing behind.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from architectures import randomized
from checks import EXACT, MANY_LAYERS, SAME_BLOCKS, each, outputs, relative
from torch import Tensor, nn

from netmorph import apply, residual, zoo
from netmorph.edit import widen_all
from netmorph.graph import Allow, Graph, trace
from netmorph.policy import Mutation, exact, mutate
from netmorph.policy.learning_rate import POLICIES as LEARNING_RATES
from netmorph.policy.proposals import Deepen, Proposal, Widen
from netmorph.run.config import DataConfig, EvolveConfig
from netmorph.search.births import Birth, Born
from netmorph.search.jobs import Training, Worker
from netmorph.testing import check_attributes, check_proposal
from netmorph.train.pace import Pace
from netmorph.train.recipe import Recipe


class Policy(NamedTuple):
    """Edits a graph's model by a random generator, calling back after each step; and what it keeps to."""

    propose: Callable[..., Graph]
    locality: float
    growth: float


def mutation(edits: int = 4, locality: float = 0.75, deepen: float = 0.25, growth: float = 3.0) -> Policy:
    told = Mutation(edits, locality, exact(deepen, growth))
    return Policy(partial(mutate, mutation=told), locality, growth)


POLICIES = {
    "mutation": mutation(),
    "small steps": mutation(edits=4, locality=0.1, growth=1.3),
    "deep": mutation(edits=3, locality=0.8, deepen=1.0),
    "wide": mutation(edits=6, locality=0.9, growth=3.0, deepen=0.0),
}
SEEDS = range(2)
NETWORKS: dict[str, tuple[tuple[int, ...], Callable[[], nn.Module]]] = {
    "mlp": ((1, 6, 6), lambda: zoo.build("mlp", (1, 6, 6), 3, width=0.125)),
    "lenet5": ((1, 16, 16), lambda: zoo.build("lenet5", (1, 16, 16), 3, width=0.25)),
    "minivgg": ((1, 12, 12), lambda: zoo.build("minivgg", (1, 12, 12), 3, width=0.25)),
    "resnet": ((3, 16, 16), lambda: zoo.build("resnet", (3, 16, 16), 3, width=0.25, blocks=(1, 2, 1))),
    "resnet9": ((3, 16, 16), lambda: zoo.build("resnet9", (3, 16, 16), 3, width=0.0625)),
    "inception_resnet_small": (
        (3, 8, 8),
        lambda: zoo.build("inception_resnet_small", (3, 8, 8), 3, width=0.125, stride=1),
    ),
    "gpt": ((6,), lambda: zoo.build("gpt", (6,), 3, width=0.125, depth=2)),
}


def network(name: str, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(1)
    shape, build = NETWORKS[name]
    x = zoo.example(name, shape, 3)
    return randomized(build()).to(dtype), x.to(dtype) if x.is_floating_point() else x


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def assert_kept(policy: Policy, model: nn.Module, x: Tensor, seed: int) -> int:
    """Run a policy once on a model and check each edit; returns how many there were."""
    before, start, count = outputs(model, x), size(model), 0

    def check(graph: Graph, shares: Sequence[float]) -> None:
        nonlocal count
        count += len(shares)
        assert graph.model is model
        assert relative(before, outputs(model, x)) <= EXACT[next(model.parameters()).dtype], graph.journal[-1]
        for share, entry in zip(shares, graph.journal[-len(shares) :], strict=True):
            assert 0 < share <= policy.locality
            told = entry.edit
            assert told.after > told.before
            if told.kind == "widen":
                doubled = policy.growth < 2 and told.after == 2 * told.before  # where only multiples are exact
                assert doubled or told.after <= max(told.before + 1, round(policy.growth * told.before))

    graph = policy.propose(trace(model, x), np.random.default_rng(seed), on_edits=check)
    assert count == len(graph.journal)
    assert 1 - start / size(model) <= policy.locality
    check_attributes(model)
    return count


def test_every_zoo_network_is_covered() -> None:
    assert NETWORKS.keys() == zoo.MODELS.keys() - SAME_BLOCKS


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", each(NETWORKS))
def test_a_policy_proposes_exact_edits_within_its_bounds(name: str, policy: str) -> None:
    made = [assert_kept(POLICIES[policy], *network(name), seed) for seed in SEEDS]
    assert sum(made) >= len(SEEDS)


@pytest.mark.parametrize("proposal", [Widen(), Deepen()])
@pytest.mark.parametrize("name", each(NETWORKS))
def test_a_proposal_makes_right_edits(name: str, proposal: Proposal) -> None:
    assert check_proposal(*network(name), proposal, seeds=range(2)) == 2


def test_in_the_precision_that_is_trained_in() -> None:
    assert (
        sum(
            assert_kept(POLICIES["mutation"], *network(name, torch.float32), 5)
            for name in NETWORKS.keys() - MANY_LAYERS
        )
        >= 3
    )


# Every policy draws in the same way, and on every network.
@pytest.mark.parametrize(
    ("name", "policy"),
    [
        *((name, "mutation") for name in NETWORKS if name not in MANY_LAYERS),
        *(("lenet5", policy) for policy in [*POLICIES][1:]),
    ],
)
def test_a_policy_is_decided_by_its_seed_alone(name: str, policy: str) -> None:
    def propose(seed: int, disturbance: int) -> tuple[list[object], list[Tensor]]:
        model, x = network(name)
        torch.manual_seed(disturbance)
        np.random.seed(disturbance)  # noqa: NPY002
        graph = POLICIES[policy].propose(trace(model, x), np.random.default_rng(seed))
        return [entry.edit for entry in graph.journal], list(model.parameters())

    edits, weights = propose(7, disturbance=0)
    again, same = propose(7, disturbance=1)
    assert again == edits
    assert all(torch.equal(one, other) for one, other in zip(weights, same, strict=True))
    assert any(propose(seed, 0)[0] != edits for seed in (8, 9, 10))


@pytest.mark.parametrize("name", ["lenet5", pytest.param("resnet", marks=pytest.mark.slow)])
def test_no_child_exceeds_the_cap_of_its_run(name: str, tmp_path: Path) -> None:
    config = EvolveConfig(
        DataConfig(train_size=20), name, {"width": 0.0625}, Recipe(epochs=1), mutation=Mutation(edits=4, locality=0.8)
    )
    data = config.data.load()
    start = Worker(tmp_path, config, data)(Birth(1, None, 0, generations=0))
    assert isinstance(start, Born)
    worker = Worker(tmp_path, replace(config, max_flops=1.3 * start.cost.flops), data)
    worker(Training(1, 0, 1))
    for id, birth in enumerate((Birth(2, 1, 3), Birth(3, 1, 4), Birth(4, None, 5, 4, inherit=False)), 2):
        born = worker(replace(birth, id=id))
        assert isinstance(born, Born)
        assert start.cost.flops <= born.cost.flops <= 1.3 * start.cost.flops


def grown(name: str) -> tuple[Graph, torch.optim.Optimizer, Tensor]:
    """A network that was trained for a step, widened everywhere and deepened, with the optimizer that goes on."""
    model, x = network(name)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    train_once(model, optimizer, x)
    return widened(trace(model, x), optimizer), optimizer, x


def widened(graph: Graph, optimizer: torch.optim.Optimizer) -> Graph:
    sizes = {group.name: group.size + 2 for group in graph.editable(Allow.ANY)}
    return apply(graph, widen_all(graph, sizes), optimizer)


def train_once(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> list[Tensor]:
    """By how much a step moves each parameter."""
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer.zero_grad()
    model.eval()(x).square().sum().backward()
    optimizer.step()
    return [new.detach() - old for new, old in zip(model.parameters(), before, strict=True)]


@pytest.mark.parametrize("policy", LEARNING_RATES)
@pytest.mark.parametrize("name", each(NETWORKS))
def test_a_learning_rate_policy_only_slows_down(name: str, policy: str) -> None:
    graph, optimizer, x = grown(name)
    model, pace, before = graph.model, Pace(optimizer), outputs(graph.model, x)
    plain = copy.deepcopy((model, optimizer))  # a copied optimizer has no hooks
    LEARNING_RATES[policy](pace, graph)
    assert all(torch.equal(one, other) for one, other in zip(before, outputs(model, x), strict=True))
    moves = zip(train_once(model, optimizer, x), train_once(*plain, x), strict=True)
    assert all(bool((slow.abs() <= fast.abs() + 1e-15).all()) for slow, fast in moves)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3]

    graph = widened(graph, optimizer)
    graph = apply(graph, residual(graph, after=next(path for path in graph.channels if "elu" in path)), optimizer)
    LEARNING_RATES[policy](pace, graph)
    train_once(graph.model, optimizer, x)
    stored = copy.deepcopy((graph.model, optimizer))
    resumed = torch.optim.Adam(stored[0].parameters(), 0.5)
    again = Pace(resumed)
    resumed.load_state_dict(stored[1].state_dict())
    ours, theirs = (train_once(graph.model, optimizer, x), train_once(stored[0], resumed, x))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-12)

    for one in (pace, again):
        one.remove()
    fresh = torch.optim.Adam(graph.model.parameters(), 1e-3)
    assert [group.keys() for group in optimizer.param_groups] == [group.keys() for group in fresh.param_groups]
    assert {key for state in optimizer.state.values() for key in state} == {"step", "exp_avg", "exp_avg_sq"}
