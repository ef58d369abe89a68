"""A self-contained HTML page of any paragraphs, tables and pictures, in the look of a run's report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table as RichTable

from netmorph.files import write_text
from netmorph.report.figures import Drawing, image_format, save, svg
from netmorph.report.templates import render


@dataclass(frozen=True)
class Picture:
    """A figure of a page.

    Attributes:
        id: in links to it, and the name of its file.
        text: what it shows, in a sentence or two.
        height: in px; it is 1000 px wide.
    """

    id: str
    title: str
    text: str
    draw: Drawing
    height: float

    def svg(self) -> str:
        """The figure as an element of the page."""
        return svg(self.draw, self.id, f"{self.title}. {self.text}", self.height)


@dataclass(frozen=True)
class Table:
    """Texts in rows and columns; the first column names its row.

    Attributes:
        text: what is in it, in a sentence or two.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: str = ""


@dataclass(frozen=True)
class Page:
    """Paragraphs (the first one in larger letters), then tables, then pictures."""

    title: str
    paragraphs: Sequence[str]
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()

    def write(self, path: Path) -> Path:
        """Write it, with its pictures in it.

        Returns:
            Where it is.

        Raises:
            MissingExtra: the packages that draw reports are not installed.
            SaveError: the file could not be written.
        """
        write_text(path, render("plain_page.html", **vars(self)))
        return path

    def save_pictures(self, folder: Path, suffix: str = "png") -> list[Path]:
        """Write each picture as a file of its own, named by its id, for papers and slides.

        Args:
            suffix: png, svg, pdf or what else matplotlib can write.

        Raises:
            NetmorphError: a suffix that is unknown.
            MissingExtra: matplotlib is not installed.
            SaveError: a file could not be written.
        """
        kind = image_format(suffix)
        files = [folder / f"{picture.id}.{kind}" for picture in self.pictures]
        for picture, file in zip(self.pictures, files, strict=True):
            save(picture.draw, file, picture.height)
        return files

    def view(self) -> Group:
        """The same for a terminal, without pictures."""
        parts: list[RenderableType] = [escape(self.title), *(f"\n{escape(text)}" for text in self.paragraphs)]
        for table in self.tables:
            shown = RichTable(title=f"\n{escape(table.title)}", title_justify="left", box=box.SIMPLE_HEAD)
            for number, column in enumerate(table.columns):
                shown.add_column(escape(column), justify="right" if number else "left", overflow="fold")
            for row in table.rows:
                shown.add_row(*map(escape, row))
            parts += [shown, *([escape(table.text)] if table.text else [])]
        return Group(*parts)
