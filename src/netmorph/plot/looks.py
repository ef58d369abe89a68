"""How lines are told apart, and how large pictures and their letters are: tables of values."""

from __future__ import annotations

from dataclasses import dataclass

# Six colours whose contrast with white is at least 3, and with each other at least 1.3 in grey; readers of any colour
# vision tell them apart (tests/plot/test_looks.py computes both). In the order in which few of them differ most.
COLOURS = ("#0009a1", "#f76425", "#94296e", "#008f59", "#004e00", "#0058f8")
DASHES = (
    "-",
    (0, (6, 1.6)),
    (0, (1.2, 1.2)),
    (0, (6, 1.4, 1.2, 1.4)),
    (0, (3, 1.4)),
    (0, (7, 1.2, 1.2, 1.2, 1.2, 1.2)),
)
MARKERS = ("o", "s", "^", "D", "v", "P")
INK, GREY, PALE = "#1f2933", "#6b7785", "#e3e7eb"


@dataclass(frozen=True)
class Look:
    """Of one line."""

    colour: str
    dash: str | tuple[int, tuple[float, ...]]
    marker: str


def look(number: int) -> Look:
    """Of the line of a number from 0. From the seventh on colours return, with other dashes and markers."""
    turn = number // len(COLOURS)
    own = (number + turn) % len(DASHES)
    return Look(COLOURS[number % len(COLOURS)], DASHES[own], MARKERS[own])


@dataclass(frozen=True)
class Size:
    """Of a picture.

    Attributes:
        width: in inches.
        height: of a panel, in inches.
        per_row: panels beside each other, at most.
        letters: in points; small: of numbers at the axes and of labels at marks.
        stroke: width of lines, in points.
        font: a family that matplotlib finds.
    """

    width: float
    height: float
    per_row: int
    letters: float = 8.0
    small: float = 7.0
    stroke: float = 1.2
    font: str = "DejaVu Sans"


# Of a text in two columns: 3.25 and 6.75 inches at ICML, 3.5 and 7.16 at IEEE, which takes these as well.
COLUMN = Size(3.25, 2.0, per_row=1)
PAGE = Size(6.75, 2.3, per_row=3)
SIZES = {"column": COLUMN, "page": PAGE}
