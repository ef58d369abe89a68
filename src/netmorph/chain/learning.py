"""Agents that learn while they search: REINFORCE, and an actor with a critic."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Generator

from netmorph.chain.policy import Learner, Step
from netmorph.chain.rewards import Reward, at_the_end
from netmorph.chain.trials import Trials
from netmorph.chain.values import Prefix
from netmorph.chain.walks import drawn
from netmorph.seeds import generator_of


def episode(trials: Trials, learner: Learner, reward: Reward, generator: Generator) -> list[Step]:
    """A chain that the policy draws, and what it gave."""
    steps: list[Step] = []
    prefix: Prefix = ()
    while True:
        action = drawn(learner.probabilities(prefix), generator)
        expected = sum(step.reward for step in steps) + learner.value(prefix)
        steps.append(Step(prefix, action, reward(trials, prefix, action, expected)))
        if action >= len(trials.layers):
            learner.note(sum(step.reward for step in steps))
            return steps
        prefix = (*prefix, trials.actions[action])


@dataclass(frozen=True)
class Learning(ABC):
    """An agent whose policy makes a step after every few chains.

    Attributes:
        reward: what each action gives.
        episodes: between two steps of the policy.
        exploration, learning_rate: see `Learner`.
    """

    reward: Reward = at_the_end
    episodes: int = 4
    exploration: float = 0.1
    learning_rate: float = 0.01

    def __call__(self, trials: Trials, seed: int) -> None:
        """Search until `Enough`."""
        generator = generator_of(seed)
        learner = Learner(trials, seed, exploration=self.exploration, learning_rate=self.learning_rate)
        while True:
            self.update(learner, [episode(trials, learner, self.reward, generator) for _ in range(self.episodes)])

    @abstractmethod
    def update(self, learner: Learner, episodes: list[list[Step]]) -> None:
        """A step of the policy."""


class Reinforce(Learning):
    """REINFORCE with a baseline."""

    def update(self, learner: Learner, episodes: list[list[Step]]) -> None:
        """A step of the policy by whole returns."""
        learner.reinforce(episodes)


class ActorWithCritic(Learning):
    """Likewise with a value of the whole prefix in the place of the baseline."""

    def update(self, learner: Learner, episodes: list[list[Step]]) -> None:
        """A step of the policy, and of the value."""
        learner.actor_critic(episodes)
