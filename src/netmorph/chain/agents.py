"""The agents by name, as the command line and reports know them."""

from __future__ import annotations

from collections.abc import Callable

from netmorph.chain.learning import ActorWithCritic, Reinforce
from netmorph.chain.ppo import MaskablePPO
from netmorph.chain.rewards import Reward
from netmorph.chain.tree import TreeSearch
from netmorph.chain.trials import Agent
from netmorph.chain.walks import Beam, LocalSearch, random_chains

# From what each action gives, which agents that look at whole chains do not need, to the agent.
AGENTS: dict[str, Callable[[Reward], Agent]] = {
    "random": lambda reward: random_chains,
    "local": lambda reward: LocalSearch(),
    "beam": lambda reward: Beam(),
    "reinforce": Reinforce,
    "actor-critic": ActorWithCritic,
    "tree": lambda reward: TreeSearch(),
    "ppo": MaskablePPO,
}
