import json

import pytest
import torch

from netmorph.errors import NetmorphError
from netmorph.measure import value_report
from netmorph.measure.values import BINS, COLUMNS, POINTS


def test_small_reports_hold_every_sample_and_error() -> None:
    targets = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
    report = value_report(targets, targets + torch.tensor([[1.0, 0.0], [0.0, 0.0], [-1.0, 3.0]]))
    first, second = report["columns"]
    assert (first["true"], first["predicted"]) == ([1, 2, 3], [2, 2, 2])
    assert (first["edges"], first["counts"]) == ([-1, 0, 1], [1, 2])
    assert (second["edges"], second["counts"]) == ([0, 1.5, 3], [2, 1])
    assert report["samples"] == 3


def test_large_reports_stay_small_and_count_all() -> None:
    targets = torch.randn(50_000, 9, generator=torch.Generator().manual_seed(0))
    report = value_report(targets, targets * 0.9)
    assert len(report["columns"]) == COLUMNS
    for number, column in enumerate(report["columns"]):
        assert len(column["true"]) == len(column["predicted"]) == POINTS
        assert (column["true"][0], column["true"][-1]) == (targets[0, number].item(), targets[-1, number].item())
        assert len(column["counts"]) == BINS == len(column["edges"]) - 1
        assert sum(column["counts"]) == 50_000


def test_predictions_that_are_not_finite_are_left_out() -> None:
    nan = float("nan")
    report = value_report(torch.ones(3, 2), torch.tensor([[nan, nan], [2.0, nan], [float("inf"), nan]]))
    first, second = report["columns"]
    assert (first["true"], first["predicted"], sum(first["counts"])) == ([1], [2], 1)
    assert second == {"true": [], "predicted": [], "edges": [], "counts": []}
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((3, 1), (3, 2)), ((0, 1), (0, 1))])
def test_what_does_not_fit_is_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(NetmorphError, match="the same shape"):
        value_report(*map(torch.zeros, shapes))
