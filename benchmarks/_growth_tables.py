"""Tables and a picture of the benchmark of growing image networks: records in, text and figures out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks._growth_rows import ALONE, DEFAULT, LONGER, NETWORKS, SAME, SCRATCH, SHORTER
from benchmarks._intervals import interval
from benchmarks._shrink_tables import COLOURS, table
from netmorph.report.figures import flops_axis, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A training: network, table, row, seed, test, parameters, jumps, and by epoch validation, flops and cpu.
Record = dict[str, Any]

COLUMNS = (
    "",
    "seeds",
    "test accuracy, %",
    "minus from scratch, FLOPs of growth at 50%",
    "minus random at that moment",
    "jump of the loss",
    "TFLOPs",
    "seconds",
    "FLOPs / from scratch's for as much",
    "seconds / likewise",
)
REFERENCES = (ALONE, LONGER, SHORTER, SAME, SCRATCH)
RANDOM = {"width": "random_pad", "depth": "random"}
CHOICES = {"width": "choices, width", "depth": "choices, depth"}
# Colour and line of what the picture shows; the same network has the same colour.
SHOWN = {
    ALONE: (COLOURS[0], "-"),
    LONGER: (COLOURS[0], "--"),
    SCRATCH: (COLOURS[1], "-"),
    SAME: (COLOURS[1], "--"),
    "zero": (COLOURS[2], "-"),
    "r2r": (COLOURS[3], "-"),
    "net2net": (COLOURS[5], "-"),
    "random_pad": (COLOURS[6], "-"),
}
Line = tuple[str, list[Record]]  # what a line of a table is about


def report(records: Sequence[Record]) -> str:
    """Everything that is there, as Markdown."""
    parts = []
    for network in networks(records):
        own = [each for each in records if each["network"] == network]
        for kind in RANDOM:
            at_half = [(row, of(own, kind, row)) for row in rows_of(own, kind)]
            if at_half:
                alone = [(ALONE, of(own, "width", ALONE))] if kind == "depth" else []
                parts += compared(f"{network}, {kind}, grown at 50%", own, kind, alone + ordered(at_half))
            if at_half and any(row not in REFERENCES for row in rows_of(own, "when", kind)):
                parts += compared(f"{network}, {kind}, grown at other moments", own, kind, moments(own, kind))
        if rows_of(own, CHOICES["width"]):
            parts += [f"\n{network}, choices beside R2R at 70%:\n", chosen(own)]
        if rows_of(own, "times"):
            parts += [f"\n{network}, how often:\n", times(own)]
    alone = {(each["network"], each["seed"]): each for each in records if each["row"] == ALONE}
    spent = sum(each["cpu"][-1] - branched(each, alone[each["network"], each["seed"]]) for each in records)
    return "\n".join([*parts, f"\n{len(records)} trainings in {spent / 60:.0f} minutes of the processor\n"])


def networks(records: Sequence[Record]) -> list[str]:
    """Their names: as `NETWORKS` has them, and others behind these."""
    found = list(dict.fromkeys(each["network"] for each in records))
    return sorted(found, key=lambda name: [*NETWORKS, *found].index(name))


def branched(record: Record, alone: Record) -> float:
    """Seconds of the small network's training that a training went on from: they were spent once."""
    shared = [one for one, other in zip(record["cpu"], alone["cpu"], strict=False) if one == other]
    return shared[-1] if shared and record is not alone else 0.0


def rows_of(records: Sequence[Record], name: str, kind: str | None = None) -> list[str]:
    """The rows of a table; of that of moments, those of one kind."""
    found = dict.fromkeys(each["row"] for each in records if each["table"] == name)
    return [row for row in found if kind is None or row.startswith("depth") == (kind == "depth")]


def ordered(lines: Sequence[Line]) -> list[Line]:
    """What the others are compared with first, then the best."""
    known = {row: number for number, row in enumerate((*REFERENCES, DEFAULT))}
    return sorted(lines, key=lambda line: (known.get(line[0], len(known)), -mean(each["test"] for each in line[1])))


def moments(records: Sequence[Record], kind: str) -> list[Line]:
    """Growth earlier and later, beside that in the middle."""
    at_half = [("r2r at 50%", of(records, kind, "r2r")), (f"{RANDOM[kind]} at 50%", of(records, kind, RANDOM[kind]))]
    late = of(records, CHOICES[kind], DEFAULT)
    others = [(row.removeprefix("depth, "), of(records, "when", row)) for row in rows_of(records, "when", kind)]
    first = [(row, of(records, kind, row)) for row in (SHORTER, SAME, SCRATCH)]
    return first + sorted([*at_half, *([("r2r at 70%", late)] if late else []), *others], key=lambda line: line[0])


def compared(title: str, records: Sequence[Record], kind: str, lines: Sequence[Line]) -> Iterator[str]:
    """A table with `COLUMNS`, and what gets to where the network from scratch ends.

    Args:
        kind: "width" or "depth": the large network that lines are compared with.
    """
    cells = []
    curve = [of(records, kind, row) for row in (SHORTER, SAME, SCRATCH)]
    for name, own in lines:
        line = [name, str(len(own)), told(100 * each["test"] for each in own), difference(own, of(records, kind, SAME))]
        random = f"{RANDOM[kind]} at {name.partition(' at ')[2]}" if name not in REFERENCES else ""
        line.append(difference(own, dict(lines).get(random, of(records, kind, RANDOM[kind]))))
        jumps = [sum(each["jumps"]) for each in own if each["jumps"]]
        line += [jump(jumps) if jumps else "", tera(own), f"{seconds(own):.1f}"]
        cells.append([*line, as_much(own, curve, "flops"), as_much(own, curve, "cpu")])
    yield f"\n{title}:\n"
    yield table(COLUMNS, cells)
    found = {name: reached(own, of(records, kind, SCRATCH)) for name, own in lines if name != SCRATCH}
    known = [f"{name} {text}" for name, text in found.items() if text]
    yield f"Validation accuracy where that from scratch ends: {'; '.join(known) or 'none'}.\n"


