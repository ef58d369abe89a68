"""What every agent promises: it attaches what fits, keeps to its budget, does the same again, and finds something."""

import pytest
import torch

from netmorph.chain import AGENTS, REWARDS, Chain, Trials, search
from netmorph.chain.trials import Agent
from tests.chain.toy_chains import Planted

pytest.importorskip("sb3_contrib")


BUDGET = 150
LEARN_BY_STEP = ("reinforce", "actor-critic", "ppo")
AGENTS_AND_REWARDS = [
    pytest.param(make(REWARDS[reward]), id=f"{name}, {reward}")
    for name, make in AGENTS.items()
    for reward in (REWARDS if name in LEARN_BY_STEP else ["end"])
]
AGENTS_THAT_SEARCH = AGENTS_AND_REWARDS[1:]  # all but random


@pytest.mark.parametrize("agent", AGENTS_AND_REWARDS)
def test_keeps_to_its_budget_and_to_what_fits(agent: Agent) -> None:
    problem = Planted()

    records = search(agent, Trials(problem, 60), seed=3)

    chains = [record.chain for record in records]
    assert len(chains) == len(set(chains)) == 60
    assert problem.judged == chains  # each distinct one was judged once, and `judge` refuses what does not fit


@pytest.mark.parametrize("agent", AGENTS_AND_REWARDS)
def test_does_the_same_for_the_same_seed(agent: Agent) -> None:
    state = torch.get_rng_state()

    records = [search(agent, Trials(Planted(), 60), seed=seed) for seed in (5, 5, 6)]

    assert records[0] == records[1] != records[2]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("agent", AGENTS_AND_REWARDS)
def test_goes_on_where_it_was(agent: Agent) -> None:
    whole = search(agent, Trials(Planted(), 60), seed=1)
    problem = Planted()

    again = search(agent, Trials(problem, 60, known=whole[:40]), seed=1)

    assert again == whole
    assert problem.judged == [record.chain for record in whole[40:]]


@pytest.mark.parametrize("agent", AGENTS_THAT_SEARCH)
def test_finds_the_planted_chain_more_often_than_not(agent: Agent) -> None:
    problem = Planted()

    found = [best_chain(agent, seed) == problem.planted for seed in range(3)]

    assert sum(found) >= 2


def best_chain(agent: Agent, seed: int) -> Chain:
    trials = Trials(Planted(), BUDGET)
    search(agent, trials, seed)
    return trials.best().chain


def test_a_search_ends_where_everything_is_judged() -> None:
    for name in ("random", "tree"):
        records = search(AGENTS[name](REWARDS["end"]), Trials(Planted(longest=1), 1000))
        assert len(records) == 1 + 4 + 2  # nothing; one of four layers; `down` and one of two ends
