"""What an agent searches: which layers may follow which, and how good a chain is."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from netmorph.chain.values import Chain, Outcome, Prefix, Record

EMPTY = ""  # among the layers: a place for one that is still to come


class Problem(Protocol):
    """Actions are numbered: first `layers`, then `ends`. Whatever can be attached, at least one end is allowed.

    How many actions there are never changes. Layers that come while it is searched take the place of an `EMPTY` one,
    which is never allowed.
    """

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
        """float32 `[actions, m]`: what is known of each action by now."""

    @property
    def spent(self) -> int:
        """FLOPs so far."""

    def allowed(self, prefix: Prefix) -> tuple[bool, ...]:
        """Whether each action fits behind these layers."""

    def state(self, prefix: Prefix) -> Tensor:
        """float32 `[s]`, of one length for all prefixes: what an agent sees."""

    def judge(self, chain: Chain) -> Outcome:
        """How good a chain is whose layers fit."""

    def note(self, record: Record) -> None:
        """Take in what a record tells of layers: gradients, which describe them, and copies, which are new ones."""
