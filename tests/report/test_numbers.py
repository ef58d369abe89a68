import pytest

from netmorph.report.numbers import duration, percent, power_of_ten
from netmorph.wording import compact, flops_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "–"),
        (0, "0"),
        (12, "12"),
        (999, "999"),
        (999.7, "1 k"),
        (1234567, "1.23 M"),
        (3 * 10**15, "3 P"),
    ],
)
def test_compact(count: float | None, text: str) -> None:
    assert compact(count).replace("\u00a0", " ") == text


def test_flops_joins_the_unit() -> None:
    assert flops_text(1_230_000) == "1.23\u00a0MFLOPs"
    assert flops_text(90) == "90\u00a0FLOPs"
    assert flops_text(None) == "–"


def test_percent_and_duration() -> None:
    assert percent(0.98712) == "98.71%"
    assert percent(None) == "–"
    assert [duration(s) for s in (None, 1.5, 75, 3725)] == ["–", "1.5 s", "1 min 15 s", "1 h 2 min"]


def test_power_of_ten() -> None:
    assert [power_of_ten(value) for value in (1e-12, 0.1, 1.0, 100.0)] == ["10⁻¹²", "10⁻¹", "10⁰", "10²"]
