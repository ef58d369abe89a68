"""Tables and the picture of the growth of a GPT: lines of results in, text and a figure out."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks._intervals import interval
from netmorph.report.figures import flops_axis, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What came of a row: row, seed, setting, loss, flops, curve, jumps, grown (steps), cpu.
Line = dict[str, Any]

FULL = "full size from the start"
THIRD, TWO_THIRDS = "full size, a third of the steps", "full size, two thirds of the steps"
MARK = 0.005  # of the full network's loss
SHARE = 1 / 3  # of its training FLOPs
COLUMNS = (
    "row", "seeds", "loss", "above the full size's", "training FLOPs", "the full size needs", "jump at growth",
    "meets the full size after",
)  # fmt: skip
COLOURS = ("#000000", "#6b7785", "#0072b2", "#d55e00", "#009e73", "#e69f00", "#cc79a7", "#56b4e9")


def told(lines: Sequence[Line]) -> list[Line]:
    """Those of seeds whose full network has been trained: all are told beside it."""
    seeds = {line["seed"] for line in lines if line["row"] == FULL}
    return [line for line in lines if line["seed"] in seeds]


def table(names: Sequence[str], lines: Sequence[Line]) -> str:
    """Markdown of the rows of these names, each beside the full network of the same seeds."""
    full = {line["seed"]: line for line in lines if line["row"] == FULL}
    found = [COLUMNS, ("---",) * len(COLUMNS)]
    for name in names:
        mine = [line for line in lines if line["row"] == name]
        if mine:
            shares = [needed(line, lines, full) for line in mine]
            found.append(_cells(name, mine, full, None if name in (THIRD, TWO_THIRDS, FULL) else shares))
    return "".join(f"| {' | '.join(cells)} |\n" for cells in found)


def _cells(
    name: str, mine: Sequence[Line], full: Mapping[int, Line], needs: Sequence[float | None] | None
) -> tuple[str, ...]:
    return (
        name,
        str(len(mine)),
        interval([line["loss"] for line in mine], "{:.4f}"),
        "" if name == FULL else interval([100 * excess(line, full) for line in mine], "{:+.2f}") + "%",
        f"{statistics.mean(share(line, full) for line in mine):.3f}",
        "" if needs is None else _needed(needs),
        " ".join(
            f"{round(statistics.mean(jumps), 2) + 0.0:+.2f}"
            for jumps in zip(*(_jumps(line) for line in mine), strict=True)
        ),
        _met([met(line, full[line["seed"]]) for line in mine if line["grown"]]),
    )


def excess(line: Line, full: Mapping[int, Line]) -> float:
    """How much higher the loss is than that of the full network of the seed, as a share."""
    return float(line["loss"] / full[line["seed"]]["loss"] - 1)


def share(line: Line, full: Mapping[int, Line]) -> float:
    """The training FLOPs, as a share of the full network's."""
    return float(line["flops"] / full[line["seed"]]["flops"])


def needed(line: Line, lines: Sequence[Line], full: Mapping[int, Line]) -> float | None:
    """The share of its FLOPs with which the full network of the seed has this loss: the bill of not growing.

    Between its trainings of a third, two thirds and all of the steps the loss is taken as linear in the logarithm of
    the FLOPs. None if the loss is above that of a third, or that one was not measured.
    """
    points = sorted(
        (share(other, full), other["loss"])
        for other in lines
        if other["row"] in (THIRD, TWO_THIRDS, FULL) and other["seed"] == line["seed"]
    )
    for (before, high), (after, low) in pairwise(points):
        if high >= line["loss"] >= low:
            return float(before * (after / before) ** ((high - line["loss"]) / (high - low)))
    return 1.0 if line["loss"] < points[-1][1] else None


def met(line: Line, full: Line) -> int | None:
    """The steps from the last growth to the first look within `MARK` of the full network's loss at that step."""
    others = {step: loss for step, _, loss in full["curve"]}
    for step, _, loss in line["curve"]:
        if step > line["grown"][-1] and step in others and loss <= (1 + MARK) * others[step]:
            return int(step - line["grown"][-1])
    return None


def _needed(shares: Sequence[float | None]) -> str:
    found = [share for share in shares if share is not None]
    return f"{statistics.mean(found):.3f}" if len(found) == len(shares) else f"below {SHARE:.2f}"


def _jumps(line: Line) -> list[float]:
    return [after - before for before, after in line["jumps"]]


def _met(steps: Sequence[int | None]) -> str:
    found = [step for step in steps if step is not None]
    if not steps:
        return ""
    if not found:
        return "not"
    told = f"{statistics.mean(found):.0f} steps"
    return told if len(found) == len(steps) else f"{told} ({len(found)} of {len(steps)} seeds)"


def picture(lines: Sequence[Line], shown: Sequence[str], path: Path) -> None:
    """Left, learning curves by training FLOPs; right, the end of every row beside the full network, the full network
    in fewer steps (dashed), and the mark.
    """
    full = {line["seed"]: line for line in lines if line["row"] == FULL}

    def draw(figure: Figure) -> Mapping[str, str]:
        curves, ends = figure.subplots(1, 2)
        for number, name in enumerate(shown):
            mine = [line for line in lines if line["row"] == name]
            if not mine:
                continue
            points = list(zip(*(line["curve"] for line in mine), strict=True))
            curves.plot(
                [point[0][1] for point in points],
                [statistics.mean(look[2] for look in point) for point in points],
                color=COLOURS[number],
                linewidth=1.2,
                label=name,
            )
        reached = [line["curve"][-1][2] for line in lines]
        curves.set_ylim(0.98 * min(reached), 1.25 * statistics.median(reached))
        curves.set_ylabel("validation loss, nats a character")
        flops_axis(curves, "training FLOPs", log=False)
        for name in dict.fromkeys(line["row"] for line in lines):
            mine = [line for line in lines if line["row"] == name]
            known = name in shown
            ends.plot(
                [share(line, full) for line in mine],
                [100 * excess(line, full) for line in mine],
                color=COLOURS[shown.index(name)] if known else "#b9c2cb",
                marker="o" if known else ".",
                markersize=5 if known else 4,
                linestyle="",
                zorder=3 if known else 2,
            )
        shorter = [[line for line in lines if line["row"] == name] for name in (THIRD, TWO_THIRDS, FULL)]
        means = [
            [statistics.mean(of(line, full) for line in mine) for mine in shorter if mine] for of in (share, excess)
        ]
        ends.plot(means[0], [100 * value for value in means[1]], color=COLOURS[0], linewidth=0.9, linestyle="--")
        ends.fill_between([0, SHARE], [-1, -1], [100 * MARK] * 2, color="#cdeadb", zorder=0)
        ends.text(0.01, 100 * MARK + 0.1, "the mark", color="#009e73", fontsize=10)
        ends.set_xlim(0, 1.03)
        ends.set_ylim(-0.5, None)
        ends.set_xlabel("share of the full size's training FLOPs")
        ends.set_ylabel("loss above the full size's, %")
        figure.legend(loc="outside lower center", ncols=3, fontsize=10)
        return {}

    save(draw, path, 480)
