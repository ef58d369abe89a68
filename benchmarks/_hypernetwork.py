"""A small graph network that draws the weights of new channels, and of new layers, from those that are there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

import netmorph
from netmorph.draws import Draw, Joined, fresh_like, layer_spread
from netmorph.graph import Graph, Role
from netmorph.widenings import Widening


class Hypernetwork(nn.Module):
    """A graph network over the channels of a layer: they hear of each other as far as their weights are alike.

    What it is told of a channel depends neither on the order of channels nor on how wide anything is, so it takes any
    group of any network.

    Args:
        width: of what a channel holds.
        noise: random numbers that a new channel begins with, without which all would be the same.
    """

    def __init__(self, width: int = 16, noise: int = 4) -> None:
        super().__init__()
        self.noise = noise
        self.first = nn.Linear(4, width)
        self.rounds = nn.ModuleList(nn.Linear(3 * width, width) for _ in range(2))
        self.new = nn.Linear(width + noise, width)
        self.mixed = nn.ModuleList(nn.Linear(width, width) for _ in range(2))  # for rows, and for readers' weights
        self.scales = nn.Linear(width, 3)
        for layer in (*self.mixed, self.scales):  # so it begins as noise of the layer's own spread
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def heard(self, rows: Tensor, readers: Tensor) -> Tensor:
        """What old channels hold, `[n, width]`, of the weights that compute and read each, `[n, weights]`."""
        sizes = [(w.norm(dim=1) / w.norm(dim=1).mean().clamp(min=1e-9))[:, None] for w in (rows, readers)]
        alike = [functional.normalize(w, dim=1) @ functional.normalize(w, dim=1).T for w in (rows, readers)]
        held = torch.relu(self.first(torch.cat([*sizes, *(a.mean(1, keepdim=True) for a in alike)], 1)))
        for layer in self.rounds:
            messages = torch.cat([held, *(a @ held / len(held) for a in alike)], 1)
            held = held + torch.relu(layer(messages))
        return held

    def forward(self, held: Tensor, about: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """How new channels come of old ones.

        Args:
            held: `[n, width]`.
            about: what each new one begins with, `[count, width]`.
            noise: `[count, noise]`.

        Returns:
            What of each old channel's rows and readers' weights goes into each new one's, `[2, count, n]`; and
            logarithms of what the noise beside both is multiplied by, and what of its own channel a new layer passes
            on, `[3, count]`.
        """
        new = torch.relu(self.new(torch.cat([about, noise], 1)))
        shares = torch.stack([layer(new) @ held.T / len(held) for layer in self.mixed])
        scales: Tensor = self.scales(new)
        return shares, scales.T

    def layer(self, weight: Tensor, bias: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Weight `[n, n]` and bias `[n]` of a layer behind one that has these."""
        held = self.heard(weight, weight.T)
        shares, scales = self(held, held, torch.randn(len(weight), self.noise, generator=generator))
        fresh = fresh_like(weight, 0, len(weight), generator)
        passed = torch.diag(scales[2])
        return shares[0] @ weight + scales[0].exp()[:, None] * fresh + passed, shares[0] @ bias

    def draw(self, graph: Graph, group: str, to: int, method: Widening, seed: int) -> Draw:
        """New channels of a group, for `netmorph.widen(graph, group, to, method, draw=...)` and that alone."""
        asked: list[Joined] = []

        def listen(joined: Joined, generator: torch.Generator) -> Tensor:
            asked.append(joined)
            return layer_spread(joined, generator)

        netmorph.widen(graph, group, to, method, draw=listen).plan(graph)
        held = self.heard(
            _by_channel([one for one in asked if one.role is Role.WRITE and one.tensor.dim() > 1]),
            _by_channel([one for one in asked if one.is_column]),
        )
        count, noise = asked[0].count, torch.Generator().manual_seed(seed)
        shares, scales = self(held, held.mean(0).expand(count, -1), torch.randn(count, self.noise, generator=noise))

        def draw(joined: Joined, generator: torch.Generator) -> Tensor:
            fresh = layer_spread(joined, generator)
            if joined.role is Role.CARRY:  # norms
                return fresh
            side = int(joined.is_column)
            mixed = torch.tensordot(shares[side], joined.tensor.movedim(joined.dim, 0), 1).movedim(0, joined.dim)
            size = [1] * fresh.dim()
            size[joined.dim] = -1
            return mixed + scales[side].exp().reshape(size) * fresh

        return draw


def _by_channel(asked: Sequence[Joined]) -> Tensor:
    """All weights of each channel, `[n, weights]`."""
    return torch.cat([one.tensor.movedim(one.dim, 0).flatten(1) for one in asked], 1)
