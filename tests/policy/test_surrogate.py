import itertools

import moocore
import numpy as np
import pytest
import torch

from netmorph.policy import Best, Judged, Surrogate, at_random, best_gain, explore, front_gain, smoothed
from netmorph.policy.spaces import FOUND
from netmorph.policy.surrogate import below_the_best, fit, improvement
from tests.policy.made_up import additive

KNOWN = torch.tensor([[3.0, 1.0, 2.0, 2.5, 1.0], [9.0, 2.0, 4.0, 5.0, 4.0]], dtype=torch.float64)  # values, costs


def volume(values: torch.Tensor, costs: torch.Tensor, highest: float) -> float:
    return float(moocore.hypervolume(np.c_[-values, costs], ref=[-1.0, highest]))


@pytest.mark.parametrize("seed", range(5))
def test_the_gain_of_a_sure_point_is_the_growth_of_the_hypervolume(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values, costs = (
        torch.rand(6, generator=generator, dtype=torch.float64) * 3 + 0.5,
        torch.rand(6, generator=generator, dtype=torch.float64) * 12,
    )
    gains = front_gain(values, torch.full((6,), 1e-9, dtype=torch.float64), costs, *KNOWN)
    highest = max(9.0, float(costs.max()))

    for gain, value, cost in zip(gains, values, costs, strict=True):
        grown = volume(torch.cat([KNOWN[0], value[None]]), torch.cat([KNOWN[1], cost[None]]), highest)
        assert float(gain) == pytest.approx(grown - volume(*KNOWN, highest), abs=1e-6)


def test_the_gain_of_an_unsure_point_is_the_mean_over_what_it_may_be() -> None:
    one = torch.tensor([2.2, 0.7, 3.0], dtype=torch.float64)[:, None]  # mean, deviation, cost
    draws = 2.2 + 0.7 * torch.randn(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sure = torch.full_like(draws, 1e-9)
    sampled = front_gain(draws, sure, torch.full_like(draws, 3.0), *KNOWN).mean()

    assert float(front_gain(*one, *KNOWN)) == pytest.approx(float(sampled), rel=0.03)
    assert float(best_gain(*one, *KNOWN)) == pytest.approx(float((draws - 3).clamp(min=0).mean()), rel=0.05)
    assert float(improvement(one[0], one[1], torch.tensor(2.2))) == pytest.approx(0.7 / np.sqrt(2 * np.pi))


def test_scores_near_the_best_are_spread_and_keep_their_order() -> None:
    scores = torch.tensor([10.0, 50.0, 80.0, 89.0, 90.0], dtype=torch.float64)
    values = below_the_best(scores)

    assert (values.diff() > 0).all()
    assert values[4] - values[2] > (values[2] - values[0]) / 2
    assert below_the_best(torch.ones(3, dtype=torch.float64)).isfinite().all()


def test_a_fit_foretells_what_adds_up_and_knows_what_it_does_not_know() -> None:
    points = torch.tensor([*itertools.product((0.0, 1.0), repeat=6)], dtype=torch.float64)
    worth = points @ torch.tensor([5.0, -3.0, 2.0, 1.0, 0.5, 4.0], dtype=torch.float64)
    seen = torch.randperm(64, generator=torch.Generator().manual_seed(0))[:32]
    means, deviations = fit(points[seen], worth[seen])(points)
    unseen = torch.ones(64, dtype=torch.bool).index_fill(0, seen, False)

    assert torch.corrcoef(torch.stack([means, worth])[:, unseen])[0, 1] > 0.98
    assert deviations[seen].max() < deviations[unseen].min()


def test_what_is_equal_throughout_is_fitted() -> None:
    means, deviations = fit(torch.zeros(4, 2, dtype=torch.float64), torch.ones(4, dtype=torch.float64))(
        torch.zeros(1, 2, dtype=torch.float64)
    )
    assert float(means) == pytest.approx(1)
    assert deviations.isfinite().all()


def test_it_finds_more_of_the_front_and_a_better_best_than_random() -> None:
    table = additive(places=5)
    shares, regrets = [], []
    for policy in (Surrogate(), Surrogate(Best(5), best_gain), at_random):
        runs = [explore(table, table.mean, policy, 30, np.random.default_rng(seed), 8) for seed in range(3)]
        shares.append(np.mean([table.hypervolume(one.point for one in run) for run in runs]))
        regrets.append(np.mean([min(table.regret(one.point) for one in run) for run in runs]))

    assert shares[0] > max(0.97, shares[2])
    assert regrets[1] < 0.1 < regrets[2]


def test_a_lucky_training_is_not_chosen_by_the_smoothed_score() -> None:
    table = additive(places=4)
    records = [Judged(row, table.mean(row), 1.0, *FOUND) for row in table.trainings]
    best = max(records, key=lambda one: one.score)
    lucky = max((one for one in records if one.score < best.score - 8), key=lambda one: one.score)
    told = [Judged(one.point, best.score + 0.1, 1.0, *FOUND) if one is lucky else one for one in records]

    assert table.regret(smoothed(table, told).point) < table.regret(lucky.point)
