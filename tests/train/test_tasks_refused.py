"""A task whose functions do not give what training needs is refused before the first step."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from netmorph.tasks import Criterion, Task, TaskError
from netmorph.train import Recipe, train
from tests.train.other_tasks import regression


def absolute(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).abs().mean()


def each(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).abs()


def number(outputs: Tensor, targets: Tensor) -> float:
    return float((outputs - targets).detach().abs().mean())


def failing(outputs: Tensor, targets: Tensor) -> Tensor:
    raise KeyError("a thing")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            Task("mine", each),
            r"'loss' of the task 'mine' must be a scalar tensor.*\(2, 2\).*Is a .mean\(\) missing",
        ),
        (Task("mine", number), "'loss' of the task 'mine' must be a scalar tensor.*it is float"),
        (Task("mine", failing), r"the loss of the task 'mine' fails on outputs of shape \(2, 2\).*KeyError: 'a thing'"),
        (Task("mine", absolute, lambda o, t: {"far": each(o, t)}), "'far' of the task 'mine' must be a scalar tensor"),
        (Task("mine", absolute, each), "the numbers of the task 'mine' must be a dict of tensors"),
        (Task("mine", absolute, chooses=Criterion("far")), "chooses by 'far', which is not among the numbers"),
    ],
)
def test_a_task_that_gives_something_else_is_refused(task: Task, message: str) -> None:
    model, data = regression()
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(TaskError, match=message):
        train(model, replace(data, task=task), Recipe(epochs=1))
    assert all(map(torch.equal, before, model.parameters()))


def test_a_task_of_ones_own_trains_and_chooses() -> None:
    model, data = regression()
    history = train(model, replace(data, task=Task("mine", absolute)), Recipe(epochs=3, learning_rate=0.01))
    assert history.best.score == max(epoch.score for epoch in history)
    assert [epoch.score for epoch in history] == [-epoch.validation["loss"] for epoch in history]
