"""What the report's figures show, one function each: records in, artists on a figure, tooltips by gid out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from netmorph.report.arms import ACCENT, arms_of, look
from netmorph.report.figures import (
    GREY,
    INK,
    describe,
    flops_axis,
    legend_above,
    number_axis,
)
from netmorph.report.listing import ancestry
from netmorph.report.numbers import power_of_ten
from netmorph.run.names import ArmName
from netmorph.run.ranking import trained
from netmorph.run.result import EnsembleResult, NetworkResult, Result
from netmorph.run.rows import EditRecord, EpochRecord, NetworkRecord
from netmorph.tasks import Criterion
from netmorph.wording import compact

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALLEST_ERROR = 1e-17  # what is drawn for an error of exactly zero
LEAST_JUMP = 1e-3  # half of the smallest range of jumps that is drawn: a share, or relative to the largest number
LABEL = 0.07  # of the height of the axes, that a label beside a point takes
Curve = list[tuple[float, float]]


def tradeoff(
    figure: Figure,
    networks: Iterable[NetworkRecord],
    front: Sequence[NetworkRecord],
    best: int,
    criterion: Criterion,
) -> Mapping[str, str]:
    """The number that chooses against FLOPs of every network, and the Pareto front of the evolution."""
    axes = figure.add_subplot()
    shown = trained(networks)
    values = {network.id: criterion.value(network.score or 0.0) for network in shown}
    edge = number_axis(axes, values.values(), criterion, f"validation {criterion.name}")
    for network in shown:
        arm = look(network.arm)
        value = max(values[network.id], edge, key=criterion.score)
        axes.plot(
            network.flops,
            value,
            arm.marker,
            color=arm.colour,
            alpha=0.55,
            ms=6.5,
            mew=0,
            gid=f"n{network.id}",
            clip_on=False,
        )
    steps = [(network.flops, values[network.id]) for network in front]
    axes.step(*zip(*steps, strict=True), where="post", color=ACCENT, lw=2, label="Pareto front")
    for network in front:
        axes.plot(
            network.flops,
            values[network.id],
            "o",
            color=ACCENT,
            ms=8,
            mec="white",
            gid=f"front{network.id}",
        )
    champion = next(network for network in shown if network.id == best)
    low, high = axes.get_ylim()
    room = LABEL * (high - low) * (1 if criterion.higher_is_better else -1)
    ends = (low, high, values[champion.id] + room)
    axes.set_ylim(min(ends), max(ends))
    axes.annotate(
        f"best {criterion.text(values[champion.id])}",
        (champion.flops, values[champion.id]),
        xytext=(0, 10 if criterion.higher_is_better else -10),  # the front lies on the other side
        textcoords="offset points",
        ha="center",
        va="bottom" if criterion.higher_is_better else "top",
        weight="bold",
    )
    for arm in map(look, arms_of(shown)):
        axes.plot([], [], arm.marker, color=arm.colour, ms=7, label=arm.title)
    flops_axis(axes, "forward FLOPs per sample (log scale)", log=True)
    legend_above(axes)
    tooltips = {f"n{network.id}": describe(network, criterion) for network in shown}
    return tooltips | {f"front{network.id}": describe(network, criterion) for network in front}


def curves(
    figure: Figure,
    chain: Sequence[NetworkRecord],
    alone: Sequence[NetworkRecord],
    epochs: Mapping[int, Sequence[EpochRecord]],
    criterion: Criterion,
) -> Mapping[str, str]:
    """The validation number that chooses, along the best network's ancestry, and of the start network on its own.

    Args:
        chain: the ancestors and the network, oldest first.
        alone: the start network and what it was trained on to, oldest first.
        epochs: network id -> its epochs.
    """
    axes = figure.add_subplot()
    line, ends = _curve(chain, epochs, criterion)
    other, _ = _curve(alone, epochs, criterion)
    flops_axis(axes, "training FLOPs spent on this network and its ancestors", log=False)
    end = ends[-1]
    beside = [point for point in other if point[0] <= 1.02 * end]
    number_axis(axes, [value for _, value in line + beside], criterion, f"validation {criterion.name}")
    axes.set_xlim(0, 1.02 * end)
    axes.plot(*zip(*line, strict=True), "-o", color=ACCENT, lw=2, ms=3, label="best network's ancestry")
    if beside:
        arm = look(ArmName.ALONE)
        axes.plot(*zip(*other, strict=True), "-", color=arm.colour, lw=2, label=arm.title)
        if other[-1][0] > 1.02 * end:
            axes.plot([], [], " ", label=f"(goes on to {criterion.text(other[-1][1])} at {compact(other[-1][0])})")
    spot = -math.inf
    for child, at in zip(chain[1:], ends, strict=False):
        spot = max(spot + 0.024 * end, at)  # labels of close edits move apart
        axes.axvline(at, color=GREY, lw=0.8, ls=(0, (4, 3)), zorder=0)
        axes.annotate(
            _what_changed(child),
            (at, 1.0),
            xytext=(spot, 1.03),
            xycoords=axes.get_xaxis_transform(),
            textcoords=axes.get_xaxis_transform(),
            rotation=40,
            rotation_mode="anchor",
            ha="left",
            va="bottom",
            fontsize=11,
            color=INK,
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.8},
        )
    corner: Literal["lower right", "upper right"] = "lower right" if criterion.higher_is_better else "upper right"
    axes.legend(loc=corner, frameon=True, edgecolor="white", framealpha=0.9)
    return {}


def spending(figure: Figure, networks: Sequence[NetworkRecord], criterion: Criterion) -> Mapping[str, str]:
    """The best validation number by training FLOPs, those of an arm's start network included."""
    axes = figure.add_subplot()
    shown: list[float] = []
    for name in arms_of(networks):
        arm, members = look(name), [network for network in networks if network.arm == name]
        inherited = sum(n.training_flops for n in ancestry(networks, members[0].id)[:-1])
        spent = [inherited + x for x in itertools.accumulate(n.training_flops for n in members)]
        scores = (-math.inf if n.score is None else n.score for n in members)
        bests = list(itertools.accumulate(scores, max))
        points = [(x, criterion.value(y)) for x, y in zip(spent, bests, strict=True) if math.isfinite(y)]
        if points:
            axes.step(*zip(*points, strict=True), where="post", color=arm.colour, lw=2, label=arm.title)
            axes.plot(*points[-1], arm.marker, color=arm.colour, ms=7)
            shown += [value for _, value in points]
    number_axis(axes, shown, criterion, f"best validation {criterion.name}")
    flops_axis(axes, "training FLOPs spent by the arm", log=False)
    axes.set_xlim(left=0)
    legend_above(axes)
    return {}


