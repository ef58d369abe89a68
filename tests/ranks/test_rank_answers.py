import math

import numpy as np
import pytest

from netmorph.ranks.answers import (
    Estimate,
    estimate,
    features,
    learned,
    log_ranks,
    mean,
    pairs,
    rank_of,
    ratio,
    settled,
    slope,
    spearman,
    spearman_given,
    weights,
    width_of,
)
from netmorph.ranks.rows import StudyError
from tests.ranks.written import look, row


def array(*values: float) -> np.ndarray:
    return np.asarray(values, dtype=float)


def test_spearman_is_of_ranks_with_ties_at_their_mean() -> None:
    assert spearman(array(1, 2, 3, 4), array(1, 8, 9, 100)) == pytest.approx(1)
    assert spearman(array(1, 2, 3, 4), array(4, 3, 2, 1)) == pytest.approx(-1)
    # By hand: the ranks are 1, 2.5, 2.5, 4 and 1, 2, 3, 4.
    assert spearman(array(1, 2, 2, 3), array(1, 2, 3, 4)) == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    assert math.isnan(spearman(array(1, 1, 1), array(1, 2, 3)))


def test_a_partial_correlation_is_nothing_where_the_third_explains_all() -> None:
    random = np.random.default_rng(0)
    third = random.normal(size=4000)
    one, other = third + random.normal(size=4000), third + random.normal(size=4000)

    assert spearman(one, other) > 0.4
    assert abs(spearman_given(one, other, third)) < 0.05
    assert math.isnan(spearman_given(third, other, third))


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    found = [estimate(mean, random.normal(size=40).tolist(), seed=seed) for seed in range(60)]

    assert sum(each.excludes(0) for each in found) <= 9
    assert all(each.low < each.value < each.high and each.count == 40 for each in found)
    assert estimate(mean, [1.0, 2.0, 3.0]) == estimate(mean, [1.0, 2.0, 3.0])


def test_an_interval_of_two_networks_is_refused() -> None:
    with pytest.raises(StudyError, match="at least three networks"):
        estimate(mean, [1.0, 2.0])


def test_an_estimate_says_its_interval() -> None:
    assert str(Estimate(0.123, -0.5, 0.75, 9)) == "0.12 (-0.50 to 0.75)"
    assert Estimate(0.5, 0.1, 0.9, 9).excludes(0)
    assert not Estimate(0.5, 0.1, 0.9, 9).excludes(0.5)


def test_slope_of_a_line() -> None:
    assert slope(array(1, 2, 3), array(5, 7, 9)) == pytest.approx(2)
    assert math.isnan(slope(array(1, 1), array(1, 2)))


def test_a_networks_rank_is_the_geometric_mean_of_its_hidden_layers() -> None:
    one = row(0, (4.0, 16.0), widths=(10, 40))

    assert math.exp(rank_of(one, one.last, weights)) == pytest.approx(8)
    assert math.exp(rank_of(one, one.last, features)) == pytest.approx(4)
    assert math.exp(width_of(one)) == pytest.approx(20)


def test_what_has_vanished_counts_as_one_direction() -> None:
    one = row(0, (0.0, 1.0))

    assert log_ranks(one, one.last, weights).tolist() == [0, 0]


def test_settled_looks_at_the_last_third() -> None:
    one = row(0, (8.0,))
    moving = (one.first, look(6, (8.0,)), look(9, (7.0,)))

    assert settled(one, weights)
    assert not settled(type(one)(**{**vars(one), "looks": moving}), weights)


def test_learned_is_of_the_training_samples() -> None:
    one = row(0, (8.0,))

    assert learned(one)
    assert not learned(one, least=0.99)


def test_ratios_are_of_the_same_networks() -> None:
    true = [row(number, (4.0 + number,)) for number in range(4)]
    others = [row(number, (2 * (4.0 + number),), condition="shuffled") for number in (3, 2, 0, 7)]
    failed = type(others[0])(**{**vars(others[0]), "failure": "diverged", "looks": ()})

    matched = pairs(true, others)

    assert [a.network for a, _ in matched] == [b.network for _, b in matched] == [0, 2, 3]
    assert ratio(matched, weights).value == pytest.approx(2)
    assert ratio(matched, weights).excludes(1)
    assert len(pairs(true, [failed, *others[1:]])) == 2


def test_a_ratio_is_over_the_untrained_network() -> None:
    """Whose rank may be lower from the start, because it is looked at on fewer samples."""
    matched = [
        (row(number, (4.0,), before=(16.0,)), row(number, (4.0,), before=(8.0,), condition="small"))
        for number in range(3)
    ]

    assert ratio(matched, features).value == pytest.approx(2)
