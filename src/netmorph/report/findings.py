"""A self-contained HTML page of several things that were tried, each with a verdict in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from netmorph.files import write_text
from netmorph.report.plain_page import Picture, Table
from netmorph.report.templates import render


@dataclass(frozen=True)
class Finding:
    """What came of something that was tried.

    Attributes:
        id: in links to it.
        verdict: a sentence, in larger letters.
        text: what was compared, and how sure that is.
        places: files that tell more, from where the page is.
        commands: as they are typed to do the same.
    """

    id: str
    title: str
    verdict: str
    text: str
    table: Table
    pictures: Sequence[Picture] = ()
    places: Sequence[str] = ()
    commands: Sequence[str] = ()


def write(path: Path, title: str, paragraphs: Sequence[str], findings: Sequence[Finding]) -> Path:
    """Write the page, with all pictures in it.

    Returns:
        Where it is.

    Raises:
        MissingExtra: the packages that draw reports are not installed.
        SaveError: the file could not be written.
    """
    write_text(path, render("findings.html", title=title, paragraphs=paragraphs, findings=findings))
    return path
