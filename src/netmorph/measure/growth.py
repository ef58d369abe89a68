"""What growth does: gradients of new weights beside those of old ones, twins that come apart, the jump of the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from netmorph.edit.entries import last_edits, new_entries
from netmorph.edit.width_edit import WidthEdit
from netmorph.errors import NetmorphError
from netmorph.graph import Graph, Group, Role
from netmorph.measure.rank_monitor import ScalarWriter
from netmorph.widenings import ChannelMap


@dataclass(frozen=True)
class GradientSizes:
    """The root mean square of a layer's gradients, over the entries of its parameters.

    Attributes:
        new: of entries that the last edit made.
        old: of the others; NaN where there are none, as in a block that was put in.
    """

    new: float
    old: float

    @property
    def ratio(self) -> float:
        """New over old: below 1 where new weights get less to learn from (arXiv 2605.15435 sees that in CNNs)."""
        return self.new / self.old if self.old else math.nan


def gradient_sizes(model: nn.Module, new: Mapping[str, Tensor]) -> dict[str, GradientSizes]:
    """By layer that has new entries: how large the gradients of new and old ones are now.

    Args:
        model: after a backward.
        new: `netmorph.edit.new_entries(graph)`.

    Raises:
        NetmorphError: none of these parameters has a gradient, or the network was edited since.
    """
    sums: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        path = name.rpartition(".")[0]
        if parameter.grad is None or all(other.rpartition(".")[0] != path for other in new):
            continue
        mark = new.get(name, torch.zeros_like(parameter, dtype=torch.bool))
        if mark.shape != parameter.shape:
            raise NetmorphError(
                f"{name!r} has the shape {tuple(parameter.shape)} and its entries {tuple(mark.shape)}: the network was "
                "edited since; take new_entries of the new graph"
            )
        squares = parameter.grad.detach().abs().double().square()
        found = [(squares[part].sum(), part.sum()) for part in (mark, ~mark)]
        sums[path] = sums.get(path, 0) + torch.stack([number.double() for pair in found for number in pair])
    if not sums:
        raise NetmorphError(
            "no parameter with new entries has a gradient; ask between backward and zero_grad, of a network that grew"
        )
    told = {path: total.tolist() for path, total in sums.items()}
    return {path: GradientSizes(_mean(*pair[:2]), _mean(*pair[2:])) for path, pair in told.items()}


def _mean(squares: float, count: float) -> float:
    return math.sqrt(squares / count) if count else math.nan


def twin_distances(graph: Graph) -> dict[str, float]:
    """By group that the last edit widened by equal channels: how far apart these are now.

    Equal were the twins of `r2r`, and a channel with its copies. Of each such set of `k` channels with rows `w_i` (in
    all that computes the channels), the distance is `sqrt(k / (k - 1) * sum |w_i - mean|^2 / sum |w_i|^2)`, over all
    sets together: 0 for equal rows, 1 for rows that have nothing to do with each other.

    Args:
        graph: as the last `apply` returned it; the network may have been trained since.

    Raises:
        EditError: what the last edit made is not known, see `new_entries`.
    """
    [before] = last_edits(graph)
    changes = before.edit.changes if isinstance(before.edit, WidthEdit) else {}
    found = {name: _distance(graph, graph.group(name), channels) for name, channels in changes.items()}
    return {name: distance for name, distance in found.items() if distance is not None}


def _distance(graph: Graph, group: Group, channels: ChannelMap) -> float | None:
    sets: dict[int, list[int]] = {}
    for place, row in enumerate(channels.rows.tolist()):
        sets.setdefault(row, []).append(place)
    several = [places for places in sets.values() if len(places) > 1]
    rows = _rows(graph, group)
    if not several or rows is None:
        return None
    apart, size = 0.0, 0.0
    for places in several:
        members = rows[places]
        share = len(places) / (len(places) - 1)
        apart += share * float((members - members.mean(0)).square().sum())
        size += float(members.square().sum())
    return math.sqrt(apart / size) if size else 0.0


def _rows(graph: Graph, group: Group) -> Tensor | None:
    """float64 `[m, *]`: all that computes each channel; None where no parameter does."""
    found: list[Tensor] = []

    def look(part: Tensor, dim: int) -> Tensor:
        found.append(part.movedim(dim, 0).flatten(1) if part.dim() > 1 else part[:, None])
        return part

    parameters = dict(graph.model.named_parameters())
    for site in group.where(Role.WRITE):
        if site.tensor in parameters:
            weight = parameters[site.tensor].detach().cpu()
            weight = torch.view_as_real(weight) if weight.is_complex() else weight
            site.change(weight.double(), {group.atom: look})
    return torch.cat(found, 1) if found else None


@dataclass(frozen=True)
class GrowthReading:
    """What one look found.

    Attributes:
        step: after growth, from 1.
        loss: as it was given.
        gradients: by layer, see `gradient_sizes`.
        distances: by group, see `twin_distances`: before this step.
    """

    step: int
    loss: float
    gradients: dict[str, GradientSizes]
    distances: dict[str, float]

    def scalars(self) -> dict[str, float]:
        """The numbers by `measure/name`."""
        ratios = {f"gradient_ratio/{layer}": sizes.ratio for layer, sizes in self.gradients.items()}
        distances = {f"twin_distance/{group}": distance for group, distance in self.distances.items()}
        return {"loss": self.loss} | ratios | distances


class GrowthMonitor:
    """Watches what the last edit has made, step by step, in a loop of any kind.

        graph = netmorph.apply(graph, edit, optimizer)
        monitor = GrowthMonitor(graph, before=loss_so_far)
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            monitor.step(loss)
            optimizer.step()

    A further edit takes a monitor of its own. Each look reads numbers from the device; `every` spares steps.

    Attributes:
        readings: what was found so far, oldest first.
    """

    def __init__(self, graph: Graph, before: float = math.nan, every: int = 1) -> None:
        """Say what to watch.

        Args:
            graph: as the last `apply` returned it.
            before: the loss before growth.
            every: look at each so-manieth step, and at the first.

        Raises:
            NetmorphError: `every` is not a positive whole number.
            EditError: what the last edit made is not known, see `new_entries`.
        """
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise NetmorphError(f"every is a whole number of steps, at least 1, got {every!r}")
        self.readings: list[GrowthReading] = []
        self._graph, self._before, self._every = graph, before, every
        self._new = new_entries(graph)
        self._steps = 0

    def step(self, loss: Tensor | float) -> GrowthReading | None:
        """Call after each backward, before the step of the optimizer.

        Returns:
            What was found, where it looked.

        Raises:
            NetmorphError: there are no gradients, or the network was edited since.
        """
        self._steps += 1
        if (self._steps - 1) % self._every:
            return None
        gradients = gradient_sizes(self._graph.model, self._new)
        value = float(loss.detach() if isinstance(loss, Tensor) else loss)
        reading = GrowthReading(self._steps, value, gradients, twin_distances(self._graph))
        self.readings.append(reading)
        return reading

    @property
    def jump(self) -> float:
        """How far the loss was above that before growth at its worst; below 0 where it never was."""
        return max((reading.loss for reading in self.readings), default=math.nan) - self._before

    def apart(self, distance: float = 0.01) -> dict[str, int | None]:
        """By group: the first step before which its twins were so far apart; None where they have not been."""
        found: dict[str, int | None] = {}
        for reading in self.readings:
            for group, held in reading.distances.items():
                found[group] = found.get(group) or (reading.step if held >= distance else None)
        return found

    def log(self, writer: ScalarWriter) -> None:
        """Write the latest reading as scalars `measure/name`, to TensorBoard for instance."""
        for reading in self.readings[-1:]:
            for tag, value in reading.scalars().items():
                writer.add_scalar(tag, value, reading.step)
