"""Where a training stands in the epoch after the finished ones: between two of its batches, or before the first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from netmorph.tasks import LOSS
from netmorph.train.means import Means
from netmorph.train.seeding import States, epoch_draws
from netmorph.typed import fits

# Of tensors by name: a number of each batch; the state of a generator.
_MEANS, _STATES = "means/", "states/"


@dataclass(frozen=True)
class Position:
    """How much of an epoch is learnt, and all that it has gathered beside weights, average and optimizer.

    At step 0 there is nothing more to tell: order and random numbers of an epoch come from its seed.

    Attributes:
        step: the batches that are learnt; the next one has this index.
        means: what they have told.
        states: how far the random numbers are drawn; None at step 0.
        device: the type of the device where they are drawn, and the order of the batches was; None at step 0.
        seconds: that the epoch has taken.
    """

    step: int = 0
    means: Means = field(default_factory=Means)
    states: States | None = None
    device: str | None = None
    seconds: float = 0.0

    def packed(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name, and JSON-able values."""
        tensors = {f"{_MEANS}{name}": values for name, values in self.means.values.items()}
        told: dict[str, Any] = {"step": self.step, "seconds": self.seconds, "device": self.device}
        told |= {"counts": list(self.means.counts), "names": list(self.means.values)}
        if self.states is None:
            return tensors, told
        tensors |= {f"{_STATES}{name}": state for name, state in self.states.tensors.items()}
        return tensors, told | {"mixing": self.states.mixing}

    @staticmethod
    def unpacked(tensors: Mapping[str, Tensor], told: Mapping[str, Any], steps: int, device: torch.device) -> Position:
        """The position that `packed` told of, in an epoch of so many steps, with its numbers on a device.

        Raises:
            AttributeError, KeyError, RuntimeError, TypeError, ValueError: no training tells it like this; a file may
                come from anyone.
        """
        step, seconds, counts, kind, names = (told[key] for key in ("step", "seconds", "counts", "device", "names"))
        if not (fits(step, int) and fits(seconds, float) and fits(counts, list[int]) and fits(kind, str | None)):
            raise TypeError(f"an epoch is not at {step!r}, after {seconds!r} seconds on {kind!r}")
        if not fits(names, list[str]):
            raise TypeError(f"the names of numbers are not {names!r}")
        values = {name: tensors[f"{_MEANS}{name}"] for name in names}  # in the order in which the task tells them
        if not 0 <= step < steps or len(counts) != step or min(counts, default=1) < 1 or seconds < 0:
            raise ValueError(f"numbers of {len(counts)} batches at step {step} of {steps}, after {seconds} seconds")
        if not step:
            return START
        shaped = all(numbers.shape == (step,) and not numbers.is_complex() for numbers in values.values())
        if LOSS not in values or not values[LOSS].is_floating_point() or not shaped:
            raise ValueError(f"there is no number of each of {step} batches")
        means = Means({name: numbers.to(device) for name, numbers in values.items()}, counts)
        states = States(below(tensors, _STATES), told["mixing"])
        if kind == device.type:
            with epoch_draws(0, 1, 0, device) as draws:
                draws.go_on(states)  # a trial, before anything else is changed
        return Position(step, means, states, kind, seconds)


# Before the first batch of an epoch.
START = Position()


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
