"""One class for each sample: images or rows of a table."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from netmorph.tasks.criterion import ACCURACY, TOP5
from netmorph.tasks.task import Constant, Exhibit, Objective, Task, TaskError, share_of

LIKELIEST = 5  # answers that "top5" looks at


def classification(name: str = "classification") -> Task:
    """Outputs are logits `[B, classes]`, targets labels int64 `[B]`, or probabilities `[B, classes]` in training.

    The loss is cross-entropy in nats. Told are the "accuracy", the share of right answers, which chooses, and of more
    than five classes "top5", the share of samples whose class is among the five likeliest answers. An ensemble answers
    with the mean of its members' probabilities.
    """
    return Task(
        name,
        loss=functional.cross_entropy,
        numbers=_right,
        chooses=ACCURACY,
        combined=mean_of_probabilities,
        answers=_probabilities,
        softened=_softened,
        check=check_logits,
        exhibit=Exhibit.CLASSES,
        constant=Constant("the most frequent class", log_shares),
    )


def mean_of_probabilities(logits: Sequence[Tensor]) -> Tensor:
    """Logits `[..., classes]` whose probabilities are the mean of those of several networks."""
    if len(logits) == 1:
        return logits[0]
    return torch.stack([each.log_softmax(-1) for each in logits]).logsumexp(0)


def log_shares(targets: Tensor, classes: int) -> Tensor:
    """Logits [classes] whose probabilities are the shares of the classes among targets (integers of any shape).

    Each class is counted once more than it occurs, so that one that is new in a test costs much, and not all.
    """
    counts = torch.bincount(targets.flatten(), minlength=classes) + 1
    return (counts.double() / counts.sum()).log().float()


def check_logits(outputs: Tensor, targets: Tensor) -> None:
    """Refuse outputs that are not one number for each sample and class.

    Raises:
        TaskError: they are not `[B, classes]`, or a label is outside the classes.
    """
    if outputs.dim() != 2:
        raise TaskError(
            f"its outputs have shape {tuple(outputs.shape)}; logits of shape [samples, classes] were expected"
        )
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= outputs.shape[1]:
        raise TaskError(
            f"the labels go from {low} to {high}, but its outputs are for the classes 0 to {outputs.shape[1] - 1}; "
            "build it with the data set's class count"
        )


def _right(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    shares = {ACCURACY.name: share_of(outputs.argmax(1) == targets)}
    if outputs.shape[1] > LIKELIEST:
        likeliest = outputs.topk(LIKELIEST, 1).indices
        shares[TOP5.name] = share_of((likeliest == targets[:, None]).any(1))
    return shares


def _probabilities(outputs: Tensor) -> Tensor:
    return outputs.softmax(-1)


def _softened(smoothing: float, weights: Tensor | None) -> Objective:
    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        lost = functional.cross_entropy(outputs, targets, weights, reduction="sum", label_smoothing=smoothing)
        counted = count(targets)
        # A batch whose classes count nothing moves nothing.
        return lost / (counted if isinstance(counted, int) else torch.where(counted > 0, counted, 1))

    def count(targets: Tensor) -> Tensor | int:
        if weights is None:
            return len(targets)
        return (targets @ weights).sum() if targets.is_floating_point() else weights[targets].sum()

    return Objective(loss, count)