def chosen(records: Sequence[Record]) -> str:
    """The difference of each choice to the default, paired by seed."""
    cells = []
    lines = ordered([(row, of(records, CHOICES["width"], row)) for row in rows_of(records, CHOICES["width"])])
    for row, _ in lines:
        line = [row]
        for name in CHOICES.values():
            own = of(records, name, row)
            line += [told(100 * each["test"] for each in own), difference(own, of(records, name, DEFAULT))]
        cells.append(line)
    seeds = {kind: max(len(of(records, name, row)) for row, _ in lines[1:]) for kind, name in CHOICES.items()}
    heads = [(f"{kind}, {count} seeds: test accuracy, %", "minus the first row") for kind, count in seeds.items()]
    return table(("", *(head for pair in heads for head in pair)), cells)


def times(records: Sequence[Record]) -> str:
    """Several growths beside one, and from scratch."""
    cells = []
    for row in rows_of(records, "times"):
        own = of(records, "times", row)
        line = [row, str(len(own)), told(100 * each["test"] for each in own)]
        for other in (SCRATCH, f"{row.partition(',')[0]}, 1 growth"):
            line.append(difference(own, of(records, "times", other)))
        line.append(", ".join(jump(each) for each in zip(*(each["jumps"] for each in own), strict=True)))
        cells.append([*line, tera(own), f"{seconds(own):.1f}"])
    heads = ("", "seeds", "test accuracy, %", "minus from scratch", "minus one growth", "jumps of the loss")
    return table((*heads, "TFLOPs", "seconds"), cells)


def of(records: Sequence[Record], name: str, row: str) -> list[Record]:
    return [each for each in records if (each["table"], each["row"]) == (name, row)]


def mean(values: Any) -> float:
    found = list(values)
    return statistics.fmean(found) if found else math.nan


def tera(records: Sequence[Record]) -> str:
    """Training FLOPs, in 1e12."""
    return f"{mean(each['flops'][-1] for each in records) / 1e12:.2f}"


def seconds(records: Sequence[Record]) -> float:
    return mean(each["cpu"][-1] for each in records)


def jump(values: Any) -> str:
    return f"{round(mean(values), 2) + 0.0:.2f}"  # no minus before a zero


def told(values: Any, form: str = "{:.2f}") -> str:
    """Mean and 95% interval."""
    found = list(values)
    return interval(found, form) if found else ""


def difference(records: Sequence[Record], others: Sequence[Record]) -> str:
    """Points of test accuracy above others of the same seeds, mean and 95% interval."""
    other = {each["seed"]: each["test"] for each in others}
    pairs = [100 * (each["test"] - other[each["seed"]]) for each in records if each["seed"] in other]
    return "" if records == others else told(pairs, "{:+.2f}")


def as_much(records: Sequence[Record], curve: Sequence[Sequence[Record]], what: str) -> str:
    """What these cost, as a share of what the large network from scratch costs for the same accuracy.

    That is interpolated between its lengths, by their mean accuracies and the logarithms of their costs.
    """
    means = [(mean(each["test"] for each in own), mean(each[what][-1] for each in own)) for own in curve if own]
    accuracies, costs = zip(*sorted(means), strict=True)
    accuracy = mean(each["test"] for each in records)
    needed = math.exp(np.interp(accuracy, accuracies, np.log(costs)))
    bound = "above " if accuracy < accuracies[0] else "below " if accuracy > accuracies[-1] else ""
    return f"{bound}{mean(each[what][-1] for each in records) / needed:.2f}"


def reached(records: Sequence[Record], others: Sequence[Record]) -> str:
    """How often validation accuracy gets to where other trainings end, and at which share of their FLOPs."""
    ends = {each["seed"]: (each["validation"][-1], each["flops"][-1]) for each in others}
    shares = []
    for each in records:
        wanted, whole = ends.get(each["seed"], (math.inf, 1))
        passed = [flops for flops, value in zip(each["flops"], each["validation"], strict=True) if value >= wanted]
        shares += [flops / whole for flops in passed[:1]]
    return f"{len(shares)} of {len(records)} at {mean(shares):.2f} of its FLOPs" if shares else ""


def picture(records: Sequence[Record], path: Path) -> None:
    """Mean validation accuracy of both networks, by epochs and by FLOPs."""

    def draw(figure: Figure) -> Mapping[str, str]:
        shown = networks(records)
        grid = figure.subplots(len(shown), 2, squeeze=False, sharey="row")
        for line, network in zip(grid, shown, strict=True):
            for row, (colour, style) in SHOWN.items():
                own = [each for each in of(records, "width", row) if each["network"] == network]
                if not own:
                    continue
                values = 100 * np.mean([each["validation"] for each in own], 0)
                flops = np.mean([each["flops"] for each in own], 0)
                for axes, x in zip(line, (np.arange(1, len(values) + 1), flops), strict=True):
                    label = row if axes is grid[0][0] else None
                    axes.plot(x, values, color=colour, linestyle=style, linewidth=1.3, label=label)
                if row == ALONE:
                    epochs = len(values)
            line[0].set_xlim(0.5, epochs + 0.5)  # what is longer goes on beyond
            line[0].set_ylabel(f"{network}: validation, %")
            line[0].set_xlabel("epochs")
            flops_axis(line[1], "training FLOPs", log=False)
        figure.legend(loc="outside upper center", ncols=4, fontsize=10)
        return {}

    save(draw, path, 60 + 230 * len({each["network"] for each in records}))
