"""Tree search over prefixes: PUCT, with the networks of the agents that learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from netmorph.chain.policy import Learner
from netmorph.chain.trials import Trials
from netmorph.chain.values import Chain, Prefix
from netmorph.chain.walks import drawn, walk
from netmorph.seeds import generator_of


@dataclass
class Node:
    """A prefix in the tree; of each action what came of it.

    Attributes:
        prior: by the policy, when the node was made.
        done: behind it every chain is judged: there is nothing new to find.
    """

    prefix: Prefix
    prior: Tensor
    done: Tensor
    visits: Tensor
    sums: Tensor
    best: Tensor
    children: dict[int, Node] = field(default_factory=dict)

    @staticmethod
    def of(prefix: Prefix, prior: Tensor) -> Node:
        """Not visited yet."""
        zeros = torch.zeros_like(prior)
        return Node(prefix, prior, prior == 0, zeros.clone(), zeros.clone(), torch.full_like(prior, -torch.inf))

    def choose(self, scaled: Callable[[Tensor], Tensor], exploration: float) -> int:
        """The action with the largest bound: what came of it so far, plus what its prior makes it worth to look.

        What came of it is half the mean and half the best, as only the best chain counts in the end and a chain is
        worth the same every time.
        """
        visited = self.visits > 0
        worths = scaled((self.sums / self.visits.clamp(min=1) + self.best) / 2)
        usual = worths[visited].mean() if visited.any() else torch.tensor(0.5, dtype=worths.dtype)
        worths = torch.where(visited, worths, usual)
        look = exploration * self.prior * (1 + self.visits.sum()) ** 0.5 / (1 + self.visits)
        return int((worths + look).masked_fill(self.done, -torch.inf).argmax())


@dataclass(frozen=True)
class TreeSearch:
    """PUCT (Rosin, 2011; Silver et al., 2017) for one player: down the tree by bounds, on by the policy, back up.

    The policy learns the share of visits of each action, the value what came of each prefix.

    Attributes:
        exploration: how much priors count.
        every: chains between two lessons.
        trusted: the share of the network's value in what goes up the tree, once it has had some lessons.
    """

    exploration: float = 1.0
    every: int = 8
    trusted: float = 0.25
    learning_rate: float = 0.01

    def __call__(self, trials: Trials, seed: int) -> None:
        """Search until `Enough`, or until every chain is judged."""
        generator = generator_of(seed)
        learner = Learner(trials, seed, exploration=0.25, learning_rate=self.learning_rate)
        root = Node.of((), learner.probabilities(()))
        nodes: dict[Prefix, Node] = {(): root}
        seen: list[float] = []

        def scaled(worths: Tensor) -> Tensor:
            low, high = (min(seen), max(seen)) if seen else (0.0, 1.0)
            return (worths - low) / max(high - low, 1e-9)

        while not bool(root.done.all()):
            path, leaf = self._down(trials, root, scaled)
            if leaf is None:
                node, action = path[-1]
                chain = Chain(node.prefix, trials.actions[action])
            else:
                chain = walk(trials, lambda prefix: drawn(learner.probabilities(prefix), generator), leaf)
                made = Node.of(leaf, learner.probabilities(leaf))
                nodes[leaf] = made
                path[-1][0].children[path[-1][1]] = made
            worth = trials.worth(chain, learner.value(chain.layers))
            learner.note(worth)
            seen.append(worth)
            trusts = self.trusted if leaf is not None and len(seen) > 4 * self.every else 0.0
            guess = learner.value(leaf) if leaf is not None and trusts else worth
            _up(path, (1 - trusts) * worth + trusts * guess, worth, is_end=leaf is None)
            if len(seen) % self.every == 0:
                _teach(learner, [node for node in nodes.values() if node.visits.sum() >= 2])

    def _down(
        self, trials: Trials, root: Node, scaled: Callable[[Tensor], Tensor]
    ) -> tuple[list[tuple[Node, int]], Prefix | None]:
        """The nodes and actions on the way, and the prefix of the node that is to be made; None at an end."""
        path, node = [], root
        while True:
            action = node.choose(scaled, self.exploration)
            path.append((node, action))
            if action >= len(trials.layers):
                return path, None
            if action not in node.children:
                return path, (*node.prefix, trials.actions[action])
            node = node.children[action]


def _up(path: list[tuple[Node, int]], worth: float, found: float, *, is_end: bool) -> None:
    """Count on the way back; what has nothing new behind it is done."""
    nothing_new = is_end
    for node, action in reversed(path):
        node.visits[action] += 1
        node.sums[action] += worth
        node.best[action] = max(float(node.best[action]), found)
        if nothing_new:
            node.done[action] = True
        nothing_new = nothing_new and bool(node.done.all())


def _teach(learner: Learner, nodes: list[Node], steps: int = 4) -> None:
    if not nodes:
        return
    shares = torch.stack([node.visits / node.visits.sum() for node in nodes])
    values = [float((node.sums.sum() / node.visits.sum() + node.best.max()) / 2) for node in nodes]
    for _ in range(steps):
        learner.imitate([node.prefix for node in nodes], shares, values)
