"""How close predicted values are to true ones: a pure function of both."""

import math
from typing import Any

import torch
from torch import Tensor

from netmorph.errors import NetmorphError

# A report stays small, whatever the test set.
POINTS, COLUMNS, BINS = 1000, 4, 30


def value_report(targets: Tensor, predictions: Tensor) -> dict[str, Any]:
    """True and predicted values, and how their differences are distributed, as plain values for JSON.

    Args:
        targets: floating [N, K].
        predictions: floating [N, K].

    Returns:
        "samples", N, and "columns", a list of {"true", "predicted", "edges", "counts"} for each of the first `COLUMNS`
        columns: values of at most `POINTS` samples, evenly spread over all, and the histogram of predicted minus true
        of all samples. A sample whose prediction is not finite is in neither.

    Raises:
        NetmorphError: other shapes, or no samples.
    """
    if targets.ndim != 2 or targets.shape != predictions.shape or not len(targets):
        raise NetmorphError(
            "targets and predictions must have the same shape [samples, columns] with at least one sample; their "
            f"shapes are {tuple(targets.shape)} and {tuple(predictions.shape)}"
        )
    pairs = zip(targets.cpu().double().T[:COLUMNS], predictions.cpu().double().T[:COLUMNS], strict=True)
    return {"samples": len(targets), "columns": [_column(true, predicted) for true, predicted in pairs]}


def _column(true: Tensor, predicted: Tensor) -> dict[str, Any]:
    finite = predicted.isfinite()
    true, predicted = true[finite], predicted[finite]
    if not len(true):
        return {"true": [], "predicted": [], "edges": [], "counts": []}
    shown = torch.linspace(0, len(true) - 1, min(len(true), POINTS), dtype=torch.float64).long()
    counts, edges = torch.histogram(predicted - true, min(BINS, math.isqrt(len(true) - 1) + 1))
    return {
        "true": true[shown].tolist(),
        "predicted": predicted[shown].tolist(),
        "edges": edges.tolist(),
        "counts": counts.long().tolist(),
    }