def edits(figure: Figure, networks: Sequence[NetworkRecord], criterion: Criterion) -> Mapping[str, str]:
    """What each edit did before any training: to the validation number that chooses, and to the outputs."""
    scale, unit = (100, " points") if criterion.is_share else (1, "")
    by_kind: dict[str, list[tuple[NetworkRecord, EditRecord]]] = {}
    for network in networks:
        for edit in network.edits:
            by_kind.setdefault(edit.kind, []).append((network, edit))
    kinds = sorted(by_kind, reverse=True)
    left, right = figure.subplots(1, 2, sharey=True)
    tooltips = {}
    for row, kind in enumerate(kinds):
        for index, (network, edit) in enumerate(by_kind[kind]):
            # The golden ratio spreads the dots of one kind evenly, the same way each time.
            height = row + 0.5 * ((index * 0.618034) % 1 - 0.5)
            tooltip = (
                f"Network {network.id}, round {network.round}\n{_brief(edit)}\n"
                f"{criterion.name} {scale * criterion.value(edit.jump) + 0.0:+.3g}{unit}, outputs {edit.error:.2g}"
            )
            for axes, name, value in (
                (left, "jump", scale * criterion.value(edit.jump)),
                (right, "error", max(edit.error, SMALLEST_ERROR)),
            ):
                if math.isfinite(value):
                    gid = f"{name}{row}-{index}"
                    axes.plot(value, height, "o", gid=gid, color=ACCENT, alpha=0.5, ms=6, mew=0, clip_on=False)
                    tooltips[gid] = tooltip
    left.axvline(0, color=INK, lw=1, zorder=0)
    # What rounding leaves of an exact edit must not fill the axis.
    low, high = left.get_xlim()
    least = LEAST_JUMP * (1 if criterion.is_share else max(abs(criterion.value(n.score or 0.0)) for n in networks))
    left.set_xlim(min(low, -scale * least), max(high, scale * least))
    left.set_yticks(range(len(kinds)), kinds)
    left.set_ylim(-0.6, len(kinds) - 0.4)
    left.set_xlabel(f"validation {criterion.name} after the edit minus before{unit and ' (points)'}")
    right.set_xscale("log")
    right.xaxis.set_major_formatter(lambda value, position: power_of_ten(value))
    right.xaxis.set_minor_formatter(lambda value, position: "")
    right.axvspan(SMALLEST_ERROR, 1e-5, color=ACCENT, alpha=0.06, lw=0)
    right.text(9e-6, len(kinds) - 0.38, "rounding (float32)", ha="right", va="bottom", color=GREY, fontsize=11)
    errors = [edit.error for pairs in by_kind.values() for _, edit in pairs if math.isfinite(edit.error)]
    right.set_xlim(max(SMALLEST_ERROR, min([*errors, 1e-8]) / 3), max([*errors, 1.0]) * 2)
    right.set_xlabel("largest relative change of the outputs (log scale)")
    for axes in (left, right):
        axes.tick_params(axis="y", length=0)
    return tooltips


