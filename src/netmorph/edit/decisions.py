"""What a forward decides by comparing numbers: which score is the largest, which boxes are kept.

Where two scores are equal but for rounding, an exact edit may turn such a decision over, and all that follows from it.
So that the rest can be compared, a second forward takes over what the first one decided, wherever it decides by the
same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from netmorph.edit.difference import TOLERANCE, gap


@dataclass(frozen=True)
class Decision:
    """One call of an operator that makes integers, truths or numbers of Python out of floats."""

    op: Any
    given: Sequence[Tensor]
    made: Any

    def is_by(self, op: Any, given: Sequence[Tensor]) -> bool:
        """Whether a call decides by the same numbers, but for rounding."""
        return (
            self.op is op
            and [(tensor.shape, tensor.dtype) for tensor in self.given]
            == [(tensor.shape, tensor.dtype) for tensor in given]
            and all(gap(one, other) <= TOLERANCE[one.dtype] for one, other in zip(self.given, given, strict=True))
        )


class Decisions(TorchDispatchMode):
    """Takes down the decisions of the forward that runs inside; those of an earlier forward are taken over.

    Args:
        earlier: in their order. One that this forward comes to by other numbers is left out: its own holds then.

    Attributes:
        taken: the decisions of this forward, in order.
    """

    def __init__(self, earlier: Sequence[Decision] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.taken: list[Decision] = []
        self._ahead = list(earlier)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.dtype in TOLERANCE]
        if not given or func._schema.is_mutable or not any(map(_is_decided, tree_leaves(made))):
            return made
        for place, decision in enumerate(self._ahead):
            if decision.is_by(func, given):
                del self._ahead[: place + 1]
                made = _copied(decision.made)
                break
        # Copies: what the forward has in hand it may change in place.
        self.taken.append(Decision(func, _copied(given), _copied(made)))
        return made


def _is_decided(leaf: Any) -> bool:
    if isinstance(leaf, Tensor):
        return not (leaf.is_floating_point() or leaf.is_complex())
    return isinstance(leaf, bool | int | float)


def _copied(made: Any) -> Any:
    return tree_map_only(Tensor, torch.clone, made)
