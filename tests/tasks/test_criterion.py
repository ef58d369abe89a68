import math

import pytest

from netmorph.tasks import Criterion
from netmorph.tasks.criterion import ACCURACY


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (54.321, "54.32"),
        (999.94, "999.9"),
        (1234.5678, "1,235"),
        (-254_321.7, "-254,322"),
        (1.5e15, "1.5e+15"),
        (0.0, "0"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_values_are_told_in_four_figures_or_in_thousands(value: float | None, text: str) -> None:
    assert Criterion("rmse").text(value) == text


def test_shares_are_told_in_percent() -> None:
    assert ACCURACY.text(0.98712) == "98.71%"


def test_a_score_says_that_more_is_better() -> None:
    rmse = Criterion("rmse")
    assert rmse.score(2.0) > rmse.score(3.0) > rmse.score(math.nan)
    assert ACCURACY.score(0.3) > ACCURACY.score(0.2) > ACCURACY.score(math.nan)
    assert rmse.value(rmse.score(2.0)) == 2.0
    assert (rmse.better, ACCURACY.better) == ("lower", "higher")
