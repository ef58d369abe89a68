"""A page and pictures of a shrinking: widths, ranks, size and accuracy, round by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from netmorph.report.arms import ACCENT
from netmorph.report.figures import GREY, INK, PALE, flops_axis, legend_above, shade
from netmorph.report.numbers import percent
from netmorph.report.plain_page import Page, Picture, Table
from netmorph.shrink import Round
from netmorph.tasks import LOSS, Criterion
from netmorph.wording import compact

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = 24  # groups that are drawn; of more, those of the most channels


@dataclass(frozen=True)
class Measured:
    """What a network costs, and how good it is.

    Attributes:
        parameters: how many.
        flops: of one sample's forward pass.
        latency: seconds of a forward of one sample on this machine.
        test: the number that chooses, on the test part.
    """

    parameters: int
    flops: int
    latency: float
    test: float


def rows_of(before: Measured, after: Measured, criterion: Criterion) -> list[tuple[str, str, str, str]]:
    """What is told of both, and how they compare."""
    rows: list[tuple[str, str, str, str]] = [
        ("parameters", f"{before.parameters:,}", f"{after.parameters:,}", _times(before.parameters, after.parameters)),
        ("FLOPs a sample", compact(before.flops), compact(after.flops), _times(before.flops, after.flops)),
        (
            "latency, one sample",
            f"{1000 * before.latency:.2f} ms",
            f"{1000 * after.latency:.2f} ms",
            _times(before.latency, after.latency, "faster"),
        ),
    ]
    difference = after.test - before.test
    told = f"{100 * difference:+.2f} points" if criterion.is_share else f"{difference:+.4g}"
    rows.append((f"test {criterion.name}", criterion.text(before.test), criterion.text(after.test), told))
    return rows


def page(
    title: str, rounds: Sequence[Round], stopped: str, before: Measured, after: Measured, criterion: Criterion
) -> Page:
    """The page of a shrinking.

    Args:
        stopped: why it ended.
    """
    rows = rows_of(before, after, criterion)
    times = before.parameters / after.parameters
    paragraphs = [
        f"{times:.3g} times fewer parameters: {before.parameters:,} became {after.parameters:,}, and the test "
        f"{criterion.name} went from {criterion.text(before.test)} to {criterion.text(after.test)}.",
        f"It ended because {stopped}.",
    ]
    tables = [
        Table("Before and after", ("", "before", "after", ""), rows, "The test part was looked at once, at the end."),
        _rounds(rounds, criterion),
    ]
    return Page(title, paragraphs, tables, pictures(rounds, criterion))


def pictures(rounds: Sequence[Round], criterion: Criterion) -> list[Picture]:
    """All pictures of a shrinking."""
    found = [
        Picture(
            "size",
            f"Size and {criterion.name}",
            "Each round's network on the validation part; hollow: dropped, as it lost more than the tolerance.",
            partial(size, rounds=rounds, criterion=criterion),
            360,
        ),
        Picture(
            "widths",
            "Widths by round",
            "Lines are the widths of groups; crosses the ranks that were found in a round's network.",
            partial(widths, rounds=rounds),
            420,
        ),
    ]
    if any(told.epochs for told in rounds):
        found.append(
            Picture(
                "training",
                "Training, round after round",
                "Loss on the training part and on the validation part, and the number that chooses. Lines mark rounds.",
                partial(training, rounds=rounds, criterion=criterion),
                420,
            )
        )
    return found


def size(figure: Figure, rounds: Sequence[Round], criterion: Criterion) -> Mapping[str, str]:
    """The number that chooses by parameters, round by round, before and after training."""
    axes = figure.add_subplot()
    kept = [told for told in rounds if told.kept]
    axes.plot(*_points(kept, criterion), "-o", color=ACCENT, lw=2, ms=7, label="after its training")
    dropped = [told for told in rounds if not told.kept]
    if dropped:
        axes.plot(*_points(dropped, criterion), "o", color=ACCENT, mfc="white", ms=7, label="dropped")
    later = [told for told in rounds[1:] if told.epochs]
    if later:
        values = [told.untrained[criterion.name] for told in later]
        axes.plot([told.parameters for told in later], values, "_", color=GREY, ms=12, mew=2, label="before it")
    flops_axis(axes, "parameters (log scale)", log=True)
    _number(axes, criterion)
    legend_above(axes)
    return {}


def widths(figure: Figure, rounds: Sequence[Round]) -> Mapping[str, str]:
    """The width of each group by round, and its rank."""
    axes = figure.add_subplot()
    first = rounds[0].widths
    names = sorted(first, key=lambda name: -first[name])[:LINES]
    for place, name in enumerate(names):
        colour = shade(place / max(1, len(names) - 1))
        shown = [told for told in rounds if told.kept and name in told.widths]
        axes.plot(
            [told.number for told in shown], [told.widths[name] for told in shown], "-o", color=colour, ms=4, label=name
        )
        ranked = [told for told in rounds if name in told.ranks]
        axes.plot(
            [_before(rounds, told) for told in ranked], [told.ranks[name] for told in ranked], "x", color=colour, ms=6
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, position: compact(value))
    axes.yaxis.set_minor_formatter(lambda value, position: "")
    axes.set_xticks(range(len(rounds)))
    axes.set_xlabel("round")
    axes.set_ylabel("channels (log scale)")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9, borderpad=0)
    return {}


def training(figure: Figure, rounds: Sequence[Round], criterion: Criterion) -> Mapping[str, str]:
    """Loss and the number that chooses, epoch by epoch through all rounds."""
    left, right = figure.subplots(1, 2)
    epochs = [(told, epoch) for told in rounds for epoch in told.epochs]
    places = range(1, len(epochs) + 1)
    left.plot(places, [epoch.train[LOSS] for _, epoch in epochs], color=GREY, lw=2, label="training")
    left.plot(places, [epoch.validation[LOSS] for _, epoch in epochs], color=ACCENT, lw=2, label="validation")
    left.set_ylabel(LOSS)
    right.plot(places, [epoch.validation[criterion.name] for _, epoch in epochs], color=ACCENT, lw=2)
    _number(right, criterion)
    for axes in (left, right):
        axes.set_xlabel("epoch, of all rounds")
        _marks(axes, rounds)
    legend_above(left)
    return {}


def _number(axes: Axes, criterion: Criterion) -> None:
    axes.set_ylabel(f"validation {criterion.name}")
    if criterion.is_share:
        axes.yaxis.set_major_formatter(lambda value, position: percent(value))


def _marks(axes: Axes, rounds: Sequence[Round]) -> None:
    end = 0
    for told in rounds:
        if told.epochs:
            end += len(told.epochs)
            axes.axvline(end + 0.5, color=PALE if told.kept else INK, lw=1, ls="-" if told.kept else ":")


def _before(rounds: Sequence[Round], told: Round) -> int:
    """The round whose network had the ranks that a round's widths follow from."""
    return max(other.number for other in rounds if other.kept and other.number < told.number)


def _points(rounds: Sequence[Round], criterion: Criterion) -> tuple[list[int], list[float]]:
    return [told.parameters for told in rounds], [told.numbers[criterion.name] for told in rounds]


def _rounds(rounds: Sequence[Round], criterion: Criterion) -> Table:
    rows = [
        (
            f"{told.number}" if told.kept else f"{told.number} (dropped)",
            f"{told.parameters:,}",
            compact(told.flops),
            criterion.text(told.untrained[criterion.name]),
            criterion.text(told.numbers[criterion.name]),
            compact(told.training_flops),
            ", ".join(f"{name} {width}" for name, width in told.widths.items()) if len(told.widths) <= 8 else "",
        )
        for told in rounds
    ]
    columns = ("round", "parameters", "FLOPs", "before training", "after", "training FLOPs", "widths")
    return Table("Rounds", columns, rows, f"Validation {criterion.name}.")


def _times(before: float, after: float, word: str = "fewer") -> str:
    return f"{before / after:.2f} times {word}" if after < before else f"{after / before:.2f} times as many"
