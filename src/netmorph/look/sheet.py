"""Small pictures in rows, with captions: as SVG, as a page, and as numbers; it needs no other library."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from torch import Tensor

from netmorph.files import write_text
from netmorph.look.palette import png
from netmorph.look.weights import LookError

LABEL, GAP, LINE, PAD = 130.0, 10.0, 15.0, 8.0  # px: what stands before a row, between pictures, a line, the border
MOST = 712.0  # px that the pictures of a row may take by themselves
SMALLEST = 0.6  # a narrow page shrinks a picture so far, then it is scrolled
LETTER = 6.4  # px, about, of a letter of a caption
# Colours that the colour-blind tell apart (M. Okabe and K. Ito, 2008), and lines that differ in grey.
_STYLE = (
    "<style>.lk{font:12px system-ui,'Segoe UI','DejaVu Sans',sans-serif}.lk text{fill:#1f2933}.lk .s{fill:#52606d;"
    "font-size:11px}.lk .h{font-weight:600}.lk rect{fill:none;stroke:#9aa5b1}.lk .old{stroke:#1f2933;stroke-width:2}"
    ".lk .new{stroke:#0072b2;stroke-width:2;stroke-dasharray:5 3}.lk .twin{stroke:#d55e00;stroke-width:2;"
    "stroke-dasharray:2 2}.lk image{image-rendering:pixelated}@media(prefers-color-scheme:dark){.lk text{fill:#e4e7eb}"
    ".lk .s{fill:#b8c2cc}.lk rect{stroke:#616e7c}.lk .old{stroke:#e4e7eb}.lk .new{stroke:#56b4e9}"
    ".lk .twin{stroke:#e69f00}}</style>"
)
KEY = {"old": "solid frame: old", "new": "dashed: new", "twin": "dotted: new, and equal to another at the edit"}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><title>{title}</title><style>
body{{font:15px/1.5 system-ui,'Segoe UI','DejaVu Sans',sans-serif;margin:0 auto;max-width:960px;padding:1rem;
color:#1f2933;background:#fff;overflow-wrap:anywhere}}h1{{font-size:1.3rem;margin:.2rem 0}}
summary{{cursor:pointer}}.w{{overflow-x:auto}}
table{{border-collapse:collapse;font-size:13px}}td,th{{padding:1px 10px 1px 0;text-align:left;white-space:nowrap}}
@media(prefers-color-scheme:dark){{body{{color:#e4e7eb;background:#16191d}}}}
</style></head><body><h1>{title}</h1>{notes}<div class="w">{picture}</div>
<details><summary>All numbers</summary><div class="w"><table><thead><tr>{head}</tr></thead><tbody>
{rows}</tbody></table></div></details>
</body></html>
"""


@dataclass(frozen=True)
class Panel:
    """One small picture.

    Attributes:
        pixels: uint8 `[h, w, 3]`, see `netmorph.look.palette`.
        caption: what stands below it.
        numbers: what is told of it, ready for JSON.
        values: the numbers that the picture shows, for the JSON; None where they are its pixels.
        mark: "old", "new" or "twin", see `Kin`; or nothing.
    """

    pixels: Tensor
    caption: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)
    values: Tensor | None = None
    mark: str = ""