def ensemble(figure: Figure, found: Result, criterion: Criterion) -> Mapping[str, str]:
    """The number that chooses, on the test set, of the ensemble, its members and the baselines."""
    axes = figure.add_subplot()
    lines: list[tuple[str, NetworkResult | EnsembleResult | None, str, str]] = [
        ("Ensemble", found.ensemble, ACCENT, "D"),
        *((f"Network {member.id}", member, ACCENT, "o") for member in found.members),
    ]
    for arm, baseline in ((look(name), baseline) for name, baseline in found.baselines.items()):
        if baseline.networks is None:
            lines.append((arm.title, baseline.best, arm.colour, arm.marker))
        else:
            lines.append((f"{arm.title}, ensemble", baseline.ensemble, arm.colour, "D"))
            lines.append((f"{arm.title}, best", baseline.best, arm.colour, arm.marker))
    known = [
        (name, value, colour, marker)
        for name, entry, colour, marker in lines
        if entry is not None and (value := entry.test.get(criterion.name)) is not None
    ]
    values = [value for _, value, _, _ in known]
    margin = max(0.15 * (max(values) - min(values)), 0.002 if criterion.is_share else 1e-3 * max(map(abs, values)))
    start = min(values) - margin
    for row, (name, value, colour, marker) in enumerate(reversed(known)):
        heavy = name == "Ensemble"
        axes.plot([start, value], [row, row], color=colour, lw=1.5, alpha=0.35)
        axes.plot(value, row, marker, color=colour, ms=10 if heavy else 8)
        axes.annotate(
            criterion.text(value),
            (value, row),
            xytext=(10, 0),
            textcoords="offset points",
            va="center",
            weight="bold" if heavy else "normal",
        )
    axes.set_yticks(range(len(known)), [name for name, *_ in reversed(known)])
    axes.set_ylim(-0.6, len(known) - 0.4)
    axes.set_xlim(start, max(values) + 1.5 * margin)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
    beyond = 1.0 if criterion.is_share else math.inf  # where only the labels of the points have a place
    axes.xaxis.set_major_formatter(lambda value, position: "" if value > beyond else criterion.text(value))
    axes.set_xlabel(f"test {criterion.name}")
    return {}


def _curve(
    chain: Sequence[NetworkRecord], epochs: Mapping[int, Sequence[EpochRecord]], criterion: Criterion
) -> tuple[Curve, list[float]]:
    """The validation number that chooses by training FLOPs along a chain, and the FLOPs at which each network ends."""
    points: Curve = []
    ends: list[float] = []
    spent = 0.0
    for network in chain:
        own = epochs.get(network.id, ())
        for count, epoch in enumerate(own, start=1):
            # All epochs of one network cost the same.
            x = spent + network.training_flops * count / len(own)
            if math.isfinite(epoch.score):
                points.append((x, criterion.value(epoch.score)))
        spent += network.training_flops
        ends.append(spent)
    return points, ends


def _what_changed(child: NetworkRecord) -> str:
    if len(child.edits) == 1:
        return _brief(child.edits[0])
    return " + ".join(f"{edit.kind.split()[0]} {edit.layer.rsplit('.', 1)[-1]}" for edit in child.edits)


def _brief(edit: EditRecord) -> str:
    return f"{edit.kind} {edit.layer.rsplit('.', 1)[-1]} {edit.before}→{edit.after}"
