"""Random numbers that depend on what is asked for alone; the caller's own random state stays as it was."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor


@dataclass(frozen=True)
class Draws:
    """Where an epoch's random numbers come from, besides torch's own generator (for dropout).

    Attributes:
        order: the order of the samples, one for all processes.
        images: crops and flips, each process its own.
        mixing: mixup and cutmix, each process its own.
    """

    order: Generator
    images: Generator
    mixing: np.random.Generator

    def states(self) -> "States":
        """How far all have come; but for `order`, which is drawn at once."""
        device = self.images.device
        tensors = {"model": torch.get_rng_state(), "images": self.images.get_state()}
        if device.type == "cuda":
            tensors["model on the device"] = torch.cuda.get_rng_state(device)
        return States(tensors, dict(self.mixing.bit_generator.state))

    def go_on(self, states: "States") -> None:
        """Draw from where `states` told, here and from torch's own generators.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: these are no states of such generators.
        """
        device = self.images.device
        torch.set_rng_state(states.tensors["model"])
        self.images.set_state(states.tensors["images"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(states.tensors["model on the device"], device)
        self.mixing.bit_generator.state = states.mixing


@dataclass(frozen=True)
class States:
    """How far an epoch's random numbers are drawn.

    Attributes:
        tensors: states of torch's generators, by what they are for; uint8, on the CPU.
        mixing: that of NumPy's, plain values.
    """

    tensors: dict[str, Tensor]
    mixing: dict[str, Any]


CPU = torch.device("cpu")


@contextmanager
def seeded(seed: int, device: torch.device = CPU) -> Iterator[None]:
    """Seed torch's generators of the CPU and of a device until the block ends: for a network's first weights, say."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Not torch.manual_seed, which reaches for every device and takes a hundred microseconds.
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def epoch_draws(seed: int, epoch: int, rank: int, device: torch.device) -> Iterator[Draws]:
    """Random numbers that depend on nothing but these, so that a run resumed between epochs needs no stored state.

    Seeds torch's own generators, too, for dropout, until the block ends.
    """
    (for_order,) = np.random.SeedSequence([seed, epoch]).generate_state(1)
    _, for_model, for_images, for_mixing = map(int, np.random.SeedSequence([seed, epoch, rank]).generate_state(4))
    with seeded(for_model, device):
        # Drawn where they are used: nothing then has to be copied to an accelerator in every step.
        yield Draws(
            torch.Generator(device).manual_seed(int(for_order)),
            torch.Generator(device).manual_seed(for_images),
            np.random.default_rng(for_mixing),
        )


def edit_draws(seed: int, epoch: int, step: int, device: torch.device) -> AbstractContextManager[None]:
    """Torch's own random numbers while an edit is chosen and made; they depend on nothing but these."""
    (state,) = np.random.SeedSequence([seed, epoch, step], spawn_key=(1,)).generate_state(1)
    return seeded(int(state), device)