@dataclass(frozen=True)
class Row:
    """Pictures side by side, and what they have in common."""

    label: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Sheet:
    """Rows of small pictures: `svg`, `html` and `as_json` show them; notebooks do by themselves.

    Attributes:
        title: what is shown.
        rows: from the top.
        notes: sentences that stand above.
        size: px of a picture's width; None for what fits the page.
    """

    title: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    size: float | None = None

    def svg(self, *, notes: bool = True) -> str:
        """The pictures as one SVG element, which needs nothing else.

        Args:
            notes: whether title and notes stand above; a page has them already.
        """
        most = max((len(row.panels) for row in self.rows), default=1) or 1
        size = self.size or max(40.0, min(92.0, MOST / most - GAP))
        width = max(LABEL + most * (size + GAP) + PAD, 420.0)
        out: list[str] = []
        top = PAD
        told = [line for note in (self.title, *self.notes, self.key()) for line in _wrapped(note, width - 2 * PAD)]
        for number, line in enumerate(told if notes else ()):
            top += LINE
            out.append(_text(PAD, top, line, "s" if number else "h"))
        for row in self.rows:
            top += GAP + PAD
            tall = max((_height(panel, size) for panel in row.panels), default=size)
            for number, line in enumerate(_wrapped(row.label, LABEL - PAD)):
                out.append(_text(PAD, top + LINE * (number + 0.8), line, "" if number else "h"))
            lines = 0
            for number, panel in enumerate(row.panels):
                left = LABEL + number * (size + GAP)
                height = _height(panel, size)
                out.append(_image(panel, left, top, size, height))
                captions = _wrapped(panel.caption, size + GAP)
                lines = max(lines, len(captions))
                out += [_text(left, top + tall + LINE * (at + 0.9), line, "s") for at, line in enumerate(captions)]
            top += tall + LINE * lines
        height = top + PAD
        head = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}"'
        room = f"max-width:100%;min-width:{SMALLEST * width:.0f}px;height:auto"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="lk" role="img" {head} style="{room}">'
            f"<title>{escape(self.text())}</title>{_STYLE}{''.join(out)}</svg>"
        )

    def key(self) -> str:
        """What the frames mean, of those that are there."""
        marks = {panel.mark for row in self.rows for panel in row.panels}
        told = ", ".join(text for mark, text in KEY.items() if mark in marks)
        return f"{told[:1].upper()}{told[1:]}." if told else ""

    def html(self) -> str:
        """A page of its own: the pictures, and all numbers as a table."""
        head, *rows = self.table()
        return _PAGE.format(
            title=escape(self.title),
            notes="".join(f"<p>{escape(note)}</p>" for note in (*self.notes, self.key()) if note),
            picture=self.svg(notes=False),
            head="".join(f"<th>{escape(name)}</th>" for name in head),
            rows="\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows),
        )

    def table(self) -> list[list[str]]:
        """What is told of each picture: a header, and a line for each."""
        names = list(dict.fromkeys(name for row in self.rows for panel in row.panels for name in panel.numbers))
        found = [["row", "picture", "kind", *names]]
        for row in self.rows:
            for panel in row.panels:
                numbers = [_number(panel.numbers[name]) if name in panel.numbers else "" for name in names]
                found.append([row.label, panel.caption, panel.mark, *numbers])
        return found

    def as_json(self, *, values: bool = True) -> dict[str, Any]:
        """Everything as plain values, those of the pictures rounded to four digits; or what is told of them alone."""
        rows = [{"label": row.label, "pictures": [_told(panel, values) for panel in row.panels]} for row in self.rows]
        return {"title": self.title, "notes": list(self.notes), "text": self.text(), "rows": rows}

    def text(self) -> str:
        """The pictures in words, for readers who cannot see them."""
        told = [f"{self.title}.", *self.notes]
        for row in self.rows[:12]:
            captions = [f"{panel.caption} ({panel.mark})" if panel.mark else panel.caption for panel in row.panels[:12]]
            told.append(f"{row.label}: {'; '.join(filter(None, captions)) or f'{len(row.panels)} pictures'}.")
        return " ".join(filter(None, told))

    def save(self, path: str | Path, *, values: bool = True) -> Path:
        """Write the pictures (`*.svg`) or the page (`*.html`), and the numbers beside it (`*.json`).

        A name that ends in `.json` asks for the numbers alone.

        Args:
            values: whether the numbers tell each pixel, too, which takes more room than the pictures.

        Raises:
            LookError: another suffix.
            SaveError: a file could not be written.
        """
        path = Path(path)
        match path.suffix.lower():
            case ".svg":
                write_text(path, self.svg())
            case ".html":
                write_text(path, self.html())
            case ".json":
                pass
            case other:
                raise LookError(f"pictures are written as *.svg, a page as *.html, numbers as *.json; got {other!r}")
        write_text(path.with_suffix(".json"), json.dumps(self.as_json(values=values), separators=(",", ":")) + "\n")
        return path

    def _repr_svg_(self) -> str:
        return self.svg()


def below(title: str, sheets: Mapping[str, Sheet]) -> Sheet:
    """Several sheets as one, each below the other; their names stand in front of the labels of their rows."""
    rows = tuple(
        Row(f"{name}\n{row.label}".strip(), row.panels) for name, sheet in sheets.items() for row in sheet.rows
    )
    notes = dict.fromkeys(note for sheet in sheets.values() for note in sheet.notes)
    return Sheet(title, rows, tuple(notes))


def _height(panel: Panel, size: float) -> float:
    height, width, _ = panel.pixels.shape
    return size * min(height / width, 3.0)


def _image(panel: Panel, left: float, top: float, width: float, height: float) -> str:
    place = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
    data = base64.b64encode(png(panel.pixels)).decode()
    return (
        f'<image {place} preserveAspectRatio="none" href="data:image/png;base64,{data}"/>'
        f"<rect {place}{f' class={chr(34)}{panel.mark}{chr(34)}' if panel.mark else ''}/>"
    )


def _text(left: float, top: float, text: str, kind: str) -> str:
    return (
        f'<text x="{left:.1f}" y="{top:.1f}"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}>{escape(text)}</text>'
    )


def _wrapped(text: str, room: float) -> list[str]:
    """A text in lines, broken at spaces, and where it says so."""
    lines: list[str] = []
    for part in filter(None, text.split("\n")):
        line = ""
        for word in part.split():
            if line and LETTER * (len(line) + 1 + len(word)) > room:
                lines.append(line)
                line = ""
            line = f"{line} {word}".strip()
        lines.append(line)
    return lines


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _told(panel: Panel, values: bool) -> dict[str, Any]:
    told = {"caption": panel.caption, "kind": panel.mark, **panel.numbers}
    if values:
        told["values"] = panel.pixels.tolist() if panel.values is None else _rounded(panel.values.double().tolist())
    return {name: value for name, value in told.items() if value != ""}


def _rounded(values: Any) -> Any:
    return [*map(_rounded, values)] if isinstance(values, list) else float(f"{values:.4g}")
