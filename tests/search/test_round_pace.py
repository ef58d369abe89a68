import pytest

from netmorph.search.pace import Pace


def test_small_networks_take_time_for_their_steps_and_large_ones_for_flops() -> None:
    pace = Pace()
    assert pace.of([(10, 1000)]) is None
    for epochs, flops in ((10, 100), (20, 5000), (5, 20000)):
        pace.note(epochs, flops, 0.5 * epochs + 0.001 * flops)
    assert pace.of([(30, 2000)]) == pytest.approx(17.0)
    assert pace.of([]) == 0.0
    assert pace.of_answers(3000) == pytest.approx(3.0)


def test_what_goes_side_by_side_takes_as_long_as_the_longest() -> None:
    pace = Pace()
    for flops in (100, 200):
        pace.note(10, flops, 1.0 * flops)
    pace.note_round(trained=400.0, elapsed=200.0)
    assert pace.of([(10, 100)] * 4) == pytest.approx(200.0)
    assert pace.of([(10, 900), (10, 100)]) == pytest.approx(900.0)


def test_no_work_makes_time_pass_backwards() -> None:
    pace = Pace()
    pace.note(100, 10, 1.0)
    pace.note(10, 1000, 5.0)
    pace.note(500, 10, 0.5)
    assert (pace.of([(10_000, 1)]) or 0.0) >= 0
    assert (pace.of([(1, 10_000)]) or 0.0) > 10
