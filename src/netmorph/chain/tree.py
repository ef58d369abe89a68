"""Tree search over prefixes: PUCT, with the networks of the agents that learn."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from netmorph.chain.policy import Learner
from netmorph.chain.trials import Trials
from netmorph.chain.values import Chain, Prefix


@dataclass
class Node:
    """A prefix in the tree; of each action what came of it.

    Attributes:
        worth: of the chain that ends here, in the first way that fits.
        prior: by the policy, when the node was made, or when there were new layers.
        done: behind it every chain is judged: there is nothing new to find.
    """

    prefix: Prefix
    worth: float
    prior: Tensor
    done: Tensor
    visits: Tensor
    sums: Tensor
    best: Tensor
    children: dict[int, Node] = field(default_factory=dict)

    @staticmethod
    def of(prefix: Prefix, worth: float, prior: Tensor, end: int) -> Node:
        """Not visited yet; the action `end` was judged."""
        zeros = torch.zeros_like(prior)
        done = prior == 0
        done[end] = True
        return Node(prefix, worth, prior, done, zeros.clone(), zeros.clone(), torch.full_like(prior, -torch.inf))

    def choose(self, scaled: Callable[[Tensor], Tensor], exploration: float) -> int:
        """The action with the largest bound: what came of it so far, plus what its prior makes it worth to look.

        What came of it is half the mean and half the best, as only the best chain counts in the end and a chain is
        worth the same every time. Of an action that was not tried it is what ending here gives.
        """
        visited = self.visits > 0
        came = (self.sums / self.visits.clamp(min=1) + self.best) / 2
        worths = scaled(torch.where(visited, came, self.worth))
        look = exploration * self.prior * (1 + self.visits.sum()) ** 0.5 / (1 + self.visits)
        return int((worths + look).masked_fill(self.done, -torch.inf).argmax())

    def renew(self, prior: Tensor) -> None:
        """Take in layers that came since the node was made; those behind it have done so before."""
        self.done[(self.prior == 0) & (prior > 0)] = False
        for action, child in self.children.items():
            self.done[action] = bool(child.done.all())
        self.prior = prior

    @property
    def value(self) -> float:
        """Half the mean of what was found here and behind it, half the best."""
        found = float(self.sums.sum()) + self.worth
        return (found / (float(self.visits.sum()) + 1) + max(float(self.best.max()), self.worth)) / 2


@dataclass(frozen=True)
class TreeSearch:
    """PUCT (Rosin, 2011; Silver et al., 2017) for one player: down the tree by bounds, one node more, back up.

    Each prefix is a chain once it ends, so a new node is worth what the chain is that ends there; nothing is played out
    from it. The policy learns the share of visits of each action, the value what came of each prefix.

    Attributes:
        exploration: how much priors count.
        every: chains between two lessons.
        trusted: the share of the network's value in what goes up the tree, once it has had some lessons.
        learning_rate: see `Learner`.
    """

    exploration: float = 2.0
    every: int = 8
    trusted: float = 0.25
    learning_rate: float = 0.01

    def __call__(self, trials: Trials, seed: int) -> None:
        """Search until `Enough`, or until every chain is judged."""
        learner = Learner(trials, seed, exploration=0.25, learning_rate=self.learning_rate)
        seen: list[float] = []

        def judged(chain: Chain, expected: float) -> float:
            worth = trials.worth(chain, expected)
            learner.note(worth)
            insort(seen, worth)
            return worth

        def made(prefix: Prefix) -> Node:
            allowed = trials.allowed(prefix)
            end = next(number for number in range(len(trials.layers), len(allowed)) if allowed[number])
            worth = judged(Chain(prefix, trials.actions[end]), learner.value(prefix))
            return Node.of(prefix, worth, learner.probabilities(prefix), end)

        def scaled(worths: Tensor) -> Tensor:
            """The share of the chains so far that are worth less: differences among the good ones count as well."""
            ordered = torch.tensor(seen, dtype=worths.dtype)
            return torch.searchsorted(ordered, worths).to(worths) / len(seen)

        root = made(())
        nodes, lessons = [root], trials.lessons
        while not bool(root.done.all()):
            if trials.lessons > lessons:
                lessons = trials.lessons
                for node in reversed(nodes):
                    node.renew(learner.probabilities(node.prefix))
            path = self._down(trials, root, scaled)
            node, action = path[-1]
            if action >= len(trials.layers):
                found = guess = judged(Chain(node.prefix, trials.actions[action]), learner.value(node.prefix))
                nothing_new = True
            else:
                child = node.children[action] = made((*node.prefix, trials.actions[action]))
                nodes.append(child)
                found = guess = child.worth
                nothing_new = bool(child.done.all())
                if len(seen) > 4 * self.every:
                    guess = (1 - self.trusted) * found + self.trusted * learner.value(child.prefix)
            _up(path, guess, found, nothing_new)
            if len(seen) % self.every == 0:
                _teach(learner, [node for node in nodes if node.visits.sum() >= 2])

    def _down(self, trials: Trials, root: Node, scaled: Callable[[Tensor], Tensor]) -> list[tuple[Node, int]]:
        """Nodes and actions on the way to an end, or to a node that is to be made."""
        path, node = [], root
        while True:
            action = node.choose(scaled, self.exploration)
            path.append((node, action))
            if action not in node.children:
                return path
            node = node.children[action]


def _up(path: list[tuple[Node, int]], worth: float, found: float, nothing_new: bool) -> None:
    """Count on the way back; what has nothing new behind it is done."""
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
    for _ in range(steps):
        learner.imitate([node.prefix for node in nodes], shares, [node.value for node in nodes])
