"""Generators of random numbers from the seeds that users give."""

import operator
from typing import SupportsIndex

import torch

from netmorph.errors import NetmorphError


def check_seed(seed: SupportsIndex) -> int:
    """The seed as a plain integer.

    Raises:
        NetmorphError: it is no whole number, negative, or has more than 64 bits.
    """
    if isinstance(seed, SupportsIndex) and 0 <= operator.index(seed) < 2**64:
        return operator.index(seed)
    raise NetmorphError(f"seed must be 0 or more, a whole number below 2**64; {seed!r} was given")


def generator_of(seed: SupportsIndex) -> torch.Generator:
    """A generator on the CPU that is started with a seed.

    Raises:
        NetmorphError: see `check_seed`.
    """
    return torch.Generator().manual_seed(check_seed(seed))
