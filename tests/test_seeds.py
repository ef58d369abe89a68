"""Every seed of a user's is one that a generator takes, or an error says so."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from netmorph import apply, residual, trace, widen
from netmorph.errors import NetmorphError
from netmorph.seeds import check_seed, generator_of


@pytest.mark.parametrize("seed", [2**64, -1, 1.5, "1", None, 10**40])
def test_a_seed_that_no_generator_takes_is_refused(seed: Any) -> None:
    graph = trace(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(2, 3))
    for use in (
        lambda: check_seed(seed),
        lambda: generator_of(seed),
        lambda: apply(graph, widen(graph, "0", 6, seed=seed)),
        lambda: apply(graph, residual(graph, "1", seed=seed)),
    ):
        with pytest.raises(NetmorphError, match="seed must be 0 or more, a whole number below"):
            use()  # type: ignore[no-untyped-call]


def test_the_largest_seed_and_numbers_of_numpy_are_taken() -> None:
    assert generator_of(2**64 - 1).initial_seed() in (2**64 - 1, -1)
    assert check_seed(np.int64(3)) == 3
