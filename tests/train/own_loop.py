"""A training loop of a user's own, for what is used beside any."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import netmorph
from netmorph.graph import Graph


class OwnLoop:
    """A user's own loop."""

    def __init__(self, build: Callable[..., torch.optim.Optimizer] = torch.optim.SGD, **options: Any) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 2)).double()
        self.x, self.y = torch.randn(8, 4, dtype=torch.float64), torch.arange(8) % 2
        self.optimizer = build(self.model.parameters(), **({"lr": 0.1} | options))

    def step(self) -> dict[str, Tensor]:
        """One step; by how much it moved each parameter."""
        before = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(self.model(self.x), self.y).backward()
        self.optimizer.step()
        return {name: p.detach() - before[name] for name, p in self.model.named_parameters()}

    def grow(self, group: str = "0", to: int = 8) -> Graph:
        graph = netmorph.trace(self.model, self.x)
        return netmorph.apply(graph, netmorph.widen(graph, group, to), self.optimizer)

    def twin(self) -> "OwnLoop":
        """The same model and optimizer state in other objects, without a pace."""
        other = copy.deepcopy(self)
        other.optimizer = type(self.optimizer)(other.model.parameters(), lr=0.1)
        other.optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))
        return other
