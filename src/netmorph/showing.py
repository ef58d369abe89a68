"""How values show themselves: in a line at a prompt, as a table in a notebook; never a wall of tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

MOST, LONGEST = 20, 160  # rows of a table, letters of a cell; what is beyond is told of, or cut
Cell = str | int | float | bool | None


@dataclass(frozen=True)
class View:
    """What is shown of a value.

    Attributes:
        title: in a line, without an end mark.
        columns: their names.
        rows: below those; made when a table is asked for. Where there are more than `MOST`, those in the middle are
            left out, and their number stands there.
        strong: which rows are set in bold, by their place.
        notes: sentences below.
    """

    title: str
    columns: Sequence[str] = ()
    rows: Iterable[Sequence[Cell]] = ()
    strong: frozenset[int] = frozenset()
    notes: Sequence[str] = ()

    def html(self) -> str:
        """A heading and a table, which need no style sheet and no script."""
        values = [*self.rows]
        rows = [_row(cells, number in self.strong) for number, cells in enumerate(values)]
        left_out = len(rows) - MOST
        if left_out > 0:
            gap = f'<tr><td colspan="{len(self.columns)}" {_LEFT}>… {left_out:,} more …</td></tr>'
            rows[MOST // 2 : MOST // 2 + left_out] = [gap]
        parts = [f"<b>{escape(self.title)}</b>"]
        if rows:
            below = zip(self.columns, values[0], strict=True)
            heads = "".join(f'<th scope="col" {_side(cell)}>{escape(name)}</th>' for name, cell in below)
            parts.append(f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>")
        parts += [f"<div>{escape(note)}</div>" for note in self.notes]
        return f"<div>{''.join(parts)}</div>"


class Shows(ABC):
    """A value that shows itself as its `view` says. A dataclass that is one has `repr=False`, as its own would win."""

    @abstractmethod
    def view(self) -> View:
        """What is shown."""

    def __repr__(self) -> str:
        return f"<{self.view().title}>"

    def _repr_html_(self) -> str:
        return self.view().html()


_LEFT, _RIGHT = 'style="text-align:left"', 'style="text-align:right"'


def _row(cells: Sequence[Cell], is_strong: bool) -> str:
    told = [f"<td {_side(cell)}>{_said(cell, is_strong)}</td>" for cell in cells]
    return f"<tr>{''.join(told)}</tr>"


def _said(cell: Cell, is_strong: bool) -> str:
    text = escape(_text(cell))
    return f"<b>{text}</b>" if is_strong else text


def _side(cell: Cell) -> str:
    return _LEFT if isinstance(cell, str | bool | None) else _RIGHT


def _text(value: Cell) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case _:
            line = " ".join(value.split())
            return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
