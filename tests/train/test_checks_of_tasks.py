"""A task of one's own that training cannot use is told before the first step."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from netmorph.data import Dataset, tensors
from netmorph.tasks import Criterion, Task, TaskError, regression
from netmorph.train.loop import train
from netmorph.train.nonfinite import NotFinite
from netmorph.train.recipe import Recipe

ONE_EPOCH = Recipe(epochs=1, batch_size=8)


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.mse_loss(outputs[:, 0], targets)


def rows(task: Task) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    return tensors(
        torch.randn(40, 3, generator=generator),
        500 + torch.randn(40, generator=generator),
        task=task,
        outputs=1,
    )


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Task("mine", lambda outputs, targets: squared(outputs, targets).detach()), "has no gradient"),
        (Task("mine", lambda outputs, targets: squared(outputs, targets).round().long()), "has no gradient"),
        (Task("mine", lambda outputs, targets: torch.ones(())), "has no gradient"),
        (Task("mine", lambda outputs, targets: squared(outputs, targets) + 0j), r"scalar tensor.*complex64"),
        (
            Task("mine", lambda outputs, targets: (outputs - targets).abs().mean()),
            r"\(2, 1\) meet targets of shape \(2,",
        ),
        (
            Task("mine", squared, lambda outputs, targets: {"mae": (outputs - targets).abs().mean()}),
            "'mae'.*meet targets",
        ),
        (
            Task("mine", squared, lambda outputs, targets: {"loss": outputs.mean()}),
            "without 'loss', which is told anyway",
        ),
        (Task("mine", squared, told=lambda means: {"a": 1.0}), "a dict of numbers with 'loss' in it, got {'a': 1.0}"),
        (Task("mine", squared, told=lambda means: {**means, "a": "b"}), "a dict of numbers"),
        (Task("mine", squared, told=lambda means: {**means, "a": 1 / 0}), "the told of the task 'mine' fails: ZeroDiv"),
        (
            Task("mine", lambda outputs, targets: outputs.sub_(targets[:, None]).square().mean()),
            "writes to the outputs",
        ),
        (Task("mine", squared, chooses=Criterion("a")), "chooses by 'a', which is not among"),
        (regression(), r"the targets are torch.float32 of shape \(27,\).*targets\[:, None\] for one column"),
    ],
)
def test_what_training_cannot_use_is_refused(task: Task, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        train(nn.Linear(3, 1), rows(task), ONE_EPOCH)


def test_shapes_may_differ_where_samples_meet_their_own_targets() -> None:
    task = Task("mine", lambda outputs, targets: (outputs - targets[:, None]).square().mean())
    assert train(nn.Linear(3, 1), rows(task), ONE_EPOCH).best.validation["loss"] > 0


def test_a_number_that_chooses_and_is_never_finite_is_told() -> None:
    task = Task("mine", squared, lambda outputs, targets: {"a": targets.mean() * torch.nan}, chooses=Criterion("a"))
    with pytest.raises(NotFinite, match="'a', which chooses the best epoch, was NaN or infinite"):
        train(nn.Linear(3, 1), rows(task), ONE_EPOCH)


def test_what_chooses_says_which_way_it_is_good() -> None:
    with pytest.raises(TaskError, match=r"Criterion\('mae', higher_is_better=...\)"):
        Task("mine", squared, chooses="mae")  # type: ignore[arg-type]


@pytest.mark.parametrize(("mean", "std"), [(5.0, 2.0), ((1.0, 2.0), (1.0,)), ((0.0,), (0.0,)), (("a",), (1.0,))])
def test_the_scale_of_a_regression_is_checked(mean: object, std: object) -> None:
    with pytest.raises(TaskError, match="a mean and a std above 0 for each column"):
        regression(mean, std)  # type: ignore[arg-type]
