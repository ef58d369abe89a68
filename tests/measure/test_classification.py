import json

import pytest
import torch
from sklearn import metrics

from netmorph.errors import NetmorphError
from netmorph.measure.classification import class_scores, classification_report, confusion_matrix

LABELS = torch.tensor([0, 0, 0, 1, 1, 2])
PREDICTIONS = torch.tensor([0, 0, 1, 1, 2, 2])


def test_a_small_case_by_hand():
    assert confusion_matrix(LABELS, PREDICTIONS, 3).tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    scores = class_scores(LABELS, PREDICTIONS, 3)
    assert scores.precision.tolist() == [1, 1 / 2, 1 / 2]
    assert scores.recall.tolist() == [2 / 3, 1 / 2, 1]
    assert scores.f1.tolist() == pytest.approx([4 / 5, 1 / 2, 2 / 3])
    assert scores.support.tolist() == [3, 2, 1]
    assert scores.macro().precision == pytest.approx(2 / 3)
    assert scores.weighted().recall == pytest.approx(4 / 6), "the weighted recall is the accuracy"


@pytest.mark.parametrize("seed", range(4))
def test_numbers_are_those_of_scikit_learn(seed):
    # Of 12 classes some never occur, some are never predicted, and some are only predicted.
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(1, 10, (60,), generator=generator)
    predictions = torch.where(
        torch.rand(60, generator=generator) < 0.5, labels, torch.randint(3, 12, (60,), generator=generator)
    )
    assert (
        confusion_matrix(labels, predictions, 12).tolist()
        == metrics.confusion_matrix(labels, predictions, labels=range(12)).tolist()
    )
    scores = class_scores(labels, predictions, 12)
    theirs = metrics.precision_recall_fscore_support(labels, predictions, labels=range(12), zero_division=0)
    for mine, other in zip((scores.precision, scores.recall, scores.f1, scores.support), theirs, strict=True):
        assert mine.tolist() == pytest.approx(other.tolist())
    for average, mine in (("macro", scores.macro()), ("weighted", scores.weighted())):
        *theirs, _ = metrics.precision_recall_fscore_support(labels, predictions, average=average, zero_division=0)
        assert (mine.precision, mine.recall, mine.f1) == pytest.approx(theirs)


def test_the_report_is_plain_and_complete():
    report = classification_report(LABELS, PREDICTIONS, ("a", "b", "c"))
    assert json.loads(json.dumps(report)) == report
    assert report["accuracy"] == pytest.approx(4 / 6)
    assert report["classes"][0] == {"name": "a", "precision": 1, "recall": 2 / 3, "f1": 4 / 5, "support": 3}
    assert [entry["name"] for entry in report["classes"]] == ["a", "b", "c"]
    assert report["confusion"] == [[0, 0, 2], [0, 1, 1], [1, 1, 1], [1, 2, 1], [2, 2, 1]]
    assert report["macro"].keys() == report["weighted"].keys() == {"precision", "recall", "f1"}


def test_many_classes_take_no_square_of_memory():
    # The dense matrix of so many classes has 2.5 billion cells.
    report = classification_report(torch.tensor([0, 49_999]), torch.tensor([49_999, 49_999]), range(50_000))
    assert report["confusion"] == [[0, 49_999, 1], [49_999, 49_999, 1]]


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([], [], "at least 1"),
        ([0, 1], [0], r"same length.*\(2,\) and \(1,\)"),
        ([0, 1], [[0.5, 0.5], [1.0, 0.0]], r"argmax\(1\)"),
        ([0, 3], [0, 1], "labels go from 0 to 3; 3 classes are 0 to 2"),
        ([0, 1], [-1, 1], "predictions go from -1 to 1"),
    ],
)
def test_what_does_not_fit_is_refused(labels, predictions, message):
    with pytest.raises(NetmorphError, match=message):
        class_scores(torch.tensor(labels), torch.tensor(predictions), 3)
