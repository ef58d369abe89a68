"""Sheets of what is seen: filters and what became of them, saliency maps, images that excite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from netmorph.errors import NetmorphError
from netmorph.graph import Graph
from netmorph.look.maps import alike
from netmorph.look.maximize import Excited
from netmorph.look.palette import heat, shades, signed
from netmorph.look.sheet import Panel, Row, Sheet
from netmorph.look.weights import LookError, channels_of, filters, kin, kin_of_equals, moved
from netmorph.measure.growth import twin_distances

APART = 0.01  # twins are apart from this distance on, as for `GrowthMonitor.apart`


@dataclass(frozen=True)
class Look:
    """One look at a layer while its network trains.

    Attributes:
        when: such as "edit" or "epoch 2".
        filters: float64 `[m, C, h, w]`.
        moved: the cosine of each with what it was at the first look.
        twins: how far apart those are that were equal at the edit, see `measure.twin_distances`; None without any.
    """

    when: str
    filters: Tensor
    moved: tuple[float, ...]
    twins: float | None


class Course:
    """What becomes of a layer's filters behind an edit.

        before = look.filters(graph.model, "conv1")
        graph = netmorph.apply(graph, netmorph.widen(graph, "conv1", to=8))
        course = look.Course(graph, "conv1", before=before)
        for epoch in range(3):
            ...  # train
            course.look(f"epoch {epoch + 1}")
        course.sheet("Four channels become eight").save("filters.svg")

    Attributes:
        looks: the first when it is made ("edit"), then one a call of `look`.
        kin: what each channel is to those of before.
        group: the channel group of these filters.
    """

    def __init__(
        self, graph: Graph, layer: str, image: Sequence[int] | None = None, before: Tensor | None = None
    ) -> None:
        """Look at the layer as the edit left it.

        Args:
            graph: as the last `apply` returned it.
            layer: path of a convolution or a linear layer: one that the edit widened, or put in.
            image: see `filters`.
            before: the layer's filters before the edit, to be shown as the first row.

        Raises:
            LookError: see `filters`.
            EditError: what the last edit did is not known.
        """
        start = filters(graph.model, layer, image)
        channels = channels_of(graph, layer)
        self.kin = kin(channels) if channels else kin_of_equals(start, "new" if before is None else "old")
        self.looks: list[Look] = []
        self._graph, self._layer, self._image, self._before = graph, layer, image, before
        self.group = graph.group(layer).name
        self.look("edit")

    def look(self, when: str) -> Look:
        """Look at the layer as it is now.

        Raises:
            LookError: the network was edited since.
        """
        now = filters(self._graph.model, self._layer, self._image)
        first = self.looks[0].filters if self.looks else now
        if now.shape != first.shape:
            raise LookError(f"{self._layer!r} was edited since the course began; begin another one")
        twins = twin_distances(self._graph).get(self.group) if any(one.mark == "twin" for one in self.kin) else None
        found = Look(when, now, tuple(moved(first, now).tolist()), twins)
        self.looks.append(found)
        return found

    def parted(self, distance: float = APART) -> str | None:
        """At which look the twins were so far apart for the first time; None where they have not been."""
        return next((look.when for look in self.looks if look.twins is not None and look.twins >= distance), None)

    def sheet(self, title: str, shown: Sequence[str] | None = None) -> Sheet:
        """A row for each look, a column for each channel; below each filter how far it has turned.

        Args:
            shown: the looks to show, by `when`, "before" among them; None shows all.
        """
        looks = [look for look in self.looks if shown is None or look.when in shown]
        rows = []
        if self._before is not None and (shown is None or "before" in shown):
            old = [
                Panel(signed(image), f"{k}", {"channel": k}, image, "old") for k, image in enumerate(self._before, 1)
            ]
            rows.append(Row("before", tuple(old)))
        for look in looks:
            apart = "" if look.twins is None else f"\ntwins apart: {look.twins:.2f}"
            panels = [
                Panel(
                    signed(image),
                    one.name if look is self.looks[0] else f"{one.name}\ncos {cosine:.3f}",
                    {"channel": number, "cosine with the edit": cosine},
                    image,
                    one.mark,
                )
                for number, (one, image, cosine) in enumerate(zip(self.kin, look.filters, look.moved, strict=True), 1)
            ]
            rows.append(Row(f"{look.when}{apart}", tuple(panels)))
        notes = "Below each filter its cosine with what it was at the edit; each filter has a scale of its own."
        return Sheet(title, tuple(rows), (notes,))


def filter_sheet(
    filters: Tensor,
    title: str,
    after: Tensor | None = None,
    columns: int = 8,
    most: int = 64,
    names: Sequence[str] = (),
) -> Sheet:
    """The filters of a layer; with those of another network below, which began with the first ones.

    Args:
        filters: `[n, C, h, w]`.
        after: `[m, C, h, w]`: what became of them, and perhaps new ones behind.
        columns: pictures in a row.
        most: so many are shown.
        names: of the channels, in place of their numbers.

    Raises:
        LookError: the shapes of single filters differ.
    """
    networks = {"": filters} if after is None else {"before": filters, "after": after}
    cosines = [] if after is None else moved(filters, after).tolist()
    rows, notes = [], [_SCALE]
    for name, found in networks.items():
        panels = []
        for number, image in enumerate(found[:most]):
            turned = name == "after" and number < len(cosines)
            called = names[number] if names else f"{number + 1}"
            caption = f"{called}\ncos {cosines[number]:.3f}" if turned else called
            numbers = {"channel": number + 1} | ({"cosine": cosines[number]} if turned else {})
            mark = "" if after is None else "old" if number < len(filters) else "new"
            panels.append(Panel(signed(image), caption, numbers, image, mark))
        rows += _in_rows(name or "filters", panels, columns)
        if len(found) > most:
            notes.append(f"{len(found) - most} more are not shown.")
    return Sheet(title, tuple(rows), tuple(notes))


_SCALE = (
    "White is positive, black negative, grey zero (colours: channel by channel); each filter has a scale of its own."
)


def matrix_sheet(kernels: Mapping[str, Tensor], title: str) -> Sheet:
    """A layer's weights as matrices `[h, w]`, one for each network: a row for each channel that is written."""
    panels = [Panel(signed(values[None]), name, {}, values) for name, values in kernels.items()]
    notes = "A row for each channel that the layer writes, a column for each that it reads; white is positive."
    return Sheet(title, (Row("weights", tuple(panels)),), (notes,), size=min(300.0, 600.0 / len(panels)))


