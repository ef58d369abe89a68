"""One network that learns what several answer: the data with their answers beside the targets."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from netmorph.data import Dataset, Part, Split
from netmorph.ensemble.answering import outputs_of
from netmorph.ensemble.selection import EnsembleError
from netmorph.tasks import Task
from netmorph.train.evaluation import Networks

Lesson = Callable[[Tensor, Tensor], Tensor]  # a student's outputs and its teacher's, of equal shapes -> a scalar
WARM = 2.0


@dataclass(frozen=True)
class Softened:
    """Cross-entropy with the teacher's probabilities `[..., classes]`, both softened, times the temperature squared.

    The square keeps the gradients as large as those of the labels. Source: G. Hinton et al., Distilling the knowledge
    in a neural network, 2015.

    Attributes:
        temperature: what logits of both are divided by: above 1, what the teacher thinks of the wrong classes counts
            more.
    """

    temperature: float = WARM

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise EnsembleError(f"a temperature is a finite number above 0; got {self.temperature}")

    def __call__(self, outputs: Tensor, taught: Tensor) -> Tensor:
        """See `Lesson`."""
        student, teacher = ((each / self.temperature).log_softmax(-1) for each in (outputs, taught))
        return -(teacher.exp() * student).sum(-1).mean() * self.temperature**2


def distilled(
    dataset: Dataset, teacher: Networks, *, weight: float = 0.9, lesson: Lesson | None = None, views: int = 1
) -> Dataset:
    """The data set with the answers of a network, or of several together, beside the targets of its training part.

    Train a network on it as on any other: the teacher is asked once, about the samples as they are, and what it thinks
    of an image is learnt for its crops and mirror images, too. A student is validated, tested and chosen by the
    targets alone, as it would be without a teacher.

    Args:
        teacher: networks trained for the task of the data.
        weight: of the lesson in the loss; the task's own has the rest.
        lesson: what is lost by differing from the teacher; `Softened()` for classes and tokens, the mean squared error
            for values.
        views: of an image that the teacher answers by, see `netmorph.train.evaluate`.

    Returns:
        The data for `netmorph.train.train`. What the teacher thinks of blended images, weighted classes or smoothed
        labels nobody knows: recipes that ask for any of these are refused.

    Raises:
        EnsembleError: a weight outside 0 to 1, or the teacher's answers do not fit the targets.
        NetmorphError: see `netmorph.train.evaluate`.
    """
    if not 0 <= weight <= 1:
        raise EnsembleError(f"the weight of what a teacher says is from 0 to 1; got {weight}")
    targets = dataset.train.targets
    values = targets.is_floating_point()
    taught = outputs_of(teacher, dataset.train, dataset, views=views)
    if taught.dim() != targets.dim() + (not values):
        raise EnsembleError(
            f"the teacher gives {tuple(taught.shape)} for targets {tuple(targets.shape)}; classes, tokens or values "
            "can be taught, and answers of other shapes not"
        )
    lesson = lesson or (functional.mse_loss if values else Softened())
    train = with_targets(dataset.train, _beside(targets, taught))
    # Without names of classes, what blends or weighs classes is refused.
    return replace(dataset, train=train, task=_taught(dataset.task, targets, lesson, weight), classes=())


def with_targets(part: Part, targets: Tensor) -> Part:
    """The samples of a part with other targets, one each."""
    return Split(part.inputs, targets) if isinstance(part, Split) else _Retargeted(part, targets)


def _beside(targets: Tensor, taught: Tensor) -> Tensor:
    """Targets [N, ...] and a teacher's outputs for them, as one floating tensor [N, ..., 1 + k], targets first."""
    wide = torch.promote_types(taught.dtype, targets.dtype if targets.is_floating_point() else torch.float32)
    taught = taught[..., None] if taught.dim() == targets.dim() else taught
    return torch.cat([targets[..., None].to(taught.device, wide), taught.to(wide)], -1)


def _taught(task: Task, plain: Tensor, lesson: Lesson, weight: float) -> Task:
    """The task, where targets [B, ...] of training have a teacher's outputs beside them, and others have not.

    Args:
        plain: targets without a teacher: how many dimensions they have tells the two apart.
    """

    def is_taught(targets: Tensor) -> bool:
        return targets.dim() > plain.dim()

    def own(targets: Tensor) -> Tensor:
        return targets[..., 0].to(plain.dtype) if is_taught(targets) else targets

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        if not is_taught(targets):
            return task.loss(outputs, targets)
        learnt = lesson(outputs, targets[..., 1:].reshape(outputs.shape).to(outputs.dtype))
        return weight * learnt + (1 - weight) * task.loss(outputs, own(targets))

    return replace(
        task,
        name=f"{task.name}, distilled",
        loss=loss,
        numbers=lambda outputs, targets: task.numbers(outputs, own(targets)),
        check=lambda outputs, targets: task.check(outputs, own(targets)),
        softened=None,
        constant=None,
    )


@dataclass(frozen=True, eq=False)
class _Retargeted:
    """A part that is read as it lies elsewhere, with targets in memory."""

    part: Part
    targets: Tensor

    def __len__(self) -> int:
        return len(self.part)

    def head(self, count: int) -> Tensor:
        return self.part.head(count)

    def cut(
        self, batch_size: int, order: Tensor | None = None, seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Part`."""
        targets = self.targets if order is None else self.targets[order.to(self.targets.device)]
        read = self.part.cut(batch_size, order, seed)
        for (inputs, _), own in zip(read, targets.split(batch_size), strict=True):
            yield inputs, own

    def digest(self) -> str:
        """SHA-256 of both."""
        found = hashlib.sha256(self.part.digest().encode())
        found.update(self.targets.cpu().contiguous().numpy().data)
        return found.hexdigest()
