"""What is said of differences, and what may be said of chance."""

from collections.abc import Sequence

import numpy as np
import pytest

from netmorph.neighbours import Answer, Job, Neighbour, NeighbourError, Row, answer
from netmorph.neighbours.answers import holm, noise
from netmorph.neighbours.words import asides, verdict
from netmorph.tasks.criterion import ACCURACY, BY_LOSS

pytest.importorskip("scipy")
FAILURES = {True: "diverged"}
FLOPS = (100, 100, 104, 120)  # the network itself, two rivals, one that costs more


def around(flops: Sequence[int] = FLOPS) -> list[Neighbour]:
    return [Neighbour(number, "trade", f"edit {number}", (), 10, cost) for number, cost in enumerate(flops)]


def rows_of(scores: np.ndarray, failed: tuple[int, int] | None = None) -> list[Row]:
    return [
        Row(
            Job(number, "fresh", seed),
            test={"accuracy": float(value)},
            failure="no" if (number, seed) == failed else None,
        )
        for number, values in enumerate(scores)
        for seed, value in enumerate(values)
    ]


def asked(rows: list[Row], flops: Sequence[int] = FLOPS) -> Answer:
    return answer(rows, around(flops), "fresh", 0.05, lambda row: row.test["accuracy"])


def noisy(effects: Sequence[float], seeds: int = 6, seed: int = 0, scale: float = 0.01) -> np.ndarray:
    random = np.random.default_rng(seed)
    block = 0.05 * random.standard_normal(seeds)  # a good seed is good for all networks
    return 0.9 + np.asarray(effects)[:, None] + block + scale * random.standard_normal((len(effects), seeds))


def test_a_better_rival_refutes_a_peak_and_a_dearer_one_does_not() -> None:
    found = asked(rows_of(noisy((0, 0.05, -0.05, 0.1))))

    assert [each.neighbour for each in found.better] == [1]
    assert not found.is_peak
    assert [each.is_worse for each in found.rivals] == [False, True]
    assert [each.is_better for each in found.dearer] == [True]
    assert "1 of 2 neighbours is better than net, the best by 4.15 points" in verdict(found, around(), ACCURACY, "net")
    assert "Of 1 that cost more, 1 is better" in asides(found, around())[0]
    assert asked(rows_of(noisy((0, 0, -0.05, 0.1)))).is_peak


def test_verdicts_tell_what_could_have_been_seen() -> None:
    found = asked(rows_of(noisy((0, 0, -0.05, 0))))
    told = verdict(found, around(), ACCURACY, "net")

    assert "no neighbour is better than net by more than" in told
    assert "as far as 2 neighbours at 6 seeds can tell" in told
    assert f"A difference of {100 * found.visible:.2f} points would have been seen" in told
    assert found.visible > found.rivals[0].high - found.rivals[0].mean
    assert "points" not in verdict(found, around(), BY_LOSS, "net")


def test_what_is_visible_is_found_as_often_as_told() -> None:
    one = noisy((0, 0, 0))
    effect = asked(rows_of(one), FLOPS[:3]).visible / noise(one)[0] * 0.01 * np.sqrt(2 / 6)  # at the true noise
    hits = [not asked(rows_of(noisy((0, effect, 0), seed=100 + k)), FLOPS[:3]).is_peak for k in range(300)]

    assert 0.74 < np.mean(hits) < 0.86


def test_peaks_are_rarely_refuted_by_chance() -> None:
    refuted = [not asked(rows_of(noisy((0,) * 8, seed=k)), (100,) * 8).is_peak for k in range(200)]

    assert np.mean(refuted) < 0.06  # one side of 5%


def test_failures_are_left_out() -> None:
    scores = noisy((0, 0.05, -0.05, 0.1))
    without = asked(rows_of(scores, failed=(2, 3)))
    assert without.failed == (2,)
    assert [each.neighbour for each in without.rivals] == [1]
    assert "left out because a training failed: 2 (edit 2)" in " ".join(asides(without, around()))
    assert asked(rows_of(scores, failed=(0, 3))).seeds == 5  # where the network itself failed, none can be compared
    with pytest.raises(NeighbourError, match="1 trainings of the network itself from fresh"):
        asked(rows_of(scores[:, :1]))
    with pytest.raises(NeighbourError, match="every neighbour failed"):
        asked(rows_of(scores[:1]), FLOPS[:1])


def test_noise_is_that_of_a_randomized_block_design() -> None:
    scores = np.array([[1.0, 2.0, 6.0], [2.0, 4.0, 6.0]])  # differences 1, 2, 0
    error, freedom = noise(scores)

    assert freedom == 2
    assert error == pytest.approx(np.std([1, 2, 0], ddof=1) / np.sqrt(3))  # of two networks, the paired t-test's


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_equal_scores_differ_by_nothing() -> None:
    found = asked(rows_of(np.full((4, 3), 0.5)))
    assert found.is_peak
    assert [each.p for each in found.rivals] == [1.0, 1.0]
