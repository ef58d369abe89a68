"""How well each class is recognized: pure functions of labels and predictions."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from netmorph.errors import NetmorphError


@dataclass(frozen=True)
class Means:
    """Means over the classes, shares in [0, 1]."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, eq=False)
class ClassScores:
    """How well each class is recognized; a share of nothing (0 / 0) is 0, as scikit-learn has it.

    Attributes:
        precision: float64 [C], of what was predicted as the class, the share that is of it.
        recall: float64 [C], of the samples of the class, the share that was predicted as it.
        f1: float64 [C], the harmonic mean of both.
        support: int64 [C], samples of the class.
        occurs: bool [C], the class has samples or was predicted; the others are left out of the macro mean.
    """

    precision: Tensor
    recall: Tensor
    f1: Tensor
    support: Tensor
    occurs: Tensor

    def macro(self) -> Means:
        """Every class that occurs counts the same."""
        return self._means(self.occurs)

    def weighted(self) -> Means:
        """Every sample counts the same."""
        return self._means(self.support)

    def _means(self, weights: Tensor) -> Means:
        shares = weights.double() / weights.sum()
        return Means(*((column @ shares).item() for column in (self.precision, self.recall, self.f1)))


def class_scores(labels: Tensor, predictions: Tensor, classes: int) -> ClassScores:
    """Precision, recall and F1 of each class.

    Args:
        labels: int64 [N], the true classes, 0 to `classes` - 1.
        predictions: int64 [N], the predicted ones: `probabilities.argmax(1)`, say.

    Raises:
        NetmorphError: no samples, different lengths, or a class out of range.
    """
    labels, predictions = _checked(labels, predictions, classes)
    right = torch.bincount(labels[labels == predictions], minlength=classes)
    support = torch.bincount(labels, minlength=classes)
    predicted = torch.bincount(predictions, minlength=classes)
    return ClassScores(
        precision=right.double() / predicted.clamp(min=1),
        recall=right.double() / support.clamp(min=1),
        f1=2 * right.double() / (support + predicted).clamp(min=1),
        support=support,
        occurs=support + predicted > 0,
    )


def confusion_matrix(labels: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """How often each class was taken for which; arguments and errors are those of `class_scores`.

    Returns:
        int64 [classes, classes]; row: the true class, column: the predicted one.
    """
    labels, predictions = _checked(labels, predictions, classes)
    cells = torch.bincount(labels * classes + predictions, minlength=classes * classes)
    return cells.view(classes, classes)


def classification_report(labels: Tensor, predictions: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """All of it as plain values, for JSON; arguments and errors are those of `class_scores`.

    Returns:
        "accuracy", "macro" and "weighted" ({"precision", "recall", "f1"} each), "classes" (a list of {"name",
        "precision", "recall", "f1", "support"}, by label) and "confusion": [true, predicted, count] for each cell of
        the confusion matrix that is not zero, because that of thousands of classes is nothing but zeros.
    """
    classes = len(names)
    scores = class_scores(labels, predictions, classes)
    labels, predictions = _checked(labels, predictions, classes)
    cells, counts = (labels * classes + predictions).unique(return_counts=True)
    columns = (scores.precision, scores.recall, scores.f1, scores.support)
    return {
        "accuracy": (labels == predictions).double().mean().item(),
        "macro": asdict(scores.macro()),
        "weighted": asdict(scores.weighted()),
        "classes": [
            dict(zip(("name", "precision", "recall", "f1", "support"), row, strict=True))
            for row in zip(names, *(column.tolist() for column in columns), strict=True)
        ],
        "confusion": torch.stack([cells // classes, cells % classes, counts], 1).tolist(),
    }


def _checked(labels: Tensor, predictions: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Both on the CPU."""
    if labels.dim() != 1 or labels.shape != predictions.shape or len(labels) == 0:
        raise NetmorphError(
            "labels and predictions must be two vectors of the same length, at least 1; their shapes are "
            f"{tuple(labels.shape)} and {tuple(predictions.shape)}. Of probabilities, take argmax(1)"
        )
    for name, indices in (("labels", labels), ("predictions", predictions)):
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= classes:
            raise NetmorphError(f"the {name} go from {low} to {high}; {classes} classes are 0 to {classes - 1}")
    return labels.cpu(), predictions.cpu()
