"""Each task against numbers computed by hand."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn import metrics as by_hand
from torch.nn import functional

from netmorph.tasks import TOP5, Criterion, Task, TaskError, classification, next_token, regression


def told_of(task, outputs, targets):
    means = {"loss": task.loss(outputs, targets), **task.numbers(outputs, targets)}
    return task.told({name: float(value) for name, value in means.items()})


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_classification_tells_loss_and_accuracy():
    logits, labels = draw(50, 4), torch.arange(50) % 4
    told = told_of(classification(), logits, labels)
    assert told["loss"] == pytest.approx(by_hand.log_loss(labels, logits.softmax(1)))
    assert told["accuracy"] == pytest.approx(by_hand.accuracy_score(labels, logits.argmax(1)))
    assert classification().score(told) == told["accuracy"]


def test_of_more_than_five_classes_the_five_likeliest_count():
    logits, labels = draw(60, 9), torch.arange(60) % 9
    told = told_of(classification(), logits, labels)
    assert told["top5"] == pytest.approx(by_hand.top_k_accuracy_score(labels, logits, k=5))
    assert told["accuracy"] < told["top5"] < 1
    assert classification().score(told) == told["accuracy"]
    assert dataclasses.replace(classification(), chooses=TOP5).score(told) == told["top5"]
    assert "top5" in told_of(classification(), draw(60, 6), labels % 6)
    assert told_of(classification(), draw(60, 5), labels % 5).keys() == {"loss", "accuracy"}


@pytest.mark.parametrize("weighted", [False, True])
def test_the_softened_loss_of_parts_makes_that_of_the_whole(weighted):
    logits, labels = draw(9, 3), torch.tensor([0, 1, 2, 0, 0, 1, 2, 2, 2])
    weights = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64) if weighted else None
    objective = classification().objective(0.1, weights)
    expected = functional.cross_entropy(logits, labels, weights, label_smoothing=0.1)
    assert objective.loss(logits, labels).item() == pytest.approx(expected.item())
    parts = [slice(0, 2), slice(2, 9)]
    whole = sum(objective.loss(logits[part], labels[part]) * objective.count(labels[part]) for part in parts)
    assert float(whole / objective.count(labels)) == pytest.approx(expected.item())


def test_classes_that_count_nothing_move_nothing():
    objective = classification().objective(0.0, torch.tensor([0.0, 1.0]))
    assert objective.loss(torch.randn(3, 2), torch.zeros(3, dtype=torch.int64)) == 0


@pytest.mark.parametrize("task", [classification(), next_token()], ids=lambda task: task.name)
def test_an_ensemble_answers_with_the_mean_of_probabilities(task):
    several = [draw(6, 5, seed=seed) for seed in range(3)]
    together = task.answers(task.combined(several))
    torch.testing.assert_close(together, sum(each.softmax(-1) for each in several) / 3)


def test_regression_tells_in_units_what_it_trains_on_a_scale():
    values = 300 * draw(40, 1) + 1000
    task = regression([1000.0], [300.0])
    outputs = (values - 1000) / 300 + 0.1 * draw(40, 1, seed=1)
    told, answers = told_of(task, outputs, values), task.answers(outputs)
    assert told["rmse"] == pytest.approx(by_hand.root_mean_squared_error(values, answers))
    assert told["mae"] == pytest.approx(by_hand.mean_absolute_error(values, answers))
    assert told["r2"] == pytest.approx(by_hand.r2_score(values, answers))
    assert told["loss"] == pytest.approx((told["rmse"] / 300) ** 2)
    assert task.score(told) == -told["rmse"]


def test_values_far_from_zero_and_close_together_are_told_right():
    values = 1.7e9 + 1000 * draw(200, 1)
    task = regression([1.7e9], [1000.0])
    outputs = ((values - 1.7e9) / 1000 + 0.01 * draw(200, 1, seed=1)).float()
    told = told_of(task, outputs, values)
    expected = (outputs.double() * 1000 + 1.7e9 - values).square().mean().sqrt().item()
    assert told["rmse"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("value", [1.0, 0.5, -1.7, 3.0, 0.0])
def test_of_equal_targets_nothing_is_explained(value):
    targets = torch.full((4, 1), value)
    assert math.isnan(told_of(regression([0.3], [2.0]), torch.randn(4, 1), targets)["r2"])


def test_the_next_token_tells_perplexity():
    logits, tokens = draw(3, 7, 5), torch.randint(5, (3, 7), generator=torch.Generator().manual_seed(0))
    told = told_of(next_token(), logits, tokens)
    chosen = logits.log_softmax(-1).gather(-1, tokens[..., None])
    assert told["loss"] == pytest.approx(-chosen.mean().item())
    assert told["perplexity"] == pytest.approx(np.exp(-chosen.mean().item()))
    assert told["accuracy"] == pytest.approx((logits.argmax(-1) == tokens).double().mean().item())
    assert next_token().told({"loss": 1e4, "accuracy": 0.0})["perplexity"] < math.inf


@pytest.mark.parametrize(
    ("task", "outputs", "targets", "message"),
    [
        (
            classification(),
            torch.zeros(2, 3, 4),
            torch.tensor([0, 1]),
            r"outputs have shape \(2, 3, 4\); logits of shape",
        ),
        (classification(), torch.zeros(2, 3), torch.tensor([0, 3]), "labels go from 0 to 3.*classes 0 to 2"),
        (regression(), torch.zeros(2), torch.zeros(2, 1), r"\[samples, 1\] was expected"),
        (regression(), torch.zeros(2, 1), torch.zeros(2), "for one column"),
        (next_token(), torch.zeros(2, 4), torch.zeros(2, 4).long(), r"\[samples, positions, tokens\] were expected"),
        (next_token(), torch.zeros(2, 4, 3), torch.full((2, 4), 5), "the token 5, but its outputs are for 3 tokens"),
    ],
)
def test_what_does_not_fit_is_refused(task, outputs, targets, message):
    with pytest.raises(TaskError, match=message):
        task.check(outputs, targets)


def test_two_functions_are_a_task():
    mine = Task("mine", lambda outputs, targets: (outputs - targets).abs().mean())
    assert told_of(mine, torch.ones(3), torch.zeros(3)) == {"loss": 1.0}
    assert mine.score({"loss": 2.0}) == -2.0
    with pytest.raises(TaskError, match="'mine' has none"):
        mine.objective(smoothing=0.1)
    other = Task("other", mine.loss, chooses=Criterion("recall", higher_is_better=True))
    with pytest.raises(TaskError, match="chooses by 'recall', which is not among the numbers that it tells: loss"):
        other.score({"loss": 1.0})


def test_a_criterion_is_told_as_people_read_it():
    share, error = Criterion("accuracy", higher_is_better=True, is_share=True), Criterion("rmse")
    assert (share.text(0.98765), error.text(53.21987), error.text(None), error.text(math.nan)) == (
        *("98.77%", "53.22", "–", "–"),
    )
    assert (share.score(0.5), error.score(2.0), error.value(-2.0)) == (0.5, -2.0, 2.0)
    assert error.score(math.nan) == share.score(math.nan) == -math.inf
    assert Criterion.of(None).name == "accuracy"
    assert Criterion.of({"name": "rmse", "higher_is_better": False, "is_share": False}) == error
