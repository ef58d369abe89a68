"""What chapters come to: a verdict in a sentence, from what they have just measured, whatever it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from netmorph.report.arms import ACCENT, ORANGE
from netmorph.report.figures import GREY, INK, flops_axis, legend_above
from netmorph.report.findings import Finding
from netmorph.report.numbers import percent
from netmorph.report.page import headline
from netmorph.report.plain_page import Picture, Table
from netmorph.report.sections import sections
from netmorph.report.shrinking import pictures
from netmorph.report.summary import found_by, noise_of, rows
from netmorph.run import Records
from netmorph.shrink import Shrunk
from netmorph.tasks import Criterion
from netmorph.tasks.criterion import ACCURACY
from netmorph.wording import compact, flops_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = ("tradeoff", "lineage")  # of the pictures of a run
POINT = 0.01  # accuracy that shrinking may cost and still be called worth it


@dataclass(frozen=True)
class Course:
    """How a network of the chapter on growth learnt.

    Attributes:
        flops: training FLOPs spent until the end of each part of the training.
        losses: on text that nobody learnt, after each part.
        sizes: blocks in each part.
    """

    name: str
    flops: Sequence[float]
    losses: Sequence[float]
    sizes: Sequence[int]

    @property
    def loss(self) -> float:
        """In the end."""
        return self.losses[-1]

    def reaches(self, loss: float) -> float | None:
        """The FLOPs after which it has come to a loss; None if it never does."""
        return next((spent for spent, seen in zip(self.flops, self.losses, strict=True) if seen <= loss), None)


@dataclass(frozen=True)
class Measured:
    """A network of the chapter on rank: how many parameters, and the share of the test images that it knows."""

    parameters: int
    accuracy: float


def growth(grown: Course, equal: Course, full: Course, small: Course, command: str) -> Finding:
    """What growing was worth.

    Args:
        equal: the full size from the start, for about as many FLOPs as `grown`.
        full: likewise, for as many steps.
        small: the first size to the end.
    """
    pays = grown.loss < equal.loss
    courses = (grown, equal, full, small)
    reached = full.reaches(grown.loss)
    later = (
        "does not come so far"
        if reached is None
        else f"is as far after {reached / grown.flops[-1]:.1f} times as many FLOPs"
    )
    text = (
        f"Trained for as many steps, the full size {later}, and ends at {full.loss:.2f}. {small.name[:1].upper()}"
        f"{small.name[1:]}, to the end, comes to {small.loss:.2f}"
        f"{'' if grown.loss < small.loss else ': it still learns, so it had no need to grow'}. One seed and little "
        "training: the direction, not a measurement."
    )
    rows = [
        (one.name, f"{one.loss:.3f}", flops_text(one.flops[-1]), f"{one.flops[-1] / full.flops[-1]:.0%}")
        for one in sorted(courses, key=lambda one: one.loss)
    ]
    return Finding(
        "growth",
        "A network that grows while it learns",
        f"Growing {'pays' if pays else 'does not pay'} here: for about as many training FLOPs, the network that grew "
        f"comes to a loss of {grown.loss:.2f}, its full size from the start to {equal.loss:.2f}.",
        text,
        Table("Networks", ("", "loss on unseen text", "training FLOPs", "of the full size's"), rows),
        [
            Picture(
                "growth-curves",
                "Loss by cost",
                "Loss on text that nobody learnt, by the training FLOPs spent; rings: the network grew.",
                partial(draw_courses, courses=courses),
                380,
            )
        ],
        commands=(command,),
    )


def draw_courses(figure: Figure, courses: Sequence[Course]) -> Mapping[str, str]:
    """The loss of each network by what it had cost; rings where one grew."""
    axes = figure.subplots()
    for course, colour in zip(courses, (ORANGE, ACCENT, INK, GREY), strict=True):
        grows = len(set(course.sizes)) > 1
        axes.plot(course.flops, course.losses, "-", color=colour, lw=2.4 if grows else 1.4, label=course.name)
        axes.plot(course.flops[-1], course.losses[-1], "o", color=colour, ms=5)
        for place in range(1, len(course.sizes)):
            if course.sizes[place] != course.sizes[place - 1]:
                at = (course.flops[place - 1], course.losses[place - 1])
                axes.plot(*at, "o", mfc="none", mec=colour, mew=2, ms=11)
                axes.annotate(f"{course.sizes[place]} blocks", at, (7, 7), textcoords="offset points")
    axes.set_ylabel("loss on unseen text")
    flops_axis(axes, "training FLOPs", log=False)
    axes.set_xlim(left=0)
    legend_above(axes)
    return {}


def shrinking(wide: Measured, shrunk: Measured, scratch: Measured, found: Shrunk, images: int, command: str) -> Finding:
    """What shrinking was worth.

    Args:
        scratch: a network of the widths that were found, trained as long from the start.
        images: of the test part.
    """
    lost = wide.accuracy - shrunk.accuracy
    pays = lost <= POINT and shrunk.parameters < wide.parameters
    named = (("wide", wide), ("shrunk", shrunk), ("as narrow from the start", scratch))
    return Finding(
        "shrinking",
        "A network as narrow as what it computes",
        f"Shrinking {'pays' if pays else 'does not pay'} here: with {wide.parameters / shrunk.parameters:.1f} times "
        f"fewer parameters the network knows {percent(shrunk.accuracy)} of the test images, before it knew "
        f"{percent(wide.accuracy)}.",
        f"Each layer became as wide as the rank of what it computes, round after round. It ended because "
        f"{found.stopped}. A network of these widths that learnt for as many epochs from the start knows "
        f"{percent(scratch.accuracy)}. One seed; one of the {images} test images is {percent(1 / images)}.",
        Table(
            "Networks",
            ("", "parameters", "test accuracy"),
            [(name, f"{one.parameters:,}", percent(one.accuracy)) for name, one in named],
        ),
        pictures(found.rounds, ACCURACY)[:2],
        ("difference.html",),
        (command,),
    )


def evolution(run: Path, *commands: str) -> Finding:
    """What a search was worth, as its own report tells it.

    Args:
        run: the folder of a finished `netmorph evolve`.
    """
    with Records.open(run) as records:
        networks, criterion = records.networks(), Criterion.of(records.meta("criterion"))
        found = found_by(records)
        first, *others = headline(found, networks, records.meta("round"), criterion)
        texts = [
            (
                row.name,
                criterion.text(row.test),
                criterion.text(row.validation),
                compact(row.parameters),
                compact(row.flops),
                compact(row.training_flops),
            )
            for row in rows(found, criterion)
        ]
        shown = [
            Picture(section.id, section.title, section.caption, section.draw, section.height)
            for section in sections(records, found)
            if section.id in SHOWN and section.draw is not None
        ]
        said = noise_of(records, networks)
    columns = ("", f"test {criterion.name}", "validation", "parameters", "FLOPs per sample", "training FLOPs")
    return Finding(
        "evolution",
        "Networks that have children",
        first,
        " ".join([*others, *([said] if said else [])]),
        Table("Networks", columns, texts),
        shown,
        (f"{run}/report.html",),
        commands,
    )
