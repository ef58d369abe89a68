"""The environment, against gymnasium's own checker and a masked agent."""

import numpy as np
import pytest
import torch

from netmorph.chain import REWARDS, Chain, Enough, Trials
from tests.chain.toy_chains import Planted

pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env

from netmorph.chain.environment import ChainEnv


@pytest.mark.parametrize("reward", REWARDS)
def test_passes_the_checker_of_gymnasium(reward: str) -> None:
    check_env(ChainEnv(Trials(Planted(), 1000), REWARDS[reward]), skip_render_check=True)


@pytest.mark.parametrize("reward", REWARDS)
def test_rewards_add_up_to_what_the_chain_is_worth(reward: str) -> None:
    trials = Trials(Planted(), 100)
    environment = ChainEnv(trials, REWARDS[reward])
    generator = np.random.default_rng(0)

    for _ in range(10):
        environment.reset()
        total, ended, layers = 0.0, False, []
        while not ended:
            action = generator.choice(np.flatnonzero(environment.action_masks()))
            layers.append(trials.actions[action])
            _, gained, ended, truncated, told = environment.step(action)
            assert (truncated, told["refused"]) == (False, False)
            total += gained
        assert total == pytest.approx(trials.worth(Chain(tuple(layers[:-1]), layers[-1])))


def test_what_does_not_fit_is_not_attached() -> None:
    environment = ChainEnv(Trials(Planted(), 5), refusal=-3.0)
    before, _ = environment.reset()

    state, reward, terminated, truncated, told = environment.step(np.int64(environment.trials.actions.index("b1")))

    assert (reward, terminated, truncated, told["refused"], told["layers"]) == (-3.0, False, False, True, ())
    assert np.array_equal(state, before)
    for _ in range(9):
        *_, truncated, _ = environment.step(np.int64(environment.trials.actions.index("b1")))
    assert truncated


def test_the_budget_ends_it() -> None:
    environment = ChainEnv(Trials(Planted(), 1))
    environment.reset()
    end = np.int64(environment.trials.actions.index("solved"))
    environment.step(end)
    environment.reset()
    environment.step(np.int64(0))

    with pytest.raises(Enough):
        environment.step(end)


def test_states_are_those_of_the_trials() -> None:
    trials = Trials(Planted(), 5)
    environment = ChainEnv(trials)

    environment.reset()
    state, *_ = environment.step(np.int64(2))

    assert torch.equal(torch.from_numpy(state), trials.state(("a2",)))
