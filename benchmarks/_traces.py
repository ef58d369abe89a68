"""Documents as sections, with the figures that they tell and where these say that they come from.

A comment of HTML in a section says so, for it and the sections below it, one `name: value` a line:

    <!-- measured: python -m benchmarks.shrink --data mnist
         at: 1a2b3c4d5 2026-11-30
         code: src/netmorph/shrink benchmarks/shrink.py
         accepted: 2b3c4d5e6 what changed between the two cannot alter a result
    -->
    <!-- quoted: docs/results.md#surgery-on-strangers-models docs/shrink.md -->
    <!-- not measured: prices of the publications -->

`measured` is a command, `at` the commit whose code ran and its date, `code` the files and folders that decide the
result. `accepted`, if it is there, names a later commit up to which somebody has read the changes, and what they found.
Figures that are `quoted` have to stand in one of the sections named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

KINDS = ("measured", "quoted", "not measured")
FIELDS = {"measured": {"at", "code"}, "quoted": set[str](), "not measured": set[str]()}
COMMENT = re.compile(rf"<!--\s*((?:{'|'.join(KINDS)}):.*?)-->", re.DOTALL)
HEADING = re.compile(r"^(#+)\s+(.*)$")
NUMBER = r"(?<![\w.,-])\d[\d,]*(?:\.\d+)?"
# A share, a time, a ratio, a size, a cost. What is written as code, or is part of a link, is left out before.
FIGURE = re.compile(
    rf"({NUMBER})(?:\s?%|\s(?:ms|s|seconds?|minutes?|min|hours?|points?|times (?:as|more|fewer|faster|smaller|the)"
    r"|[kMG]i?B|[MGT]?FLOPs|nats)\b)"
)
CELL = re.compile(rf"^[*~+\s-]*({NUMBER})")
NO_FIGURES = re.compile(r"`[^`]*`|\]\([^)]*\)|\\\(.*?\\\)|https?://\S+")


class TraceError(Exception):
    """A comment in a document that says something else than it may."""


@dataclass(frozen=True)
class Figure:
    """A number that somebody must have measured, with its line."""

    line: int
    number: str


@dataclass(frozen=True)
class Trace:
    """Where figures come from: `kind` is one of `KINDS`, `value` what is behind it, `more` the lines that follow."""

    line: int
    kind: str
    value: str
    more: dict[str, str]


@dataclass
class Section:
    """What stands under a heading, up to the next one.

    Attributes:
        above: the sections that this one is a part of.
        text: its own lines, as they stand.
    """

    document: str
    title: str
    line: int
    level: int
    above: tuple[Section, ...] = ()
    text: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """The name under which it can be linked to."""
        return re.sub(r"[^\w\- ]", "", self.title.lower()).replace(" ", "-")

    def covering(self) -> list[Trace]:
        """What says where its figures come from: its own traces, else those of the nearest section above with any."""
        return next((section.traces for section in (self, *reversed(self.above)) if section.traces), [])


def sections(document: str, text: str) -> list[Section]:
    """A document in Markdown, heading by heading.

    Raises:
        TraceError: a trace without one of its lines, or with one that it has not.
    """
    found = [Section(document, "", 1, 0)]
    for number, line, code in _lines(COMMENT.sub(lambda match: "\n" * match[0].count("\n"), text)):
        if not code and (heading := HEADING.match(line)):
            level = len(heading[1])
            above = tuple(section for section in (*found[-1].above, found[-1]) if section.level < level)
            found.append(Section(document, heading[2], number, level, above))
        else:
            found[-1].text.append(line)
            if not code:
                found[-1].figures += [Figure(number, figure) for figure in _figures(line)]
    for match in COMMENT.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        [*_, section] = (section for section in found if section.line <= line)
        section.traces.append(_trace(document, line, match[1]))
    return found


def untraced(section: Section, all_sections: list[Section]) -> list[Figure]:
    """Figures of a section that nothing traces, or that are not where they are said to be quoted from."""
    traces = section.covering()
    if not traces:
        return section.figures
    if any(trace.kind != "quoted" for trace in traces):
        return []
    sources = [name for trace in traces for name in trace.value.split()]
    known = {number for source in sources for number in _numbers_at(source, all_sections)}
    return [figure for figure in section.figures if not any(_is_rounded(figure.number, other) for other in known)]


def _lines(text: str) -> Iterator[tuple[int, str, bool]]:
    """Each line with its number, and whether it is code (fenced, or indented behind an empty line)."""
    fenced = indented = False
    before = ""
    for number, line in enumerate(text.splitlines(), 1):
        fence = line.lstrip().startswith("```")
        indented = (line.startswith("    ") and (indented or not before.strip())) or (indented and not line.strip())
        yield number, line, fenced or fence or indented
        fenced ^= fence
        before = line


def _figures(line: str) -> list[str]:
    """The numbers of a line that somebody must have measured: shares, times, ratios, and cells that begin with one."""
    plain = NO_FIGURES.sub("", line)
    found = [match[1] for match in FIGURE.finditer(plain)]
    if plain.startswith("|"):
        cells = plain.strip().strip("|").split("|")[1:]
        found += [match[1] for cell in cells if (match := CELL.match(cell))]
    return found


def _trace(document: str, line: int, text: str) -> Trace:
    where = f"{document}:{line}: "
    (kind, value), *rest = [part.split(": ", 1) for part in map(str.strip, text.strip().splitlines())]
    if any(len(part) != 2 for part in rest):
        raise TraceError(f"{where}each line of a trace is `name: value`")
    more = dict(rest)
    if not FIELDS[kind] <= more.keys() or not more.keys() <= FIELDS[kind] | {"accepted"}:
        raise TraceError(f"{where}{kind} has the further lines {sorted(FIELDS[kind])}, not {sorted(more)}")
    return Trace(line, kind, value, more)


def _numbers_at(source: str, all_sections: list[Section]) -> Iterator[str]:
    """All numbers of a document, or of one of its sections with those below it."""
    document, _, anchor = source.partition("#")
    named = [section for section in all_sections if section.document == document]
    chosen = [each for each in named if not anchor or anchor in {part.anchor for part in (each, *each.above)}]
    if not chosen:
        raise TraceError(f"there is no {source}, from which figures are quoted")
    for section in chosen:
        yield from re.findall(NUMBER, "\n".join(section.text))


def _is_rounded(told: str, measured: str) -> bool:
    places = len(told.partition(".")[2])
    exact = float(measured.replace(",", ""))
    return abs(float(told.replace(",", "")) - exact) <= 0.5 * 10**-places + 1e-9
