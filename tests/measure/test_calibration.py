import math

import pytest
import torch

from netmorph.errors import NetmorphError
from netmorph.measure import brier, calibration_error, calibration_report, log_loss, reliability, temperature


def two_classes(*first: float) -> torch.Tensor:
    """Probabilities of two classes, by those of the first."""
    column = torch.tensor(first, dtype=torch.float64)
    return torch.stack([column, 1 - column], 1)


def test_the_error_is_the_mean_gap_between_sure_and_right() -> None:
    answers, labels = two_classes(0.9, 0.9, 0.9, 0.3), torch.tensor([0, 0, 1, 1])
    # Three answers at 0.9 of which two are right, one at 0.7 that is right.
    assert calibration_error(answers, labels) == pytest.approx(3 / 4 * (0.9 - 2 / 3) + 1 / 4 * (1 - 0.7))
    found = reliability(answers, labels, bins=10)
    assert found.count.tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 3, 0]  # the upper border is in a bin


def test_the_other_numbers_are_those_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    generator = torch.Generator().manual_seed(0)
    answers = torch.randn(200, 5, generator=generator, dtype=torch.float64).softmax(1)
    labels = torch.randint(5, (200,), generator=generator)
    assert log_loss(answers, labels) == pytest.approx(metrics.log_loss(labels, answers))
    binary = two_classes(*answers[:, 0].tolist())
    of_one_class = metrics.brier_score_loss((labels.clamp(max=1) == 0).int(), binary[:, 0])
    assert brier(binary, labels.clamp(max=1)) == pytest.approx(2 * of_one_class)


def test_answers_that_are_as_sure_as_they_are_right_have_no_error() -> None:
    answers = two_classes(0.75, 0.75, 0.75, 0.75)
    assert calibration_error(answers, torch.tensor([0, 0, 0, 1])) == pytest.approx(0)


def test_a_report_holds_plain_values_and_no_empty_bins() -> None:
    report = calibration_report(two_classes(1.0, 1.0), torch.tensor([0, 1]))
    assert report == {"ece": 0.5, "nll": None, "brier": 1.0, "bins": [[2, 1.0, 0.5]]}


def test_temperature_undoes_a_scale_of_the_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 4, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    alone, scaled = temperature(logits, labels), temperature(3 * logits, labels)
    assert alone == pytest.approx(1, rel=0.05)
    assert scaled == pytest.approx(3 * alone, rel=2e-3)
    before, after = (calibration_error((3 * logits / found).softmax(1), labels) for found in (1.0, scaled))
    assert after < before / 5
    assert temperature(torch.eye(4), torch.arange(4)) < 0.03  # all are right: the colder the better


@pytest.mark.parametrize(
    ("answers", "labels", "told"),
    [
        (torch.rand(3), torch.arange(3), "must have the shape"),
        (torch.ones(2, 2), torch.arange(2), "take softmax"),
        (torch.full((2, 2), math.nan), torch.arange(2), "NaN"),
        (torch.full((2, 2), 0.5), torch.tensor([0, 2]), "classes 0 to 1"),
    ],
)
def test_what_are_no_probabilities_is_refused(answers, labels, told) -> None:
    with pytest.raises(NetmorphError, match=told):
        calibration_error(answers, labels)
