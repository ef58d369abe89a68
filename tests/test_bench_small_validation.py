import numpy as np

from benchmarks.small_validation import lines, measured


def test_a_score_that_tells_more_of_each_sample_finds_the_better_network() -> None:
    generator = np.random.default_rng(0)
    quality = np.linspace(0, 1, 12)[:, None]
    margins = 2 + quality + generator.standard_normal((12, 500)) * 2  # of the right answer
    right, losses = (margins > 0).astype(float), np.log1p(np.exp(-margins))

    found = measured(right, losses, 40, splits=40)
    share, probability = found["share of right answers"], found["probability of the right answer"]
    assert probability[2] > share[2] > 0
    assert all(0 <= lacks <= 100 for told in found.values() for lacks in told[:2])
    table = lines([(right, losses)] * 2, [40, 80], splits=2)
    assert len(table) == 2 + 2 * len(found)
