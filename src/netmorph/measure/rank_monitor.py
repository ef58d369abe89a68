"""Ranks while a network trains, in a loop of any kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from netmorph.graph import Graph
from netmorph.measure.lanczos import Follower
from netmorph.measure.matrices import weight_matrices
from netmorph.measure.spectrum import (
    NORMS,
    Rank,
    SpectrumError,
    effective_rank,
    numerical_rank,
    spectra,
    spectral_norm,
    stable_rank,
)

USUAL: dict[str, Rank] = {
    measure.__name__: measure for measure in (numerical_rank, stable_rank, effective_rank, spectral_norm)
}


class ScalarWriter(Protocol):
    """Such as TensorBoard's `SummaryWriter`."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> object:
        """Take one number of one step."""


@dataclass(frozen=True)
class Reading:
    """What one look found.

    Attributes:
        step: after how many steps.
        seconds: how long it took.
        values: by measure and matrix.
    """

    step: int
    seconds: float
    values: dict[str, dict[str, float]]

    def scalars(self) -> dict[str, float]:
        """The values by `measure/matrix`."""
        return {f"{kind}/{name}": value for kind, found in self.values.items() for name, value in found.items()}


class RankMonitor:
    """Measures the ranks of a network's layers every so many steps.

        monitor = RankMonitor(model)
        for x, y in loader:
            ...
            optimizer.step()
            monitor.step()
            if monitor.collapsed():
                break

    Attributes:
        readings: what was found so far, oldest first.
    """

    def __init__(
        self,
        network: nn.Module | Graph,
        *,
        every: int = 50,
        at_most: float | None = 0.01,
        measures: Mapping[str, Rank] = USUAL,
        matrices: Callable[[nn.Module | Graph], Mapping[str, Tensor]] = weight_matrices,
        steps: int = 0,
    ) -> None:
        """Say what to measure, and how often.

        Args:
            network: the module, or its graph, which tells the heads of attention. A module may be edited meanwhile.
            every: look after so many steps.
            at_most: the share of the time that looking may take: a look that is due waits until so much time has passed
                since the last one. None looks every time.
            measures: functions of a `Spectrum`, by name, such as those of `netmorph.measure.SPECTRAL`. Where all of
                them are in `netmorph.measure.NORMS`, singular values but the largest are not computed: it is followed
                from look to look, see `leading`, at a small part of the cost.
            matrices: which matrices of the network, `weight_matrices` or `gradient_matrices`.
            steps: how many steps were taken before, by a training that is resumed.

        Raises:
            SpectrumError: an argument makes no sense.
        """
        if every < 1 or (at_most is not None and not 0 < at_most <= 1) or not measures:
            raise SpectrumError(
                "every is at least 1, at_most a share above 0 and up to 1 (or None), and there is at least one "
                f"measure; got every={every}, at_most={at_most}, measures={list(measures)}"
            )
        self.readings: list[Reading] = []
        self._network, self._matrices, self._measures = network, matrices, dict(measures)
        self._find: Callable[[Mapping[str, Tensor]], Mapping[str, Any]] = (
            Follower() if set(measures.values()) <= set(NORMS.values()) else spectra
        )
        self._every, self._at_most = every, at_most
        self._steps, self._due, self._looked = steps, True, time.perf_counter()

    def step(self) -> Reading | None:
        """Call after each step of the optimizer (of gradients: before they are zeroed); looks first at the first.

        Returns:
            What was found, where it looked.

        Raises:
            SpectrumError: a matrix holds NaN or infinite entries, or there is no matrix.
        """
        self._steps += 1
        self._due = self._due or self._steps % self._every == 0
        return self.look() if self._due and self._can_afford() else None

    def look(self) -> Reading:
        """Measure now.

        Raises:
            SpectrumError: a matrix holds NaN or infinite entries, or there is no matrix.
        """
        began = time.perf_counter()
        found = self._find(self._matrices(self._network))
        if not found:
            raise SpectrumError("there is nothing to measure: no parameter of the network is a matrix")
        values = {measure: {name: of(seen) for name, seen in found.items()} for measure, of in self._measures.items()}
        self._looked = time.perf_counter()
        self._due = False
        reading = Reading(self._steps, self._looked - began, values)
        self.readings.append(reading)
        return reading

    def collapsed(self, share: float = 0.5, measure: str = "effective_rank") -> list[str]:
        """The matrices whose rank has fallen below a share of what it was when they were first seen.

        Args:
            share: above 0 and below 1.
            measure: one of those that are measured.

        Raises:
            SpectrumError: the measure is not measured, or the share makes no sense.
        """
        if measure not in self._measures or not 0 < share < 1:
            raise SpectrumError(
                f"collapsed takes a share above 0 and below 1 and one of the measures {', '.join(self._measures)}; "
                f"got {share} and {measure!r}"
            )
        first: dict[str, float] = {}
        for reading in self.readings:
            first = reading.values[measure] | first
        latest = self.readings[-1].values[measure] if self.readings else {}
        return [name for name, value in latest.items() if value < share * first[name]]

    def log(self, writer: ScalarWriter) -> None:
        """Write the latest reading as scalars `measure/matrix`, to TensorBoard for instance."""
        for reading in self.readings[-1:]:
            for tag, value in reading.scalars().items():
                writer.add_scalar(tag, value, reading.step)

    def _can_afford(self) -> bool:
        if self._at_most is None or not self.readings:
            return True
        return time.perf_counter() - self._looked >= self.readings[-1].seconds / self._at_most
