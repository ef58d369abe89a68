"""Tables and pictures of the shrink benchmark: records in, text and figures out."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netmorph.report.figures import flops_axis, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A round: number, kept, widths, parameters, flops, spent (training FLOPs so far), epochs, untrained, validation, test.
Record = dict[str, Any]
# A way from one seed: task, way, seed, seconds, settings, and `rounds`.
Line = dict[str, Any]

ENDS = ("way", "times fewer parameters", "times fewer FLOPs", "test accuracy", "points lost", "training TFLOPs")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#000000", "#e69f00", "#cc79a7", "#56b4e9")
MARKERS = "os^Dvx*+P<>"
SHOWN = 1.5  # points of accuracy below the best


def kept_rounds(rounds: Sequence[Record]) -> list[Record]:
    """Those that did not lose too much, the whole network first."""
    return [told for told in rounds if told["kept"]]


def ends(lines: Sequence[Line], whole: Mapping[int, Record]) -> list[list[str]]:
    """For a table with `ENDS`: the last network that each way kept; mean over the seeds, and the range.

    Args:
        whole: the trained network by seed.
    """
    found = [
        ["the trained network", "1", "1", _shares(told["test"] for told in whole.values()), "", _tera(whole.values())]
    ]
    for way in dict.fromkeys(line["way"] for line in lines):
        pairs = [(whole[line["seed"]], kept_rounds(line["rounds"])[-1]) for line in lines if line["way"] == way]
        found.append(
            [
                way,
                _range([before["parameters"] / after["parameters"] for before, after in pairs], "{:.1f}"),
                _range([before["flops"] / after["flops"] for before, after in pairs], "{:.1f}"),
                _shares(after["test"] for _, after in pairs),
                _range([100 * (before["test"] - after["test"]) for before, after in pairs], "{:+.2f}"),
                _tera(after for _, after in pairs),
            ]
        )
    return found


def at_marks(lines: Sequence[Line], whole: Mapping[int, Record], marks: Sequence[int]) -> list[list[str]]:
    """For a table of points lost where a way first keeps a network of so many times fewer parameters.

    A cell tells of how many seeds that is where it is not all, and is empty where it is none.
    """
    found = []
    for way in dict.fromkeys(line["way"] for line in lines):
        own = [line for line in lines if line["way"] == way]
        cells = []
        for mark in marks:
            lost = []
            for line in own:
                before = whole[line["seed"]]
                small = [
                    told for told in kept_rounds(line["rounds"]) if mark * told["parameters"] <= before["parameters"]
                ]
                lost += [100 * (before["test"] - told["test"]) for told in small[:1]]
            some = "" if len(lost) == len(own) else f"{len(lost)} of {len(own)} seeds: "
            cells.append(some + _range(lost, "{:+.2f}") if lost else "")
        found.append([way, *cells])
    return found


def by_round(lines: Sequence[Line], ways: Sequence[str]) -> list[list[str]]:
    """What each round of the first way leaves, and the mean test accuracy of each way over the seeds that got there.

    A row: the widths with the first seed, how many times fewer parameters, and a cell a way.
    """
    runs = {way: [kept_rounds(line["rounds"]) for line in lines if line["way"] == way] for way in ways}
    first = runs[ways[0]]
    found = []
    for place in range(max(map(len, first))):
        there = [rounds for rounds in first if place < len(rounds)]
        widths = ", ".join(str(width) for width in there[0][place]["widths"].values())
        times = _range([rounds[0]["parameters"] / rounds[place]["parameters"] for rounds in there], "{:.1f}")
        reached = [[100 * rounds[place]["test"] for rounds in runs[way] if place < len(rounds)] for way in ways]
        cells = [f"{statistics.mean(values):.2f}%" if values else "" for values in reached]
        found.append([widths, times if len(there) == len(first) else f"{times}, {len(there)} seeds", *cells])
    return found


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def picture(lines: Sequence[Line], path: Path, title: str) -> None:
    """Test accuracy against parameters: a line a seed, a point a round that was kept; where most of it lies."""

    def draw(figure: Figure) -> Mapping[str, str]:
        axes = figure.subplots()
        ways = list(dict.fromkeys(line["way"] for line in lines))
        for number, way in enumerate(ways):
            runs = [kept_rounds(line["rounds"]) for line in lines if line["way"] == way]
            for first, rounds in enumerate(runs):
                # A network from scratch follows from none: the first of its rounds only gave the widths.
                points = rounds[1:] if way.startswith("from scratch") else rounds
                axes.plot(
                    [told["parameters"] for told in points],
                    [100 * told["test"] for told in points],
                    color=COLOURS[number % len(COLOURS)],
                    marker=MARKERS[number % len(MARKERS)],
                    markersize=4,
                    linewidth=0.9,
                    alpha=0.8,
                    label=None if first else way,
                )
        best = max(100 * told["test"] for line in lines for told in line["rounds"])
        axes.set_ylim(best - SHOWN, best + 0.1)
        axes.set_ylabel("test accuracy, %")
        flops_axis(axes, f"parameters, {title}", log=True)
        axes.invert_xaxis()
        figure.legend(loc="outside right upper", fontsize=10)
        return {}

    save(draw, path, 420)


def _shares(values: Any) -> str:
    return _range([100 * value for value in values], "{:.2f}%")


def _range(values: Sequence[float], form: str) -> str:
    mean, low, high = (form.format(value) for value in (statistics.mean(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"


def _tera(rounds: Any) -> str:
    return f"{statistics.mean(told['spent'] for told in rounds) / 1e12:.1f}"
