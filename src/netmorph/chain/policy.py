"""The small networks of agents that learn: which action next, and what a prefix is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from netmorph.chain.trials import Trials
from netmorph.chain.values import Prefix
from netmorph.chain.walks import prior


@dataclass(frozen=True)
class Step:
    """An action that was taken.

    Attributes:
        prefix: where.
        action: its number.
        reward: what it gave.
    """

    prefix: Prefix
    action: int
    reward: float


Episode = Sequence[Step]


class ActorCritic(nn.Module):
    """From the state of the whole prefix to a logit for each action, and to a value. Both start at zero.

    An action has a row of weights of its own, and shares others with actions that are described alike: what is learnt
    of a layer holds for one of another network at the same place, too.
    """

    def __init__(self, state: int, actions: int, described: int, hidden: int = 64) -> None:
        """For states `[state]` and descriptions `[actions, described]`."""
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(state, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh())
        self.own, self.shared = nn.Linear(hidden, actions), nn.Linear(hidden, described)
        self.value = nn.Linear(hidden, 1)
        for layer in (self.own, self.shared, self.value):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, states: Tensor, descriptions: Tensor) -> tuple[Tensor, Tensor]:
        """[B, state] and [actions, described] -> logits [B, actions] and values [B]."""
        seen = self.trunk(states)
        logits = self.own(seen) + self.shared(seen) @ descriptions.T
        return logits, self.value(seen)[:, 0]


class Learner:
    """The networks, and how they learn.

    Values are learnt in units of the deviation of the chains' worths so far, about their mean.

    Attributes:
        exploration: the share of `prior` in the policy: it never stops trying.
    """

    def __init__(self, trials: Trials, seed: int, *, exploration: float = 0.1, learning_rate: float = 0.01) -> None:
        self._trials, self.exploration = trials, exploration
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.networks = ActorCritic(len(trials.state(())), *trials.descriptions.shape)
        self._optimizer = torch.optim.Adam(self.networks.parameters(), lr=learning_rate)
        self._mean, self._square, self._count = 0.0, 0.0, 0
        self._baseline: dict[int, float] = {}

    def note(self, worth: float) -> None:
        """Count what a chain was worth in the scale of values."""
        self._count += 1
        self._mean += (worth - self._mean) / self._count
        self._square += (worth**2 - self._square) / self._count

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and deviation of the worths so far."""
        return self._mean, max((self._square - self._mean**2), 1e-12) ** 0.5

    @torch.no_grad()
    def probabilities(self, prefix: Prefix) -> Tensor:
        """Of each action to be drawn, float64 `[actions]`.

        With each chain that was known already the share of `prior` doubles, until there is a new one: what is known
        teaches nothing, and a policy that is sure would draw nothing else.
        """
        chosen = self._policy([prefix])[0][0]
        more = min(1.0, self.exploration * 2.0**self._trials.repeated) - self.exploration
        return (1 - more) * chosen + more * prior(self._trials, prefix)

    @torch.no_grad()
    def value(self, prefix: Prefix) -> float:
        """What is expected of the rest of a chain behind a prefix, as a sum of rewards."""
        mean, deviation = self.scale
        return mean + deviation * float(self._policy([prefix])[1])

    def returns(self, episode: Episode) -> list[float]:
        """For each step the sum of its reward and all later ones, in units of `scale`."""
        mean, deviation = self.scale
        sums, total = [], 0.0
        for step in reversed(episode):
            total += step.reward
            sums.append((total - mean) / deviation)
        return sums[::-1]

    def reinforce(self, episodes: Sequence[Episode], entropy: float = 0.01) -> None:
        """One step along `sum (return - baseline) grad log p` (Williams, 1992).

        The baseline is the mean return of steps at the same depth, later ones counting more.
        """
        steps, advantages = [], []
        for episode in episodes:
            for depth, (step, gain) in enumerate(zip(episode, self.returns(episode), strict=True)):
                usual = self._baseline.get(depth, 0.0)
                steps.append(step)
                advantages.append(gain - usual)
                self._baseline[depth] = 0.9 * usual + 0.1 * gain
        probabilities, _ = self._policy([step.prefix for step in steps])
        self._follow(_surrogate(probabilities, steps, torch.tensor(advantages, dtype=torch.float64), entropy))

    def actor_critic(self, episodes: Sequence[Episode], entropy: float = 0.01, decay: float = 0.9) -> None:
        """Likewise with generalized advantages (Schulman et al., 2016) from the value, which learns the returns."""
        steps = [step for episode in episodes for step in episode]
        prefixes = [step.prefix for step in steps]
        gains = torch.tensor([gain for episode in episodes for gain in self.returns(episode)], dtype=torch.float64)
        _, deviation = self.scale
        with torch.no_grad():
            values = self._policy(prefixes)[1].double()
        advantages, later, place = torch.zeros(len(steps), dtype=torch.float64), 0.0, len(steps)
        for episode in reversed(episodes):
            later = 0.0
            for number in range(len(episode) - 1, -1, -1):
                place -= 1
                if number == len(episode) - 1:  # behind it there is nothing, whose value is known
                    error = float(gains[place] - values[place])
                else:
                    error = episode[number].reward / deviation + float(values[place + 1] - values[place])
                later = error + decay * later
                advantages[place] = later
        probabilities, found = self._policy(prefixes)
        fit = functional.mse_loss(found.double(), gains)
        self._follow(_surrogate(probabilities, steps, advantages, entropy) + 0.5 * fit)

    def imitate(self, prefixes: Sequence[Prefix], wanted: Tensor, returns: Sequence[float]) -> None:
        """One step toward distributions over actions `[B, actions]` and sums of rewards.

        Args:
            returns: see `value`.
        """
        mean, deviation = self.scale
        probabilities, found = self._policy(prefixes)
        gains = (torch.tensor(returns, dtype=torch.float64) - mean) / deviation
        missed = -(wanted * probabilities.clamp(min=1e-12).log()).sum(1).mean()
        self._follow(missed + functional.mse_loss(found.double(), gains))

    def _policy(self, prefixes: Sequence[Prefix]) -> tuple[Tensor, Tensor]:
        """Probabilities float64 [B, actions] and values [B], in units of `scale`."""
        states = torch.stack([self._trials.state(prefix) for prefix in prefixes])
        logits, values = self.networks(states, self._trials.descriptions)
        before = torch.stack([prior(self._trials, prefix) for prefix in prefixes])
        chosen = (logits.double() + before.log()).softmax(1)
        return (1 - self.exploration) * chosen + self.exploration * before, values

    def _follow(self, loss: Tensor) -> None:
        self._optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.networks.parameters(), 1.0)
        self._optimizer.step()


def _surrogate(probabilities: Tensor, steps: Sequence[Step], advantages: Tensor, entropy: float) -> Tensor:
    """Its gradient is that of the expected return, plus a reward for a policy that is not yet sure."""
    taken = probabilities[torch.arange(len(steps)), torch.tensor([step.action for step in steps])]
    spread = -(probabilities * probabilities.clamp(min=1e-12).log()).sum(1)
    return -(advantages * taken.log()).mean() - entropy * spread.mean()
