"""Which entries of a child's parameters are still those of its parent: by their way through the edits, and their bits.

No kind of edit is known here. An optimizer's state goes through every edit by the maps of the weights that it belongs
to, under whatever names these have afterwards. So each entry's number rides along as the state of an optimizer that
trains nothing, and tells afterwards where the entry comes from; whether it was left as it is, its value tells.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.edit.tensors import spread
from netmorph.errors import NetmorphError

# States of Rprop, whose ways through edits are just these: one goes with its entry as it is, and the other likewise,
# but to zero where something is fresh, and times its share where a copy is read with a part of the weight.
_NUMBER, _WHOLE = "step_size", "prev"


@dataclass(frozen=True, eq=False)
class Kept:
    """What a child's parameter has kept of one of its parent's: all entries at some places along each dimension.

    Attributes:
        parameter: the name of the parent's.
        take: LongTensors, one a dimension: the places in the parent's parameter.
        put: where these are in the child's.
    """

    parameter: str
    take: tuple[Tensor, ...]
    put: tuple[Tensor, ...]


class Origins(torch.optim.Optimizer):
    """Rides along through the edits of one network: `apply(graph, edit, [optimizer, origins])`.

    Its numbers take 16 bytes for each parameter of the network, and it holds a copy of the weights.
    """

    def __init__(self, model: nn.Module) -> None:
        """Begin with a network as it is.

        Args:
            model: the parent; the edits change it in place.
        """
        named = dict(model.named_parameters())
        super().__init__(list(named.values()), {})
        self._names = [*named]
        self._old = {name: parameter.detach().clone() for name, parameter in named.items()}
        self._starts = [0, *accumulate(parameter.numel() for parameter in named.values())][:-1]
        for parameter, start in zip(named.values(), self._starts, strict=True):
            numbers = torch.arange(start, start + parameter.numel(), dtype=torch.float64)
            numbers = numbers.reshape(parameter.shape).to(parameter.device)
            self.state[parameter] = {_NUMBER: numbers, _WHOLE: torch.ones_like(numbers)}

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """It trains nothing.

        Raises:
            NetmorphError: always.
        """
        raise NetmorphError(
            "Origins follows entries through edits and trains nothing; step the network's own optimizer"
        )

    def kept(self, model: nn.Module) -> dict[str, Kept]:
        """By the name of each of the edited network's parameters that kept some of the parent's entries: which ones.

        An entry of the parent is kept once at most: a copy learns on its own. Where what is left of a parameter is no
        block (places along each dimension, all of them together), the rest of it counts as new.
        """
        found = {
            name: self._kept(parameter.detach(), self.state[parameter])
            for name, parameter in model.named_parameters()
            if parameter in self.state
        }
        return {name: kept for name, kept in found.items() if kept is not None}

    def _kept(self, value: Tensor, state: dict[str, Tensor]) -> Kept | None:
        numbers, whole = state[_NUMBER], state[_WHOLE]
        if numbers.shape != value.shape or not value.numel():
            return None
        same = (whole == 1) & (numbers == numbers.round())
        if not bool(same.any()):
            return None
        owner = max(0, bisect_right(self._starts, int(numbers[same][0])) - 1)
        before = self._old[self._names[owner]]
        if before.dim() != value.dim():
            return None
        local = numbers.long() - self._starts[owner]
        same &= (local >= 0) & (local < before.numel())
        local = local.clamp(0, before.numel() - 1)
        same &= before.flatten()[local] == value
        takes: list[Tensor] = []
        for dim, places in enumerate(torch.unravel_index(local, before.shape) if before.dim() else ()):
            take = _first_of_each(_slabs(torch.where(same, places, -1), dim).amax(1))
            same &= places == spread(take, places, dim)
            takes.append(take)
        put = block(same)
        if put is None:
            return None
        return Kept(
            self._names[owner],
            tuple(take[at].cpu() for take, at in zip(takes, put, strict=True)),
            tuple(at.cpu() for at in put),
        )


def block(mask: Tensor) -> tuple[Tensor, ...] | None:
    """Places along each dimension that are True in all their combinations; None where there are none.

    It is the whole of what is True wherever that is such a block. Otherwise what is emptiest goes first, until it is
    one.
    """
    kept = [_slabs(mask, dim).any(1).nonzero().flatten() for dim in range(mask.dim())]
    while True:
        inner = mask[mesh(kept)]
        if not inner.numel() or bool(inner.all()):
            return tuple(kept) if inner.numel() and bool(inner.all()) else None
        shares = [_slabs(inner.double(), dim).mean(1) for dim in range(inner.dim())]
        worst = min(range(len(shares)), key=lambda dim: float(shares[dim].min()))
        kept[worst] = kept[worst][shares[worst] > shares[worst].min()]


def mesh(at: list[Tensor] | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Indices of all combinations of places along each dimension: `tensor[mesh(at)]`."""
    return tuple(
        places.reshape([-1 if other == dim else 1 for other in range(len(at))]) for dim, places in enumerate(at)
    )


def _slabs(tensor: Tensor, dim: int) -> Tensor:
    """`[places, entries]`: what lies at each place along a dimension."""
    return tensor.movedim(dim, 0).reshape(tensor.shape[dim], -1)


def _first_of_each(places: Tensor) -> Tensor:
    """The same with -1 for all but the first of equal ones."""
    found = places.tolist()
    return places.new_tensor([place if found.index(place) == at else -1 for at, place in enumerate(found)])