def saliency_sheet(
    images: Tensor, maps: Mapping[str, Tensor], title: str, names: Sequence[str] = (), notes: Sequence[str] = ()
) -> Sheet:
    """Images, and below each what matters in it, for each network.

    Args:
        images: `[N, C, H, W]`, numbers from 0 to 1.
        maps: by network, `[N, H, W]`; of all behind the first it is told how alike they are to it, see `alike`.
        names: of the classes of the images.
    """
    if not maps:
        raise LookError("there are no maps to show; give those of one network at least")
    first = next(iter(maps.values()))
    rows = [
        Row(
            "image", tuple(_shown(image, name) for image, name in zip(images, names or [""] * len(images), strict=True))
        )
    ]
    for network, found in maps.items():
        same = alike(first, found).tolist() if found is not first else []
        panels = [
            Panel(
                heat(values),
                f"{same[number]:.2f}" if same else "",
                {"alike": same[number], "largest difference": _difference(first[number], values)} if same else {},
                values,
            )
            for number, values in enumerate(found)
        ]
        mean = f"\nalike: {torch.tensor(same).nanmean():.2f}" if same else ""
        rows.append(Row(f"{network}{mean}", tuple(panels)))
    told = "Light is what the answer hangs on; each map has a scale of its own."
    if len(maps) > 1:
        told += " Below: Spearman's correlation with the first row of maps."
    return Sheet(title, tuple(rows), (told, *notes))


def excited_sheet(found: Mapping[str, Excited], title: str, names: Sequence[str], notes: Sequence[str] = ()) -> Sheet:
    """Images that excite classes or channels most, a row for each network.

    Args:
        names: of the classes or channels, a column each.
    """
    rows = []
    for network, excited in found.items():
        panels = [
            Panel(shades(image), f"{name}\n{score:.1f}", {"of": name, "score": score})
            for name, image, score in zip(names, excited.images, excited.scores.tolist(), strict=True)
        ]
        rows.append(Row(network, tuple(panels)))
    told = "Found by gradients; below each the score that it reaches."
    return Sheet(title, tuple(rows), (told, *notes))


def _shown(image: Tensor, caption: str) -> Panel:
    return Panel(shades(image), caption)


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def _in_rows(label: str, panels: Sequence[Panel], columns: int) -> list[Row]:
    if columns < 1:
        raise NetmorphError(f"columns is how many pictures stand in a row, at least 1, got {columns}")
    return [
        Row("" if start else label, tuple(panels[start : start + columns])) for start in range(0, len(panels), columns)
    ]
