"""All numbers of runs as files: every point as CSV, ends and extremes as a LaTeX table."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from netmorph.files import write_text
from netmorph.plot.grouping import Grouping, by_seed, grouped
from netmorph.plot.lines import interval
from netmorph.plot.values import PlotError, Run, tags_of

_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "→": r"$\to$",
    "×": r"$\times$",
}


def save_table(runs: Sequence[Run], path: str | Path, grouping: Grouping = by_seed) -> Path:
    """Write the numbers of runs.

    Args:
        path: *.csv, see `as_csv`; or *.tex, see `as_latex`.
        grouping: runs that are one line of the table.

    Raises:
        PlotError: another kind of file.
        SaveError: it could not be written.
    """
    path = Path(path)
    if path.suffix not in TABLES:
        raise PlotError(f"tables are files of the kind {', '.join(TABLES)}; got {str(path)!r}")
    write_text(path, TABLES[path.suffix](grouped(runs, grouping)))
    return path


def as_csv(groups: Mapping[str, Sequence[Run]]) -> str:
    """A row for each point of each curve: line, run, seed, tag, a column for each axis, value.

    Numbers are read back as the same bits; what is not known is empty.
    """
    curves = [
        (label, run, tag, curve) for label, own in groups.items() for run in own for tag, curve in run.curves.items()
    ]
    axes = list(dict.fromkeys(axis for *_, curve in curves for axis in curve.axes))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("line", "run", "seed", "tag", *axes, "value"))
    for label, run, tag, curve in curves:
        places = [curve.axes.get(axis, [""] * len(curve.values)) for axis in axes]
        seed = "" if run.seed is None else run.seed
        for *place, value in zip(*places, curve.values, strict=True):
            writer.writerow((label, run.name, seed, tag, *place, value if math.isfinite(value) else ""))
    return text.getvalue()


def as_latex(groups: Mapping[str, Sequence[Run]]) -> str:
    """A table for `booktabs`: of each line and tag the runs, and the last, lowest and highest number.

    Of several runs it is the mean over them of each run's own, with half of its 95% interval by Student's t.
    """
    rows = []
    for label, runs in groups.items():
        for tag in tags_of(runs):
            values = [np.asarray(run.curves[tag].values, dtype=np.float64) for run in runs if tag in run.curves]
            finite = [each[np.isfinite(each)] for each in values]
            if known := [each for each in finite if len(each)]:
                cells = (_cell([float(of(each)) for each in known]) for of in (lambda one: one[-1], np.min, np.max))
                rows.append(" & ".join((_escaped(label), _escaped(tag), str(len(known)), *cells)) + r" \\")
    head = r"line & number & runs & last & lowest & highest \\"
    return "\n".join(
        (
            r"% needs \usepackage{booktabs}; several runs: mean and half of the 95% interval (Student's t)",
            r"\begin{tabular}{llrrrr}",
            r"\toprule",
            head,
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        )
    )


TABLES: dict[str, Callable[[Mapping[str, Sequence[Run]]], str]] = {".csv": as_csv, ".tex": as_latex}


def _cell(values: Sequence[float]) -> str:
    """ "$0.981 \\pm 0.004$": as many digits as two of the interval need; of one value four that count."""
    mean, half = values[0], 0.0
    if len(values) > 1:
        low, high = (float(end[0]) for end in interval(np.asarray(values)[:, None]))
        mean, half = (low + high) / 2, (high - low) / 2
    half = half if half > 1e-9 * abs(mean) else 0.0  # less is rounding
    size = math.floor(math.log10(max(abs(mean), half))) if mean or half else 0
    power = size if not -4 < size < 5 else 0
    mean, half, size = mean / 10**power, half / 10**power, size - power
    if not half:
        told = f"{mean:.{max(0, 3 - size)}f}"
        told = told.rstrip("0").rstrip(".") if "." in told else told
    else:
        digits = max(0, 1 - math.floor(math.log10(half)))
        told = f"{mean:.{digits}f} \\pm {half:.{digits}f}"
    if power:
        told = f"({told}) \\cdot 10^{{{power}}}" if half else f"{told} \\cdot 10^{{{power}}}"
    return f"${told}$"


def _escaped(text: str) -> str:
    return "".join(_ESCAPED.get(letter, letter) for letter in text)
