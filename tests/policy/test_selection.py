from collections.abc import Sequence

import numpy as np
import pytest

from netmorph.errors import NetmorphError
from netmorph.policy import select
from netmorph.policy.selection import Candidate, Order, by_cover, by_rank, by_score, by_volume


def pick(
    count: int,
    *points: tuple[float, float, float],
    families: str = "",
    per_family: int = 99,
    order: Order = by_rank,
) -> list[int]:
    """Points are accuracy, cost, loss; ids count from 0; a letter names a family, all are one by default."""
    letters = families or "a" * len(points)
    candidates = [Candidate(id, *point, ord(letters[id])) for id, point in enumerate(points)]
    return select(candidates, count, per_family, order)


def answering(*rows: Sequence[float]) -> list[Candidate]:
    """Candidates of so much worth to each example."""
    return [Candidate(id, float(np.mean(row)), 1, 0, 0, np.array(row)) for id, row in enumerate(rows)]


# -- orders ------------------------------------------------------------------------------------------------------------


def test_by_rank_the_front_comes_first_its_accurate_end_at_the_head() -> None:
    points = (0.5, 10, 1), (0.9, 100, 1), (0.8, 200, 1), (0.7, 50, 1), (0.4, 300, 1)
    assert pick(5, *points) == [1, 3, 0, 2, 4]
    assert pick(2, *points) == [1, 3]


def test_by_volume_the_best_score_is_kept_and_then_whom_the_front_would_miss_most() -> None:
    # Of the front 0 1 2 3, network 2 adds least (it is beside 3), and 0 is no better than the worst of all.
    points = (0.5, 10, 1), (0.7, 20, 1), (0.89, 90, 1), (0.9, 100, 1), (0.5, 300, 1)
    assert pick(5, *points, order=by_volume) == [3, 1, 2, 0, 4]
    assert pick(2, *points, order=by_volume) == [3, 1]


def test_by_volume_each_that_goes_is_the_one_that_the_front_misses_least() -> None:
    generator = np.random.default_rng(0)
    scores, costs = np.sort(generator.random(9)), np.sort(generator.random(9))
    points = [(score, cost, 1.0) for score, cost in zip(scores.tolist(), costs.tolist(), strict=True)]

    def volume(ids: Sequence[int]) -> float:  # from the lowest score, up to the dearest
        kept = sorted(ids)
        ends = [*(points[id][1] for id in kept[1:]), points[-1][1]]
        return sum((points[id][0] - points[0][0]) * (end - points[id][1]) for id, end in zip(kept, ends, strict=True))

    order = pick(9, *points, order=by_volume)
    assert order[0] == 8
    for count in range(2, 9):
        before = order[: count + 1]
        others = [[id for id in before if id != gone] for gone in before[1:]]
        assert volume(order[:count]) == pytest.approx(max(map(volume, others)))


def test_by_score_nothing_else_counts() -> None:
    assert pick(3, (0.5, 10, 1), (0.9, 900, 1), (0.8, 20, 1), order=by_score) == [1, 2, 0]


def test_by_cover_an_example_that_has_chosen_counts_less() -> None:
    # Network 1 is second best, and right where 0 is; 2 is right where 0 is not.
    networks = answering([1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1])
    assert select(networks, 3, 3, by_cover) == [0, 2, 1]
    assert select(networks, 3, 3, by_score) == [0, 1, 2]


def test_by_cover_all_examples_are_covered_where_that_can_be() -> None:
    generator = np.random.default_rng(1)
    right = np.zeros((12, 40))
    right[np.repeat([0, 5, 9], [14, 13, 13]), np.arange(40)] = 1  # these three answer everything
    for row in {*range(12)} - {0, 5, 9}:
        right[row, generator.choice(14, 12, replace=False)] = 1  # the others what 0 answers
    assert {*select(answering(*right), 3, 3, by_cover)} == {0, 5, 9}


def test_by_cover_answers_have_to_be_there() -> None:
    with pytest.raises(NetmorphError, match="those of network 0 were not kept"):
        pick(1, (0.5, 10, 1), order=by_cover)


# -- all orders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [by_rank, by_volume])
def test_what_is_beaten_on_both_counts_lives_on_only_if_too_few_are_not(order: Order) -> None:
    points = (0.9, 10, 1), (0.89, 11, 1), (0.1, 9, 1)
    assert pick(2, *points, order=order) == [0, 2]
    assert pick(3, *points, order=order) == [0, 2, 1]


@pytest.mark.parametrize("order", [by_rank, by_volume, by_score])
def test_equals_are_told_apart_by_loss(order: Order) -> None:
    assert pick(1, (0.9, 10, 3), (0.9, 10, 1), (0.9, 10, 2), order=order) == [1]
    assert {*pick(3, (0.9, 10, 3), (0.9, 10, 1), (0.9, 10, 2), order=order)} == {0, 1, 2}


@pytest.mark.parametrize("order", [by_rank, by_volume, by_score, by_cover])
def test_few_candidates_all_live_and_none_is_none(order: Order) -> None:
    assert select(answering([1.0]), 9, 1, order) == [0]
    assert select([], 3, 1, order) == []


def test_families_share_the_places_as_long_as_there_are_others() -> None:
    points = (0.9, 10, 1), (0.8, 11, 1), (0.7, 12, 1), (0.6, 13, 1)
    assert pick(2, *points, families="aaab", per_family=1) == [0, 3]
    assert pick(3, *points, families="aaab", per_family=1) == [0, 1, 3]
    assert pick(3, *points, families="aabb", per_family=2) == [0, 1, 2]
    assert pick(4, *points, families="aaaa", per_family=1) == [0, 1, 2, 3]


@pytest.mark.parametrize("order", [by_rank, by_volume])
def test_the_chosen_are_never_dominated_by_one_left_out(order: Order) -> None:
    for seed in range(20):
        generator = np.random.default_rng(seed)
        points = [tuple(point) for point in generator.integers(1, 6, (12, 3)).tolist()]
        chosen = pick(5, *points, order=order)
        assert len(set(chosen)) == 5
        for left in set(range(12)) - set(chosen):
            accuracy, cost, _ = points[left]
            for kept in chosen:
                better = accuracy >= points[kept][0] and cost <= points[kept][1]
                assert not (better and (accuracy, cost) != points[kept][:2]), (left, kept)
