import sys

import numpy as np
import pytest

from netmorph.errors import MissingExtra
from netmorph.ranks.answers import weights
from netmorph.ranks.classes import agreement, classes, classified, error_of, profile
from netmorph.ranks.rows import StudyError
from tests.ranks.written import row


def clouds(*centres: float, count: int = 8, spread: float = 0.02) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.concatenate([centre + spread * random.normal(size=(count, 5)) for centre in centres])


def test_classes_are_the_clouds() -> None:
    found = classes(clouds(1.0, 2.0, 4.0), error=0.1)

    assert found.count == 3
    assert len({tuple(found.labels[start : start + 8]) for start in (0, 8, 16)}) == 3
    assert found.outside == 0
    assert found.map.shape == (24, 2)
    assert found.shares[0] > 0.95


def test_what_is_closer_than_the_error_is_one_class() -> None:
    three = clouds(1.0, 1.2, 4.0)

    assert classes(three, error=0.01).count == 3
    assert classes(three, error=0.6).count == 2


def test_agreement_is_one_of_the_same_and_about_nothing_of_others() -> None:
    one, other = classes(clouds(1.0, 2.0, 4.0), 0.1), classes(clouds(1.0, 2.0, 4.0)[::-1], 0.1)

    assert agreement(one, other) == pytest.approx(1)


def test_profiles_compare_networks_of_any_depth() -> None:
    shallow, deep = row(0, (4.0, 16.0)), row(1, (4.0, 8.0, 16.0))

    ours, theirs = (profile(each, each.last, weights) for each in (shallow, deep))

    assert np.exp(ours) == pytest.approx([4, 4 * 2**0.5, 8, 8 * 2**0.5, 16])
    assert ours == pytest.approx(theirs)


def test_the_error_is_the_median_distance_of_two_seeds() -> None:
    again = [(row(number, (4.0,)), row(number, (4.0 * np.exp(gap),))) for number, gap in enumerate((0.1, 0.2, 0.9))]

    assert error_of(again, weights) == pytest.approx(0.2 * 5**0.5)
    with pytest.raises(StudyError, match="two seeds"):
        error_of([], weights)


def test_classes_of_networks_before_and_after() -> None:
    rows = [row(number, (5.0 + number % 2,), before=(20.0 + 40 * (number // 6),)) for number in range(12)]

    before, after = classified(rows, [(rows[0], row(0, (5.01,)))])

    assert before.count == after.count == 2
    assert abs(agreement(before, after)) < 0.2


def test_too_few_networks_have_no_classes() -> None:
    with pytest.raises(StudyError, match="at least 5 networks that were trained; got 4"):
        classes(clouds(1.0, count=4), 0.1)


def test_the_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)

    with pytest.raises(MissingExtra, match=r"netmorph\[data\]"):
        classes(clouds(1.0, 2.0), 0.1)
