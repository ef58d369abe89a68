"""Classes of architectures whose converged ranks agree: clusters of the profiles of ranks over depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from netmorph.errors import require
from netmorph.ranks.answers import Kind, Numbers, log_ranks, weights
from netmorph.ranks.looks import Look
from netmorph.ranks.rows import Row, StudyError

PLACES = 5  # relative depths, from the first hidden layer to the last
FEWEST = 5  # networks that can be clustered
SMALLEST = 3  # networks of a class


@dataclass(frozen=True)
class Classes:
    """How networks fall into classes.

    Attributes:
        labels: of each network, its class from 0; -1 is in none.
        error: the distance within which profiles agree.
        map: [N, 2], the profiles in the plane in which they differ most.
        shares: of the profiles' variance, along both directions of the map.
    """

    labels: NDArray[np.int64]
    error: float
    map: Numbers
    shares: tuple[float, float]

    @property
    def count(self) -> int:
        """Of the classes."""
        return int(self.labels.max()) + 1

    @property
    def outside(self) -> int:
        """How many networks are in no class."""
        return int((self.labels < 0).sum())


def profile(row: Row, look: Look, kind: Kind) -> Numbers:
    """[PLACES]: the logarithm of the effective rank at relative depths, so that networks of any depth compare."""
    ranks = log_ranks(row, look, kind)
    found: Numbers = np.interp(np.linspace(0, 1, PLACES), np.linspace(0, 1, len(ranks)), ranks)
    return found


def profiles(rows: Sequence[Row], kind: Kind, *, untrained: bool = False) -> Numbers:
    """[N, PLACES] of the converged networks, or of the same before training."""
    return np.stack([profile(row, row.first if untrained else row.last, kind) for row in rows])


def error_of(matched: Sequence[tuple[Row, Row]], kind: Kind) -> float:
    """How far apart the profiles of two seeds of one architecture lie: the median.

    Raises:
        StudyError: no architecture was trained with two seeds.
    """
    if not matched:
        raise StudyError("no architecture was trained with two seeds, so that it is unknown what agrees within error")
    return float(np.median([np.linalg.norm(profile(a, a.last, kind) - profile(b, b.last, kind)) for a, b in matched]))


def classes(found: Numbers, error: float) -> Classes:
    """Clusters of profiles by HDBSCAN; those whose nearest members are closer than the error are one.

    (scikit-learn's `cluster_selection_epsilon` means the same, and fails with NumPy 2.4.)

    Source: R. Campello, D. Moulavi, J. Sander, Density-based clustering based on hierarchical density estimates, 2013.

    Args:
        found: [N, PLACES].
        error: a distance, in units of the logarithm of a rank.

    Raises:
        StudyError: there are fewer than five networks.
        MissingExtra: scikit-learn is not installed.
    """
    if len(found) < FEWEST:
        raise StudyError(f"classes are looked for among at least {FEWEST} networks that were trained; got {len(found)}")
    cluster = require("sklearn.cluster", extra="data")
    labels = _joined(found, cluster.HDBSCAN(min_cluster_size=SMALLEST, copy=True).fit(found).labels_, error)
    centred = found - found.mean(0)
    _, values, directions = np.linalg.svd(centred, full_matrices=False)
    total = float(values @ values) or 1.0
    shares = [float(value**2) / total for value in values[:2]]
    return Classes(labels, error, centred @ directions[:2].T, (shares[0], shares[1]))


def classified(rows: Sequence[Row], again: Sequence[tuple[Row, Row]], kind: Kind = weights) -> tuple[Classes, Classes]:
    """The classes of networks before training, and of the same converged, both within the error of converged ranks.

    Raises:
        StudyError: there are fewer than five networks, or none was trained with two seeds.
        MissingExtra: scikit-learn is not installed.
    """
    error = error_of(again, kind)
    return classes(profiles(rows, kind, untrained=True), error), classes(profiles(rows, kind), error)


def _joined(found: Numbers, labels: NDArray[np.int64], error: float) -> NDArray[np.int64]:
    """Labels in which classes closer than the error are the same, numbered in the order of the networks."""
    near = np.linalg.norm(found[:, None] - found[None], axis=2) < error
    labels = labels.copy()
    for one, other in zip(*np.nonzero(near), strict=True):
        if labels[one] >= 0 and labels[other] >= 0:
            labels[labels == labels[other]] = labels[one]
    numbers = {-1: -1}
    for label in labels.tolist():
        numbers.setdefault(label, len(numbers) - 1)
    return np.asarray([numbers[label] for label in labels.tolist()], dtype=np.int64)


def agreement(one: Classes, other: Classes) -> float:
    """How alike two classifications of the same networks are: the adjusted Rand index, 1 if equal, 0 if by chance.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    metrics = require("sklearn.metrics", extra="data")
    return float(metrics.adjusted_rand_score(one.labels, other.labels))
