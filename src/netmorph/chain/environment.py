"""The search as an environment for reinforcement learning, as gymnasium defines them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from netmorph.chain.rewards import Reward, at_the_end
from netmorph.chain.trials import Trials
from netmorph.chain.values import Prefix
from netmorph.errors import require

require("gymnasium", extra="chain")
import gymnasium  # noqa: E402

State = NDArray[np.float32]
LIMIT = 100.0  # of each number of a state; asinh, which compresses them, gives less for any of 32 bits


class ChainEnv(gymnasium.Env[State, np.int64]):
    """One episode is one chain. An action attaches a layer or ends the chain; which fit, `action_masks` tells.

    An action that does not fit attaches nothing: the state stays, and the reward is `refusal`. After twice as many
    actions as a chain can be long the episode is truncated, so that an agent without masks comes to an end, too.
    `step` lets `netmorph.chain.Enough` pass, which ends the search.

    Attributes:
        trials: the search; it counts.
    """

    def __init__(self, trials: Trials, reward: Reward = at_the_end, refusal: float = -1.0) -> None:
        """`reward` is what each action gives, see `netmorph.chain.REWARDS`."""
        self.trials, self._reward, self._refusal = trials, reward, refusal
        size = len(trials.state(()))
        self.observation_space = gymnasium.spaces.Box(-LIMIT, LIMIT, (size,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(len(trials.actions))
        self._prefix: Prefix = ()
        self._taken = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[State, dict[str, Any]]:
        """Begin a chain; nothing here is random."""
        super().reset(seed=seed)
        self._prefix, self._taken = (), 0
        return self._state(), self._told()

    def step(self, action: np.int64) -> tuple[State, float, bool, bool, dict[str, Any]]:
        """Attach a layer, or end the chain."""
        number = int(action)
        self._taken += 1
        truncated = self._taken >= 2 * (self.trials.longest + 1)
        if not self.trials.allowed(self._prefix)[number]:
            return self._state(), self._refusal, False, truncated, self._told(refused=True)
        reward = self._reward(self.trials, self._prefix, number, None)
        if number >= len(self.trials.layers):
            return self._state(), reward, True, False, self._told()
        self._prefix = (*self._prefix, self.trials.actions[number])
        return self._state(), reward, False, truncated, self._told()

    def action_masks(self) -> NDArray[np.bool_]:
        """Which actions fit now."""
        return np.array(self.trials.allowed(self._prefix))

    def _state(self) -> State:
        return self.trials.state(self._prefix).clamp(-LIMIT, LIMIT).numpy().astype(np.float32)

    def _told(self, refused: bool = False) -> dict[str, Any]:
        return {"layers": self._prefix, "refused": refused}
