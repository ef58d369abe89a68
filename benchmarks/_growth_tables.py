"""Tables and a picture of the benchmark of growing image networks: records in, text and figures out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks._growth_rows import ALONE, DEFAULT, SAME, SCRATCH, SHORTER
from benchmarks._shrink_tables import COLOURS, table
from netmorph.report.figures import flops_axis, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A training: network, table, row, seed, test, parameters, jumps, and by epoch validation, flops and cpu.
Record = dict[str, Any]
# The 97.5% quantiles of Student's t with 1, 2, ... degrees of freedom.
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)

COLUMNS = (
    "",
    "test accuracy",
    "less from scratch, same FLOPs",
    "less random",
    "jump of the loss",
    "parameters",
    "TFLOPs",
    "FLOPs / those from scratch for as much",
    "seconds",
    "seconds / likewise",
    "reaches from scratch's end",
)
RANDOM = {"width": "random_pad", "depth": "random"}
SHOWN = [ALONE, SCRATCH, SAME, "r2r", "net2net", "copied_pairs", "random_pad"]


def report(records: Sequence[Record]) -> str:
    """Everything that is there, as Markdown."""
    parts = []
    for network in dict.fromkeys(each["network"] for each in records):
        own = [each for each in records if each["network"] == network]
        for name in ("width", "depth"):
            parts += [f"\n**{network}, {name}, grown at 50%**\n", table(COLUMNS, list(compared(own, name)))]
        if any(each["table"] == "when" for each in own):
            parts += ["\n**Earlier and later**\n", table(COLUMNS, list(moments(own)))]
            parts += ["\n**Choices beside the edit, R2R at 70%**\n", table(CHOICES, list(choices(own)))]
            parts += ["\n**How often**\n", table(TIMES, list(times(own)))]
    hours = sum(each["cpu"][-1] - started(each, records) for each in records) / 3600
    return "\n".join([*parts, f"\n{len(records)} trainings, {hours:.2f} hours of the processor\n"])


def started(record: Record, records: Sequence[Record]) -> float:
    """Seconds of the small network's training that a training branched off from: they were spent once."""
    [alone] = [each for each in records if key(each) == (record["network"], "width", ALONE, record["seed"])] or [record]
    shared = [a for a, b in zip(record["cpu"], alone["cpu"], strict=False) if a == b]
    return shared[-1] if shared and record is not alone else 0.0


def key(record: Record) -> tuple[str, str, str, int]:
    return record["network"], record["table"], record["row"], record["seed"]


def compared(
    records: Sequence[Record], name: str, rows: Sequence[tuple[str, str]] | None = None
) -> Iterator[list[str]]:
    """Lines of a table with `COLUMNS`.

    Args:
        records: of one network.
        name: "width" or "depth": which large network from scratch rows are compared with.
        rows: their tables and names; all of the table `name` if not given, and the network without growth first.
    """
    if rows is None:
        rows = list(dict.fromkeys((each["table"], each["row"]) for each in records if each["table"] == name))
        order = [ALONE, SHORTER, SAME, SCRATCH]
        rows.sort(key=lambda row: order.index(row[1]) if row[1] in order else len(order))
        rows = rows if name == "width" else [("width", ALONE), *rows]
    curve = [of(records, name, row) for row in (SHORTER, SAME, SCRATCH)]
    for row in rows:
        own = of(records, *row)
        if not own:
            continue
        cells = [told(100 * each["test"] for each in own)]
        for other in (SAME, RANDOM[name]):
            cells.append("" if row[1] == other else difference(own, of(records, name, other)))
        cells.append(told((sum(each["jumps"]) for each in own if each["jumps"]), "{:+.2f}", 2))
        cells += [f"{own[0]['parameters'][-1]:,}", tera(own), as_much(own, curve, "flops")]
        cells += [f"{seconds(own):.1f}", as_much(own, curve, "cpu")]
        cells.append(reached(own, of(records, name, SCRATCH)))
        yield [row[1], *cells]


def moments(records: Sequence[Record]) -> Iterator[list[str]]:
    """Growth at other moments, beside that in the middle."""
    late = list(dict.fromkeys((each["table"], each["row"]) for each in records if each["table"] == "when"))
    wide = [row for row in late if not row[1].startswith("depth")]
    wide = [("width", SAME), ("width", SCRATCH), ("width", "r2r"), ("choices, width", DEFAULT), *wide]
    yield from compared(records, "width", wide)
    deep = [row for row in late if row[1].startswith("depth")]
    deep = [("depth", SAME), ("depth", SCRATCH), ("depth", "r2r"), ("choices, depth", DEFAULT), *deep]
    yield from compared(records, "depth", deep)


CHOICES = ("", "seeds", "wider: test accuracy", "difference", "seeds", "deeper: test accuracy", "difference")


