"""A self-contained HTML page of any paragraphs, tables and pictures, in the look of a run's report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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


def write_plain(
    path: Path, title: str, paragraphs: Sequence[str], tables: Sequence[Table] = (), pictures: Sequence[Picture] = ()
) -> Path:
    """Write a page: paragraphs (the first one in larger letters), then tables, then pictures.

    Returns:
        Where it is.

    Raises:
        MissingExtra: the packages that draw reports are not installed.
        SaveError: the file could not be written.
    """
    text = render("plain_page.html", title=title, paragraphs=paragraphs, tables=tables, pictures=pictures)
    write_text(path, text)
    return path


def save_pictures(pictures: Sequence[Picture], folder: Path, suffix: str = "png") -> list[Path]:
    """Write each picture as a file of its own, named by its id, for papers and slides.

    Args:
        suffix: png, svg, pdf or what else matplotlib can write.

    Raises:
        NetmorphError: a suffix that is unknown.
        MissingExtra: matplotlib is not installed.
        SaveError: a file could not be written.
    """
    kind = image_format(suffix)
    files = [folder / f"{picture.id}.{kind}" for picture in pictures]
    for picture, file in zip(pictures, files, strict=True):
        save(picture.draw, file, picture.height)
    return files
