"""What an agent searches: which layers may follow which, and how good a chain is."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from netmorph.chain.values import Chain, Outcome, Prefix


class Problem(Protocol):
    """Actions are numbered: first `layers`, then `ends`. Whatever can be attached, at least one end is allowed."""

    @property
    def layers(self) -> tuple[str, ...]:
        """What a chain may go on with."""

    @property
    def ends(self) -> tuple[str, ...]:
        """What it may end with."""

    @property
    def longest(self) -> int:
        """The most layers of a chain."""

    @property
    def descriptions(self) -> Tensor:
        """float32 `[actions, m]`: what is known of each action before it is tried."""

    @property
    def spent(self) -> int:
        """FLOPs so far."""

    def allowed(self, prefix: Prefix) -> tuple[bool, ...]:
        """Whether each action fits behind these layers."""

    def state(self, prefix: Prefix) -> Tensor:
        """float32 `[s]`, of one length for all prefixes: what an agent sees."""

    def judge(self, chain: Chain) -> Outcome:
        """How good a chain is whose layers fit."""
