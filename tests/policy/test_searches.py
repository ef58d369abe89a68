from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from netmorph.policy import (
    Ageing,
    Bandit,
    Best,
    Judged,
    Move,
    Mutate,
    Policy,
    Selected,
    Surrogate,
    at_random,
    explore,
    front,
    local_search,
)
from netmorph.policy.searches import payoffs
from netmorph.policy.selection import by_rank
from netmorph.policy.spaces import FOUND, SearchError
from tests.policy.made_up import additive, named

TABLE = additive(noise=0.5)
POLICIES: list[Policy[Any]] = [at_random, local_search, Mutate(), Mutate(Selected(4), 3), Bandit(), Surrogate()]


def found(policy: Policy[Any], budget: int = 20, seed: int = 0, founders: int = 4) -> list[Judged[Any]]:
    generator = np.random.default_rng(seed)
    return explore(TABLE, TABLE.judge(generator), policy, budget, generator, founders)


def judged(*points: tuple[float, float], kind: str = "widen") -> list[Judged[Any]]:
    return [Judged((number,), score, cost, kind, "0") for number, (score, cost) in enumerate(points)]


@pytest.mark.parametrize("policy", [*POLICIES, Ageing(4, 2)], ids=named)
def test_a_search_judges_as_many_as_it_was_asked_to_and_again_the_same(policy: Policy[Any]) -> None:
    first = found(policy)

    assert len(first) == 20
    assert first == found(policy)
    assert first != found(policy, seed=1)
    assert {(one.kind, one.place) for one in first[:4]} == {FOUND}
    assert all(one.cost == TABLE.cost(one.point) and one.score in TABLE.trainings[one.point] for one in first)


@pytest.mark.parametrize("policy", POLICIES, ids=named)
def test_nothing_is_judged_twice_and_a_table_that_is_exhausted_ends_no_search(policy: Policy[Any]) -> None:
    points = [one.point for one in found(policy, budget=24, founders=1)]

    assert len(set(points)) == 24
    assert len(found(policy, budget=32, founders=1)) == 32  # there are 27


def test_what_is_asked_wrongly_is_told() -> None:
    with pytest.raises(SearchError, match="got 0 and 4"):
        found(at_random, budget=0)
    with pytest.raises(SearchError, match="asked for nothing after 4 of 20"):
        found(lambda space, judged, generator: [])


def test_parents() -> None:
    points = judged((0.5, 10), (0.9, 100), (0.8, 200), (0.7, 50), (0.7, 50))

    assert front(points) == [0, 1, 3]
    assert Best(2)(points) == [1, 2]
    assert Selected(3, by_rank)(points[:4]) == [1, 3, 0]


def test_local_search_ascends_and_begins_anew_at_the_top() -> None:
    records = found(local_search, budget=27, founders=1)
    starts = [index for index, one in enumerate(records) if (one.kind, one.place) == FOUND]
    top = max(records[: starts[1]], key=lambda one: one.score)

    neighbours = {move.to for move in TABLE.moves(top.point, np.random.default_rng(0))}
    assert neighbours <= {one.point for one in records[: starts[1]]}


def test_ageing_has_children_of_the_latest_only() -> None:
    old, young = Judged((2, 2, 2), 99.0, 1.0, *FOUND), Judged((0, 0, 0), 1.0, 1.0, *FOUND)
    for seed in range(8):
        (move,) = Ageing(1, 3)(TABLE, [old, young], np.random.default_rng(seed))
        assert sum(move.to) in (1, 2)


def test_a_move_has_paid_where_nothing_before_had_beaten_its_point() -> None:
    records = [*judged((0.5, 10), (0.4, 9), (0.4, 9)), *judged((0.6, 99), (0.5, 100), kind="deepen")]
    made, paid = payoffs(records)

    assert made == {("widen", "0"): 3, ("deepen", "0"): 2}
    assert paid == {("widen", "0"): 2, ("deepen", "0"): 1}


class Arms:
    """One point with a move of each kind; which it has been is all that is known of a point."""

    def random(self, generator: np.random.Generator) -> int:
        return int(generator.integers(10**9))

    def moves(self, point: int, generator: np.random.Generator) -> Sequence[Move[int]]:
        return iter([Move(kind, "0", self.random(generator)) for kind in ("good", "bad")])

    def cost(self, point: int) -> float:
        return 1.0

    def features(self, point: int) -> np.ndarray:
        return np.zeros(1)


def test_a_bandit_draws_what_has_paid() -> None:
    records = [Judged(-1, 0.0, 1.0, *FOUND)]
    records += [Judged(-2 - number, number / 100, 1.0, "good", "0") for number in range(1, 9)]
    records += [Judged(-20 - number, -1.0, 1.0, "bad", "0") for number in range(8)]
    drawn = Bandit(children=50)(Arms(), records, np.random.default_rng(0))

    assert sum(move.kind == "good" for move in drawn) >= 48
