"""Is every figure of the documents traced to a command and a commit, and none older than the code that it measures?

    python -m benchmarks.traced [DOCUMENT ...] [--sections]

Reads README.md and docs/*.md, or those named, and the history. What a trace looks like is in `benchmarks/_traces.py`,
what counts as a change of code in `benchmarks/_code_age.py` and `_definitions.py`. Ends with status 1 where a figure
has no trace, is not where it is said to be quoted from, or is older than its code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks._code_age import History, HistoryError
from benchmarks._traces import Section, Trace, TraceError, sections, untraced

ROOT = Path(__file__).resolve().parents[1]
SHOWN = 4  # files of a trace that is older than its code, and definitions of each


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", nargs="*", help="of those in README.md and docs/: all if none is named")
    parser.add_argument("--sections", action="store_true", help="each section with figures, and what traces it")
    given = parser.parse_args(arguments)
    found = read(ROOT)
    named = {section.document for section in found}
    if unknown := sorted(set(given.documents) - named):
        parser.error(f"no document {', '.join(unknown)}; there are {', '.join(sorted(named))}")
    asked = [section for section in found if not given.documents or section.document in given.documents]
    missing = list(without_trace(asked, found))
    old = list(older(asked, History(ROOT)))
    if given.sections:
        print(*listed(asked), sep="\n")
    print(*missing, *old, sep="\n")
    figures, traces = sum(len(each.figures) for each in asked), sum(len(each.traces) for each in asked)
    print(f"{figures} figures, {traces} traces: {len(old)} older than their code; {len(missing)} sections without")
    sys.exit(bool(missing or old))


def read(root: Path) -> list[Section]:
    """All sections of README.md and docs/*.md."""
    paths = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    return [section for path in paths for section in sections(str(path.relative_to(root)), path.read_text())]


def without_trace(asked: list[Section], all_sections: list[Section]) -> Iterator[str]:
    """A line for each section with figures that nothing traces."""
    for section in asked:
        if figures := untraced(section, all_sections):
            told = ", ".join(f"{figure.number} (line {figure.line})" for figure in figures[:SHOWN])
            why = "not where it is quoted from" if section.covering() else "without a trace"
            yield f"{section.document}:{section.line}: {section.title}: {len(figures)} figures {why}: {told}"


def older(asked: list[Section], history: History) -> Iterator[str]:
    """A line for each trace whose code has changed since, or that names what the history does not have."""
    for section in asked:
        for trace in section.traces:
            if trace.kind == "measured":
                try:
                    told = _age(trace, history)
                except HistoryError as error:
                    told = str(error)
                if told:
                    yield f"{section.document}:{trace.line}: {section.title}: {told}"


def _age(trace: Trace, history: History) -> str | None:
    since = [trace.more[name].split()[0] for name in ("at", "accepted") if name in trace.more]
    for commit in since:
        if not history.holds(commit):
            raise HistoryError(f"commit {commit} is not part of this history")
    if not (changed := history.changed(since, trace.more["code"].split())):
        return None
    told = [f"{path} ({history.last(path)}: {_shortly(names)})" for path, names in changed.items()]
    return f"measured at {trace.more['at']}, older than {_shortly(told)}"


def _shortly(parts: list[str]) -> str:
    told = [part or "what is loose" for part in parts[:SHOWN]]
    return ", ".join(told) + (f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else "")


def listed(asked: list[Section]) -> Iterator[str]:
    """Each section that tells figures, with what traces them."""
    for section in asked:
        if section.figures:
            traces = ", ".join(f"{trace.kind}: {trace.value}" for trace in section.covering()) or "no trace"
            yield f"{section.document}:{section.line}: {section.title}: {len(section.figures)} figures, {traces}"


if __name__ == "__main__":
    try:
        main()
    except TraceError as error:
        sys.exit(str(error))
