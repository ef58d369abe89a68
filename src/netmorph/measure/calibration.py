"""Whether probabilities say how often they are right, and a temperature that makes them: pure functions of answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from netmorph.errors import NetmorphError

BINS = 15
# Temperatures that are looked at, and how closely: a thousandth of a temperature moves no number that is told.
COLDEST, HOTTEST, CLOSE = 0.02, 50.0, 1e-3
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often answers were right, by how sure they were. Bins are of equal width, `(k / bins, (k + 1) / bins]`.

    Attributes:
        count: int64 [bins], samples whose likeliest class has a probability in the bin.
        confidence: float64 [bins], the mean of these probabilities; 0 in an empty bin.
        accuracy: float64 [bins], the share of these samples that are right; 0 in an empty bin.
    """

    count: Tensor
    confidence: Tensor
    accuracy: Tensor

    @property
    def error(self) -> float:
        """The expected calibration error (ECE), a share: the mean over the samples of |accuracy - confidence| of their
        bin.

        Source: C. Guo et al., On calibration of modern neural networks, 2017, section 2.
        """
        shares = self.count.double() / self.count.sum()
        return float(shares @ (self.accuracy - self.confidence).abs())


def reliability(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> Reliability:
    """How often the likeliest class is right, by its probability.

    Args:
        probabilities: [N, classes].
        labels: int64 [N].

    Raises:
        NetmorphError: other shapes, no samples, numbers that are no probabilities, or no bin.
    """
    probabilities, labels = _checked(probabilities, labels)
    if bins < 1:
        raise NetmorphError(f"reliability is told in 1 bin or more; got {bins}")
    confidence, answer = probabilities.max(1)
    places = (confidence * bins).ceil().long().clamp(1, bins) - 1
    count = torch.bincount(places, minlength=bins)
    filled = count.clamp(min=1)
    right = (answer == labels).double()
    return Reliability(
        count,
        torch.bincount(places, weights=confidence, minlength=bins) / filled,
        torch.bincount(places, weights=right, minlength=bins) / filled,
    )


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """The expected calibration error, see `Reliability.error`; arguments and errors are those of `reliability`."""
    return reliability(probabilities, labels, bins).error


def log_loss(probabilities: Tensor, labels: Tensor) -> float:
    """The mean negative log-likelihood of the true classes, in nats; arguments and errors as in `reliability`."""
    probabilities, labels = _checked(probabilities, labels)
    return float(functional.nll_loss(probabilities.log(), labels))


def brier(probabilities: Tensor, labels: Tensor) -> float:
    """The mean over the samples of the squared distance between probabilities and the true class, from 0 to 2.

    Arguments and errors are those of `reliability`. Source: G. Brier, Verification of forecasts expressed in terms of
    probability, 1950.
    """
    probabilities, labels = _checked(probabilities, labels)
    return float((probabilities - functional.one_hot(labels, probabilities.shape[1])).square().sum(1).mean())


def calibration_report(probabilities: Tensor, labels: Tensor) -> dict[str, Any]:
    """All of it as plain values, for JSON; arguments and errors are those of `reliability`.

    Returns:
        "ece", "nll" (None where a true class was given probability 0), "brier", and "bins": [count, mean probability,
        share that is right] of each bin that is not empty.
    """
    found, lost = reliability(probabilities, labels), log_loss(probabilities, labels)
    rows = zip(found.count.tolist(), found.confidence.tolist(), found.accuracy.tolist(), strict=True)
    return {
        "ece": found.error,
        "nll": lost if math.isfinite(lost) else None,
        "brier": brier(probabilities, labels),
        "bins": [list(row) for row in rows if row[0]],
    }


def temperature(logits: Tensor, labels: Tensor) -> float:
    """What logits are to be divided by so that the loss on these samples is smallest: of validation, not of training.

    The likeliest class stays the same. The loss is convex in the inverse of the temperature, so a search by the golden
    section finds its minimum.

    Source: C. Guo et al., 2017, section 4.2.

    Args:
        logits: [N, classes], or log-probabilities, as an ensemble's.
        labels: int64 [N].

    Returns:
        From `COLDEST` to `HOTTEST`: where every answer is right, colder is always better.

    Raises:
        NetmorphError: other shapes, no samples, or logits that are NaN.
    """
    logits, labels = _pair(logits, labels, "logits")
    wide = logits.log_softmax(1)

    def loss(log_inverse: float) -> float:
        return float(functional.cross_entropy(wide * math.exp(log_inverse), labels))

    low, high = -math.log(HOTTEST), -math.log(COLDEST)
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_left, at_right = loss(left), loss(right)
    while high - low > CLOSE:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - GOLDEN * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + GOLDEN * (high - low)
            at_right = loss(right)
    return math.exp(-(low + high) / 2)


def _checked(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Both on the CPU, in float64 and int64."""
    probabilities, labels = _pair(probabilities, labels, "probabilities")
    low, high = float(probabilities.min()), float(probabilities.sum(1).sub(1).abs().max())
    if low < 0 or high > 1e-3:
        raise NetmorphError(
            f"probabilities of each sample are from 0 and add up to 1; the smallest is {low:.3g}, and a sum is off by "
            f"{high:.3g}. Of logits, take softmax(1)"
        )
    return probabilities, labels


def _pair(answers: Tensor, labels: Tensor, what: str) -> tuple[Tensor, Tensor]:
    if answers.dim() != 2 or labels.dim() != 1 or len(answers) != len(labels) or not len(labels):
        raise NetmorphError(
            f"{what} must have the shape [samples, classes], and labels [samples], at least one; their shapes are "
            f"{tuple(answers.shape)} and {tuple(labels.shape)}"
        )
    if bool(answers.isnan().any()):
        raise NetmorphError(f"some {what} are NaN; a network that gives them is not calibrated, it is broken")
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= answers.shape[1]:
        raise NetmorphError(
            f"the labels go from {lowest} to {highest}; the {what} are of the classes 0 to {answers.shape[1] - 1}"
        )
    return answers.detach().cpu().double(), labels.cpu().long()
