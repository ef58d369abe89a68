"""The tables of a study as a page, and as Markdown with their place in another page."""

from collections.abc import Sequence
from pathlib import Path

from netmorph.errors import NetmorphError
from netmorph.files import write_text
from netmorph.report.plain_page import Page, Table
from netmorph.reproduce.rows import Row, Study
from netmorph.reproduce.runs import Outcome


def page(study: Study, found: Sequence[Outcome]) -> str:
    """What was published and what came out, in Markdown; rows that were not run are left out."""
    parts = [f"### {study.title}", f"    netmorph reproduce {study.name}", study.preface]
    for title, rows in _parts(study, found):
        parts += [f"{title}:", "\n".join([_line(COLUMNS), f"{'|---' * len(COLUMNS)}|", *map(_line, rows)])]
    if found:
        parts.append(_where(found))
    return "\n\n".join(parts) + "\n"


def page_of(study: Study, found: Sequence[Outcome]) -> Page:
    """The same as a page by itself; at least one training is done."""
    best = max(found, key=lambda one: one.accuracy)
    first = f"{len(found)} trainings; the best is {best.row}, seed {best.seed}, with {best.accuracy:.2%}."
    paragraphs = [first, study.preface, _where(found)]
    tables = [
        Table(title, COLUMNS, [[cell.replace("**", "") for cell in cells] for cells in rows])
        for title, rows in _parts(study, found)
    ]
    return Page(study.title, paragraphs, tables)


def _parts(study: Study, found: Sequence[Outcome]) -> list[tuple[str, list[list[str]]]]:
    """Titles, and rows of what was run."""
    by_row = {row.name: [outcome for outcome in found if outcome.row == row.name] for row in study.rows}
    better = "The same networks with better recipes, in at most half the epochs or for the published ones"
    told = [
        (title, [_cells(row, by_row[row.name]) for row in rows if by_row[row.name]])
        for title, rows in (("The published hyper-parameters", study.reproduced), (better, study.improved))
    ]
    return [(title, rows) for title, rows in told if rows]


def insert(text: str, name: str, into: Path) -> None:
    """Put a text between the marks `<!-- NAME -->` and `<!-- /NAME -->` of a page.

    Raises:
        NetmorphError: the page is missing, or has no such marks.
    """
    before, after = around(name, into)
    write_text(into, f"{before}\n\n{text}\n{after}")


def around(name: str, page: Path) -> tuple[str, str]:
    """What is in a page up to the first mark, and from the second one on.

    Raises:
        NetmorphError: the page is missing, or has no such marks.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    try:
        whole = page.read_text()
    except OSError as error:
        raise NetmorphError(f"cannot read {page}: {error}") from error
    if whole.count(start) != 1 or whole.count(end) != 1 or whole.index(start) > whole.index(end):
        raise NetmorphError(f"{page} must hold {start} and {end}, once each, to show where the tables go")
    before, after = whole.split(start)[0], whole.split(end)[1]
    return before + start, end + after


COLUMNS = (
    "row",
    "epochs",
    "published",
    "netmorph",
    "range",
    "runs",
    "in bf16",
    "seconds a run",
    "published accuracy after",
)


def _cells(row: Row, runs: Sequence[Outcome]) -> list[str]:
    accuracies = [outcome.accuracy for outcome in runs]
    mean = sum(accuracies) / len(runs)
    seconds = sum(outcome.seconds for outcome in runs) / len(runs)
    reached = [outcome.seconds_to(row.published.accuracy) for outcome in runs]
    first = [time for time in reached if time is not None]
    told = f"{sum(first) / len(first):.0f} s" if len(first) == len(runs) else f"{len(first)} of {len(runs)} runs"
    plain = sum(outcome.history.best.validation["accuracy"] for outcome in runs) / len(runs)
    answer = f" in {row.recipe.views} views ({plain:.2%} in one)" if row.recipe.views > 1 else ""
    return [
        row.name,
        f"{row.recipe.epochs} (published: {row.published.epochs})",
        f"{row.published.accuracy:.2%}",
        f"**{mean:.2%}**{answer}",
        f"{min(accuracies):.2%} to {max(accuracies):.2%}" if len(runs) > 1 else "",
        str(len(runs)),
        "yes" if row.recipe.bf16 else "no",
        f"{seconds:.0f}",
        told,
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _where(found: Sequence[Outcome]) -> str:
    """Machines and versions, each once."""
    told = dict.fromkeys(
        f"{outcome.machine['platform'].split('-')[0]} on {outcome.machine['processor']}, threads: {outcome.threads}, "
        + ", ".join(f"{name} {version}" for name, version in outcome.versions.items())
        for outcome in found
    )
    return "Made on: " + "; ".join(told) + "."
