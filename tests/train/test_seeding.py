"""Random numbers depend on what is asked for alone."""

import numpy as np
import pytest
import torch

from netmorph.train.seeding import epoch_draws, seeded


def test_a_seed_holds_for_a_block_and_leaves_the_callers_numbers_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    drawn = []
    for seed in (1, 1, 2):
        with seeded(seed):
            drawn.append(torch.rand(5))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_follow_the_beta_distribution(alpha):
    """The mean of Beta(a, a) is 1/2 and its variance 1 / (4 (2a + 1)); the draws are those of an epoch."""
    with epoch_draws(0, 1, 0, torch.device("cpu")) as draws:
        shares = np.array([draws.mixing.beta(alpha, alpha) for _ in range(4000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.02)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_processes_draw_one_order_and_their_own_crops():
    device = torch.device("cpu")
    drawn = []
    for rank in (0, 1):
        with epoch_draws(3, 2, rank, device) as draws:
            order = torch.randperm(50, generator=draws.order)
            crops = torch.randint(100, (50,), generator=draws.images)
            drawn.append((order, crops, torch.rand(50), draws.mixing.random()))
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert not torch.equal(drawn[0][1], drawn[1][1])
    assert not torch.equal(drawn[0][2], drawn[1][2])
    assert drawn[0][3] != drawn[1][3]
