"""A toy problem for agents: which layers fit where is a matter of shapes, and one chain is planted as the best."""

from collections.abc import Sequence

import torch
from torch import Tensor

from netmorph.chain import SOLVED, Chain, Outcome, Prefix, Record

WIDE, NARROW = "wide", "narrow"


class Planted:
    """Four layers keep a width, `down` makes it narrow, four others keep that: 967 chains.

    Chains that agree with the planted one at more places are better; a layer too many costs a little.
    """

    def __init__(self, planted: Sequence[str] = ("a2", "down", "b1"), longest: int = 4) -> None:
        self.planted = Chain(tuple(planted), SOLVED)
        self.layers = (*(f"a{number}" for number in range(4)), "down", *(f"b{number}" for number in range(4)))
        self.ends = (SOLVED, "dense")
        self.longest = longest
        self.descriptions = torch.eye(len(self.layers) + 2)
        self.judged: list[Chain] = []

    @property
    def spent(self) -> int:
        return 10 * len(self.judged)

    def allowed(self, prefix: Prefix) -> tuple[bool, ...]:
        goes_on, is_narrow = len(prefix) < self.longest, "down" in prefix
        layers = tuple(goes_on and (name.startswith("b") == is_narrow) for name in self.layers)
        return (*layers, True, is_narrow)

    def state(self, prefix: Prefix) -> Tensor:
        seen = torch.zeros(self.longest + 1, len(self.layers))
        seen[-1, 0] = len(prefix)
        for place, layer in enumerate(prefix):
            seen[place, self.layers.index(layer)] = 1
        return seen.flatten()

    def note(self, record: Record) -> None:
        """Records tell nothing of these layers."""

    def judge(self, chain: Chain) -> Outcome:
        for place, layer in enumerate(chain.layers):
            assert self.allowed(chain.layers[:place])[self.layers.index(layer)], "a layer that does not fit"
        self.judged.append(chain)
        wanted = self.planted.layers
        right = sum(one == other for one, other in zip(chain.layers, wanted, strict=False))
        too_many = abs(len(chain.layers) - len(wanted)) + (chain.end == "dense")
        loss = 1 - 0.8 * right / len(wanted) + 0.05 * too_many
        return Outcome(loss, 1 - min(loss, 1.0), 100 * len(chain.layers), len(chain.layers))
