"""Agents of other libraries: the search as an environment for them, and MaskablePPO of sb3-contrib as an agent."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from netmorph.chain.rewards import Reward, at_the_end
from netmorph.chain.trials import Trials
from netmorph.errors import require

if TYPE_CHECKING:  # gymnasium is an extra
    from netmorph.chain.environment import ChainEnv


def as_environment(trials: Trials, reward: Reward = at_the_end, refusal: float = -1.0) -> ChainEnv:
    """The search as a `gymnasium.Env`, see `ChainEnv`; needs the extra `chain`.

    Args:
        refusal: the reward for an action that does not fit.

    Raises:
        MissingExtra: gymnasium is not installed.
    """
    from netmorph.chain.environment import ChainEnv

    return ChainEnv(trials, reward, refusal)


@dataclass(frozen=True)
class MaskablePPO:
    """Proximal policy optimization with masks (Huang & Ontañón, 2020); needs the extra `chain`.

    Attributes:
        reward: what each action gives.
        steps: actions between two updates.
        epochs: over them in each update.
        entropy: how much an unsure policy is worth.
        learning_rate: of Adam.
    """

    reward: Reward = at_the_end
    steps: int = 32
    epochs: int = 8
    entropy: float = 0.03
    learning_rate: float = 1e-3

    def __call__(self, trials: Trials, seed: int) -> None:
        """Search until `Enough`.

        Raises:
            MissingExtra: sb3-contrib or gymnasium is not installed.
        """
        ppo = require("sb3_contrib", extra="chain").MaskablePPO
        with _own_random_numbers():
            agent = ppo(
                "MlpPolicy",
                as_environment(trials, self.reward),
                n_steps=self.steps,
                batch_size=self.steps,
                n_epochs=self.epochs,
                ent_coef=self.entropy,
                learning_rate=self.learning_rate,
                gamma=1.0,
                seed=seed,
                device="cpu",
            )
            agent.learn(2**40)  # `Enough` ends it


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """Stable-baselines3 seeds all generators of the process; they are as before afterwards."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
