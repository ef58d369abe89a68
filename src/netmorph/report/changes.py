"""What a search made of its start network, as pictures: altogether, and from each parent to its child."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

from netmorph import zoo
from netmorph.draw import difference
from netmorph.edit.journal import rebuild, told_base
from netmorph.errors import NetmorphError
from netmorph.graph import Graph, trace
from netmorph.run.opening import load
from netmorph.run.rows import NetworkRecord
from netmorph.run.store import whole_file

STEPS, MOST_BYTES = 12, 250_000  # pictures of one child each in a page, the latest ones; and what all may take


@dataclass(frozen=True)
class Step:
    """The difference of two networks.

    Attributes:
        id: of the second one.
        title: what differs, in a line.
        svg: the picture.
    """

    id: int
    title: str
    svg: str


def changes(folder: Path, ancestry: Sequence[NetworkRecord]) -> list[Step]:
    """From the start network of a run to one of its networks: first the whole way, then from each parent to its child.

    Of a network without edits there is none; nor where it is not on disk or none of netmorph's: other constructors that
    a file names are never imported (`netmorph draw RUN:ID --base ... --edit N` draws those). Of a long ancestry only
    the latest steps are drawn, and no more than a page has room for.

    Args:
        folder: of the run.
        ancestry: the networks from the start network on, see `listing.ancestry`.
    """
    last = ancestry[-1].id
    path = whole_file(folder, last)
    try:
        told = told_base(path) if path.is_file() else None
        if told is None or told.name not in zoo.MODELS:
            return []
        model, journal = load(path)
        if not journal:
            return []
        shape, classes = (told.arguments[name] for name in ("input_shape", "classes"))
        inputs = zoo.example(told.name, tuple(shape), classes)

        def after(edits: int) -> Graph:
            return trace(rebuild(told.build(), journal[:edits]), inputs)

        found, start = trace(model, inputs), after(0)
        count = f"{len(journal)} edit{'s' if len(journal) > 1 else ''}"
        whole = difference(start, found, f"Start network → network {last}, {count}")
        steps = [Step(last, whole.title, whole.svg())]
        ends = [*accumulate(len(network.edits) for network in ancestry)]
        if ends[-1] != len(journal):  # something was taken back: which entry belongs to which child is not known
            return steps
        born = [(network, end) for network, end in zip(ancestry, ends, strict=True) if network.edits][-STEPS:]
        first = born[0][1] - len(born[0][0].edits)
        graphs = [after(first), *(after(end) for _, end in born)] if len(born) > 1 else []
        for (network, _), (before, child) in zip(born, pairwise(graphs), strict=False):
            edits = ", ".join(map(str, network.edits))
            title = f"Network {network.parent} → network {network.id}: {edits}"
            steps.append(Step(network.id, title, difference(before, child, title).svg()))
    except (NetmorphError, KeyError, TypeError):  # a damaged file must not keep the rest of a report from its reader
        return []
    return _that_fit(steps)


def _that_fit(steps: Sequence[Step]) -> list[Step]:
    """The whole way, and the latest steps for which there is room."""
    sizes = [*accumulate(len(step.svg.encode()) for step in (steps[0], *reversed(steps[1:])))]
    count = max(1, sum(size <= MOST_BYTES for size in sizes))
    return [steps[0], *steps[len(steps) - count + 1 :]]
