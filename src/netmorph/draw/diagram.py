"""A picture of a network, or of the difference of two, in all its forms."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from netmorph.draw import page, svg
from netmorph.draw.boxes import Box, Change, Channels
from netmorph.draw.folding import folded, name_in, shown, structure
from netmorph.draw.layout import lay
from netmorph.errors import NetmorphError
from netmorph.files import write_text
from netmorph.wording import compact, flops_text

WIDE, TALL = 900.0, 2300.0  # px that a picture may take by itself
TRIES = 60  # structures that are looked at for that


class DrawError(NetmorphError):
    """There is nothing to draw, or no such kind of file."""


@dataclass(frozen=True, repr=False)
class Diagram:
    """Boxes with a title: `svg`, `html` and `as_json` show them; notebooks do by themselves.

    Attributes:
        title: what is drawn.
        root: the whole network, with equal boxes in a row drawn as one.
        groups: what is told of each channel group.
        notes: sentences that stand above the picture.
    """

    title: str
    root: Box
    groups: Mapping[str, Channels] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @staticmethod
    def of(title: str, whole: Box, groups: Mapping[str, Channels], notes: Sequence[str] = ()) -> Diagram:
        """The diagram of a network that was read; equal boxes become one here."""
        return Diagram(title, folded(whole), groups, tuple(notes))

    def at(self, depth: int | None = None) -> Box:
        """What a picture shows: boxes in boxes down to a depth; None for as deep as a page takes.

        Raises:
            DrawError: a depth below one.
        """
        if depth is not None and depth < 1:
            raise DrawError(f"depth is how many boxes may lie in each other, 1 or more; got {depth}")
        if depth is not None:
            return shown(self.root, lambda box, level: level < depth)
        return _as_fits(self.root)

    def svg(self, depth: int | None = None) -> str:
        """The picture as one SVG element, which needs nothing else.

        Args:
            depth: how many boxes may lie in each other; None for as many as a page takes.

        Raises:
            DrawError: a depth below one.
        """
        notes = [self.title, self.numbers(), *self.notes, svg.key(self.root)]
        return svg.svg(self.at(depth), self.text(), notes, self.groups)

    def html(self) -> str:
        """A page of its own: the picture, each box to be unfolded below it, and all numbers as a table."""
        picture = svg.svg(self.at(), self.text(), (), self.groups)
        notes = [self.numbers(), *self.notes, svg.key(self.root)]
        return page.page(self.title, picture, self.root, self.groups, notes)

    def as_json(self) -> dict[str, Any]:
        """The whole network as plain values, also what a picture leaves out."""
        groups = {name: asdict(group) for name, group in self.groups.items()}
        return {"title": self.title, "notes": list(self.notes), "groups": groups, "network": self.root.as_json()}

    def save(self, path: str | Path, depth: int | None = None) -> Path:
        """Write the picture (`*.svg`), the page (`*.html`) or the numbers (`*.json`), whole or not at all.

        Raises:
            DrawError: another suffix, or a depth below one.
            SaveError: the file could not be written.
        """
        path = Path(path)
        match path.suffix.lower():
            case ".svg":
                text = self.svg(depth)
            case ".html":
                text = self.html()
            case ".json":
                text = json.dumps(self.as_json(), indent=1) + "\n"
            case other:
                raise DrawError(f"a picture is written as *.svg, a page as *.html, numbers as *.json; got {other!r}")
        write_text(path, text)
        return path

    def numbers(self) -> str:
        """What the network costs, in a line; of two, what changes."""
        root, was = self.root, self.root.was
        if was is None:
            flops = f", {flops_text(root.flops)} for one input" if root.flops else ""
            return f"{compact(root.parameters)} parameters{flops}"
        return (
            f"{compact(was.parameters)} → {compact(root.parameters)} parameters, "
            f"{flops_text(was.flops)} → {flops_text(root.flops)} for one input"
        )

    def text(self) -> str:
        """The picture in words, for readers who cannot see it."""
        told = [f"{self.title}: {self.numbers()}.", *self.notes]
        if self.root.was is not None:
            changes = [
                f"{box.change} {name_in(box, '')} ({box.kind})"
                for box in self.root.walk()
                if box.change not in (None, Change.SAME, Change.OTHER)
            ]
            told.append("; ".join(changes[:40]) + ("; ..." if len(changes) > 40 else "") or "Nothing differs")
        else:
            told.append("From top to bottom: " + ", ".join(_words(box) for box in self.root.inside[:40]) + ".")
        return " ".join(told)

    def __repr__(self) -> str:
        return f"<Diagram of {self.title}: {self.numbers()}>"

    def _repr_svg_(self) -> str:
        return self.svg()


def _words(box: Box) -> str:
    times = f"{box.times} × " if box.times > 1 else ""
    return f"{times}{box.kind} {name_in(box, '')}".strip()


def _as_fits(root: Box) -> Box:
    """As many structures opened as a page takes: first those that hold the most parameters."""
    held: dict[Hashable, int] = {}
    for box in root.walk():
        if box.inside and box is not root:
            held[structure(box)] = held.get(structure(box), 0) + box.parameters * box.times
    candidates = sorted(held, key=lambda key: -held[key])  # what is in another box comes behind it, as it holds no more
    opened: set[Hashable] = set()
    best = shown(root, lambda box, _: False)
    for candidate in candidates[:TRIES]:
        tried = {*opened, candidate}
        box = shown(root, lambda box, _, tried=tried: structure(box) in tried)  # type: ignore[misc]
        laid = lay(box, svg.lines)
        if laid.width <= WIDE and laid.height <= TALL:
            best, opened = box, tried
    return best
