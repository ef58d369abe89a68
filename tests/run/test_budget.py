import math

import pytest

from netmorph.errors import NetmorphError
from netmorph.run.budget import Budget, duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", Budget(seconds=90)),
        ("10m", Budget(seconds=600)),
        ("1h30m", Budget(seconds=5400)),
        ("1.5 H", Budget(seconds=5400)),
        ("1d", Budget(seconds=86400)),
        ("8rounds", Budget(rounds=8)),
        ("1 round", Budget(rounds=1)),
        ("3e14flops", Budget(flops=3e14)),
        ("2000 FLOPs", Budget(flops=2000)),
    ],
)
def test_parse(text: str, expected: Budget) -> None:
    assert Budget.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "m",
        "10x",
        "0s",
        "0rounds",
        "-3rounds",
        "1.5rounds",
        "nanflops",
        "infflops",
        "-1flops",
        "10m5",
        "flops",
    ],
)
def test_what_is_no_budget_is_refused_with_examples(text: str) -> None:
    with pytest.raises(NetmorphError, match=r"cannot read the budget .*10m.*8rounds.*3e14flops"):
        Budget.parse(text)


def test_without_a_limit_there_is_no_end() -> None:
    assert min(Budget().seconds, Budget().flops, Budget().rounds) == math.inf


def test_a_duration_is_a_time_or_a_number_of_seconds() -> None:
    assert [duration(text) for text in ("90s", "1h 30m", "0.5", "600")] == [90, 5400, 0.5, 600]
    for text in ("", "soon", "0", "-1", "nan", "inf", "10 rounds", "0s"):
        with pytest.raises(NetmorphError, match="give a time above zero"):
            duration(text)
