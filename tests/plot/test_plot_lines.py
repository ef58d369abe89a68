"""Means, bands, smoothing: against numbers worked out by hand."""

import math

import numpy as np
import pytest

from netmorph.plot.lines import BANDS, interval, line_of, smoothed
from netmorph.plot.values import Curve, Mark, PlotError


def curve(x, y, **more):
    return Curve({"step": x}, y, **more)


def test_the_interval_is_student_s():
    low, high = interval(np.array([[1.0], [2.0], [3.0]]))

    assert high[0] - 2 == pytest.approx(
        4.302653 * 1 / math.sqrt(3), rel=1e-6
    )  # its quantile for two degrees of freedom
    assert low[0] + high[0] == pytest.approx(4)


def test_one_run_is_drawn_as_it_was_recorded():
    line = line_of("a", [curve([3, 2, 1], [1.0, math.nan, 3.0])], "step", BANDS["interval"])

    assert line.x.tolist() == [3, 2, 1]
    assert np.isnan(line.y[1])
    assert line.low is None


def test_a_mean_is_taken_where_all_runs_are_known_and_between_their_points():
    line = line_of("a", [curve([0, 2, 4], [0.0, 2.0, 4.0]), curve([1, 3], [10.0, 30.0])], "step", BANDS["range"])

    assert line.x.tolist() == [1, 2, 3]
    assert line.y.tolist() == [5.5, 11, 16.5]
    assert (line.low.tolist(), line.high.tolist()) == ([1, 2, 3], [10, 20, 30])
    assert (line.runs, line.longest) == (2, 4)


def test_the_best_so_far_holds_until_the_next_point():
    line = line_of("a", [curve([0, 2], [1.0, 3.0], holds=True), curve([0, 1, 2], [1.0, 1.0, 1.0], holds=True)], "step")

    assert line.y.tolist() == [1, 1, 2]


def test_of_a_place_that_comes_twice_the_last_counts_and_numbers_that_are_none_leave_a_gap():
    line = line_of("a", [curve([1, 1, 2], [9.0, 1.0, 2.0]), curve([1, 2], [3.0, math.nan])], "step")

    assert line.y[0] == 2
    assert np.isnan(line.y[1])


def test_marks_stay_where_all_runs_have_the_same():
    grown = [curve([0, x], [0.0, 1.0], marks=(Mark(0.5, "grew"),)) for x in (4, 8)]

    assert line_of("a", grown, "step").marks == ((3.0, "grew"),)
    assert line_of("a", [grown[0], curve([0, 4], [0.0, 1.0])], "step").marks == ()


def test_smoothing_has_no_bias_toward_zero_and_keeps_what_was_recorded():
    assert smoothed(np.array([2.0, 2.0, 2.0]), 0.9).tolist() == pytest.approx([2, 2, 2])
    assert smoothed(np.array([1.0, math.nan, 2.0]), 0.5) == pytest.approx([1, math.nan, 5 / 3], nan_ok=True)
    line = line_of("a", [curve([0, 1], [1.0, 0.0])], "step", smooth=0.5)
    assert (line.rough.tolist(), line.y.tolist()) == ([1, 0], [1, pytest.approx(1 / 3)])


def test_what_has_no_mean_is_said():
    with pytest.raises(PlotError, match="have no place in common"):
        line_of("a", [curve([0, 1], [1.0, 1.0]), curve([2, 3], [1.0, 1.0])], "step")
    with pytest.raises(PlotError, match="a has no finite number"):
        line_of("a", [curve([0], [math.nan])], "step")
    with pytest.raises(PlotError, match=r"over 'steps' \(did you mean 'step'\?\); it is known over step"):
        line_of("a", [curve([0], [1.0])], "steps")