def choices(records: Sequence[Record]) -> Iterator[list[str]]:
    """Lines of a table with `CHOICES`: the difference to the default, paired by seed."""
    tables = ("choices, width", "choices, depth")
    for row in dict.fromkeys(each["row"] for each in records if each["table"] in tables):
        cells = []
        for name in tables:
            own = of(records, name, row)
            cells += [str(len(own)), told(100 * each["test"] for each in own)]
            cells.append("" if row == DEFAULT else difference(own, of(records, name, DEFAULT)))
        yield [row, *cells]


TIMES = ("", "test accuracy", "less from scratch", "less one growth", "jumps of the loss", "TFLOPs", "seconds")


def times(records: Sequence[Record]) -> Iterator[list[str]]:
    """Lines of a table with `TIMES`."""
    for row in dict.fromkeys(each["row"] for each in records if each["table"] == "times"):
        own = of(records, "times", row)
        once = f"{row.partition(',')[0]}, 1 growth"
        cells = [told(100 * each["test"] for each in own), difference(own, of(records, "times", SCRATCH))]
        cells.append(difference(own, of(records, "times", once)))
        jumps = zip(*(each["jumps"] for each in own), strict=True)
        cells.append(", ".join(f"{mean(each):+.2f}" for each in jumps))
        cells += [tera(own), f"{seconds(own):.1f}"]
        yield [row, *cells]


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


def told(values: Any, form: str = "{:.2f}", least: int = 1) -> str:
    """Mean and 95% interval."""
    found = list(values)
    if len(found) < max(1, least):
        return form.format(found[0]) if found else ""
    if len(found) == 1:
        return form.format(found[0])
    half = T[len(found) - 2] * statistics.stdev(found) / math.sqrt(len(found))
    return f"{form.format(statistics.fmean(found))} ± {form.format(half).lstrip('+')}"


def difference(records: Sequence[Record], others: Sequence[Record]) -> str:
    """Points of test accuracy above others of the same seeds, mean and 95% interval."""
    other = {each["seed"]: each["test"] for each in others}
    pairs = [100 * (each["test"] - other[each["seed"]]) for each in records if each["seed"] in other]
    return "" if records == others else told(pairs, "{:+.2f}")


def as_much(records: Sequence[Record], curve: Sequence[Sequence[Record]], what: str) -> str:
    """What these cost, as a share of what the large network from scratch costs for the same accuracy.

    That is interpolated between its lengths, by the mean accuracy and the logarithm of the cost.
    """
    points = sorted(
        (mean(each["test"] for each in own), math.log(mean(each[what][-1] for each in own))) for own in curve if own
    )
    if not points or not records:
        return ""
    accuracy = mean(each["test"] for each in records)
    accuracies, costs = zip(*points, strict=True)
    needed = math.exp(np.interp(accuracy, accuracies, costs))
    sign = "≥ " if accuracy < accuracies[0] else "≤ " if accuracy > accuracies[-1] else ""
    return f"{sign}{mean(each[what][-1] for each in records) / needed:.2f}"


def reached(records: Sequence[Record], others: Sequence[Record]) -> str:
    """How often validation accuracy gets to where the network from scratch ends, and at which share of its FLOPs."""
    ends = {each["seed"]: (each["validation"][-1], each["flops"][-1]) for each in others}
    shares = []
    for each in records:
        wanted, all_of_it = ends.get(each["seed"], (math.inf, 1))
        passed = [flops for flops, value in zip(each["flops"], each["validation"], strict=True) if value >= wanted]
        shares += [passed[0] / all_of_it] if passed else []
    return f"{len(shares)} of {len(records)}" + (f", at {mean(shares):.2f}" if shares else "")


def picture(records: Sequence[Record], path: Path) -> None:
    """Mean validation accuracy of both networks, by epochs and by FLOPs."""

    def draw(figure: Figure) -> Mapping[str, str]:
        networks = list(dict.fromkeys(each["network"] for each in records))
        grid = figure.subplots(len(networks), 2, squeeze=False, sharey="row")
        for line, network in zip(grid, networks, strict=True):
            for number, row in enumerate(SHOWN):
                own = [each for each in of(records, "width", row) if each["network"] == network]
                if not own:
                    continue
                values = 100 * np.mean([each["validation"] for each in own], 0)
                flops = np.mean([each["flops"] for each in own], 0)
                for axes, x in zip(line, (np.arange(1, len(values) + 1), flops), strict=True):
                    label = row if axes is grid[0][0] else None
                    axes.plot(x, values, color=COLOURS[number % len(COLOURS)], linewidth=1.3, label=label)
            line[0].set_ylabel(f"{network}: validation, %")
            line[0].set_xlabel("epochs")
            flops_axis(line[1], "training FLOPs", log=False)
        figure.legend(loc="outside upper center", ncols=4, fontsize=10)
        return {}

    save(draw, path, 330 * len({each["network"] for each in records}))
