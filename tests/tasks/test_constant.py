"""The answers that look at no input: no other constant does better on the targets that they were made of."""

import pytest
import torch
from torch import Tensor

from netmorph.data import Split
from netmorph.tasks import Task, classification, next_token, regression
from netmorph.train.evaluation import CPU_BATCH, evaluate_constant


def targets_of(kind: str) -> tuple[Task, Tensor, int]:
    generator = torch.Generator().manual_seed(0)
    if kind == "values":
        values = 5 + 3 * torch.randn(2 * CPU_BATCH + 7, 2, generator=generator)
        return regression((4.0, 6.0), (3.0, 2.0)), values, 2
    labels = torch.multinomial(torch.tensor([6.0, 3.0, 1.0]), 30_000, replacement=True, generator=generator)
    return (classification(), labels, 3) if kind == "classes" else (next_token(), labels.view(-1, 6).byte(), 3)


@pytest.mark.parametrize("kind", ["classes", "values", "tokens"])
def test_no_other_constant_is_better(kind: str) -> None:
    task, targets, outputs = targets_of(kind)
    assert task.constant is not None
    best = task.constant.output(targets, outputs)
    loss = evaluate_constant(best, Split(torch.zeros(len(targets), 1), targets), task).loss
    for seed in range(5):
        moved = best + 0.2 * torch.randn(best.shape, generator=torch.Generator().manual_seed(seed))
        assert evaluate_constant(moved, Split(torch.zeros(len(targets), 1), targets), task).loss > loss


def test_a_class_that_train_has_not_costs_something_finite() -> None:
    task = classification()
    assert task.constant is not None
    output = task.constant.output(torch.zeros(9, dtype=torch.long), 3)
    torch.testing.assert_close(output.exp(), torch.tensor([10 / 12, 1 / 12, 1 / 12]))
