import random

import numpy as np
import pytest

from netmorph.policy import select
from netmorph.policy.selection import Candidate, contenders


def pick(count: int, *points: tuple[float, float, float], families: str = "", per_family: int = 99) -> list[int]:
    """Points are accuracy, FLOPs, loss; ids count from 0; a letter names a family, all are one by default."""
    letters = families or "a" * len(points)
    candidates = [Candidate(id, *point, ord(letters[id])) for id, point in enumerate(points)]
    return select(candidates, count, per_family)


def test_the_front_comes_first_its_accurate_end_at_the_head() -> None:
    points = (0.5, 10, 1), (0.9, 100, 1), (0.8, 200, 1), (0.7, 50, 1), (0.4, 300, 1)
    assert pick(5, *points) == [1, 3, 0, 2, 4]
    assert pick(2, *points) == [1, 3]


def test_what_is_beaten_on_both_counts_lives_on_only_if_too_few_are_not() -> None:
    points = (0.9, 10, 1), (0.89, 11, 1), (0.1, 9, 1)
    assert pick(2, *points) == [0, 2]
    assert pick(3, *points) == [0, 2, 1]


def test_equals_are_told_apart_by_loss_and_then_come_in_order() -> None:
    assert pick(3, (0.9, 10, 3), (0.9, 10, 1), (0.9, 10, 2)) == [1, 2, 0]
    assert pick(2, (0.9, 10, 1), (0.9, 10, 1)) == [0, 1]


def test_few_candidates_all_live_and_none_is_none() -> None:
    assert pick(9, (0.1, 1, 1)) == [0]
    assert pick(3) == []


def test_families_share_the_places_as_long_as_there_are_others() -> None:
    points = (0.9, 10, 1), (0.8, 11, 1), (0.7, 12, 1), (0.6, 13, 1)
    assert pick(2, *points, families="aaab", per_family=1) == [0, 3]
    assert pick(3, *points, families="aaab", per_family=1) == [0, 1, 3]
    assert pick(3, *points, families="aabb", per_family=2) == [0, 1, 2]
    assert pick(4, *points, families="aaaa", per_family=1) == [0, 1, 2, 3]


@pytest.mark.parametrize("seed", range(20))
def test_the_chosen_are_never_dominated_by_one_left_out(seed: int) -> None:
    generator = np.random.default_rng(seed)
    points = [tuple(point) for point in generator.integers(1, 6, (12, 3)).tolist()]
    chosen = pick(5, *points)
    assert len(set(chosen)) == 5
    for left in set(range(12)) - set(chosen):
        accuracy, flops, _ = points[left]
        for kept in chosen:
            better = accuracy >= points[kept][0] and flops <= points[kept][1]
            assert not (better and (accuracy, flops) != points[kept][:2]), (left, kept)


@pytest.mark.parametrize("seed", range(20))
def test_nobody_who_is_no_contender_is_ever_selected(seed: int) -> None:
    draw = random.Random(seed)
    everyone: list[Candidate] = []
    kept: list[Candidate] = []
    for first in range(0, 60, 5):
        # Few values, so that many tie.
        joining = [
            Candidate(id, draw.randrange(8) / 8, draw.randrange(8), draw.random(), id) for id in range(first, first + 5)
        ]
        everyone += joining
        kept = contenders([*kept, *joining], 3)
        assert select(kept, 3, 1) == select(everyone, 3, 1)
    assert len(kept) < len(everyone)
