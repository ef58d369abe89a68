"""Pictures of a neighbourhood: answers in, artists on a figure, tooltips by gid out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from netmorph.neighbours.answers import Answer, Difference
from netmorph.neighbours.values import ITSELF, Neighbour
from netmorph.neighbours.words import interval
from netmorph.report.figures import GREY, INK, PALE
from netmorph.tasks import Criterion

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONGEST = 44  # letters in a line of a name
BETTER, WORSE = "#009e73", "#d55e00"
MARKS = {"trade": "o", "deeper": "^", "shallower": "v", "wider": ">", "narrower": "<"}


def neighbourhood(
    figure: Figure, answers: Sequence[Answer], around: Sequence[Neighbour], tolerance: float, criterion: Criterion
) -> Mapping[str, str]:
    """Differences against cost: a row for each start, FLOPs at the left and parameters at the right."""
    panels = figure.subplots(len(answers), 2, squeeze=False, sharey="row", sharex="col")
    tooltips: dict[str, str] = {}
    for row, found in zip(panels, answers, strict=True):
        for axes, cost, what in zip(row, (_flops, _parameters), ("FLOPs", "parameters"), strict=True):
            axes.axhline(0, color=GREY, linewidth=0.8)
            axes.plot(1, 0, "*", ms=13, color=INK, zorder=3)
            for each in (*found.rivals, *found.dearer):
                neighbour = around[each.neighbour]
                at = cost(neighbour) / cost(around[ITSELF])
                gid = f"{found.start}-{what}-{each.neighbour}"
                _dot(axes, at, each, neighbour, criterion, gid)
                tooltips[gid] = f"{each.neighbour}: {neighbour.name}\n{interval(each, criterion)}, p {each.p:.3g}"
            axes.set_title(f"{found.start} weights")
            if found is answers[-1]:
                axes.set_xlabel(f"{what}, times those of the network itself")
        row[0].axvspan(1 - tolerance, 1 + tolerance, color=PALE, alpha=0.5, linewidth=0)
        row[0].set_ylabel(_label(criterion))
    return tooltips


def differences(
    figure: Figure, answers: Sequence[Answer], around: Sequence[Neighbour], criterion: Criterion
) -> Mapping[str, str]:
    """Each neighbour's difference and interval in a line, by its name."""
    panels = figure.subplots(1, len(answers), squeeze=False, sharey=True, sharex=True)[0]
    order = sorted((each for each in around if each.number != ITSELF), key=lambda each: -each.number)
    places = {each.number: place for place, each in enumerate(order)}
    for axes, found in zip(panels, answers, strict=True):
        axes.axvline(0, color=GREY, linewidth=0.8)
        for each in (*found.rivals, *found.dearer):
            scale = _scale(criterion)
            axes.errorbar(
                scale * each.mean,
                places[each.neighbour],
                xerr=scale * (each.high - each.mean),
                marker=MARKS[around[each.neighbour].kind],
                color=_colour(each),
                capsize=3,
            )
        axes.set_title(f"{found.start} weights")
        axes.set_xlabel(_label(criterion))
    panels[0].set_yticks([*places.values()], labels=[fill(f"{each.number}  {each.name}", LONGEST) for each in order])
    return {}


def _dot(axes: Axes, at: float, each: Difference, neighbour: Neighbour, criterion: Criterion, gid: str) -> None:
    scale = _scale(criterion)
    half = scale * (each.high - each.mean)
    axes.errorbar(at, scale * each.mean, yerr=half, color=_colour(each), linewidth=1, alpha=0.7)
    axes.plot(at, scale * each.mean, MARKS[neighbour.kind], ms=7, color=_colour(each), gid=gid)
    axes.annotate(str(each.neighbour), (at, scale * each.mean), (6, 3), textcoords="offset points", fontsize=10)


def _colour(each: Difference) -> str:
    return BETTER if each.is_better else WORSE if each.is_worse else GREY


def _scale(criterion: Criterion) -> float:
    return 100.0 if criterion.is_share else 1.0


def _label(criterion: Criterion) -> str:
    turned = "" if criterion.higher_is_better else ", turned so that more is better"
    return f"test {criterion.name} beyond the network's{turned}" + (" (points)" if criterion.is_share else "")


def _flops(neighbour: Neighbour) -> float:
    return neighbour.flops


def _parameters(neighbour: Neighbour) -> float:
    return neighbour.parameters
