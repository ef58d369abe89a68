"""Ranks in PyTorch Lightning's training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from netmorph.errors import require
from netmorph.measure.rank_monitor import USUAL, RankMonitor
from netmorph.measure.spectrum import Rank

require("pytorch_lightning", extra="lightning")
from pytorch_lightning import Callback, LightningModule, Trainer  # noqa: E402

__all__ = ["RankCallback"]


class RankCallback(Callback):
    """Logs the ranks of a module's layers, and stops a training whose ranks collapse.

    With several processes each measures its own weights, which are equal.

    Attributes:
        monitor: what was found; None before the training starts.
    """

    def __init__(
        self,
        *,
        every: int = 50,
        measures: Mapping[str, Rank] = USUAL,
        stops: Callable[[RankMonitor], bool] = lambda monitor: False,
        module: str = "",
    ) -> None:
        """Say what to measure.

        Args:
            every: look after so many steps of the optimizers.
            measures: see `RankMonitor`.
            stops: asked after each look whether the training shall end, as
                `lambda monitor: bool(monitor.collapsed(share=0.3))`.
            module: the path, inside the Lightning module, of the network to measure; by default all of it.

        Raises:
            SpectrumError: see `RankMonitor`.
        """
        self._options: dict[str, Any] = {"every": every, "at_most": None, "measures": measures}
        RankMonitor(LightningModule(), **self._options)  # what makes no sense is told here, not in the training
        self._stops, self._module = stops, module
        self._steps = 0
        self.monitor: RankMonitor | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Counts from where a resumed training stands."""
        self._steps = trainer.global_step
        self.monitor = RankMonitor(pl_module.get_submodule(self._module), **self._options, steps=trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Looks after optimizer steps, not after batches that only accumulate gradients."""
        stepped, self._steps = trainer.global_step != self._steps, trainer.global_step
        reading = self.monitor.step() if stepped and self.monitor is not None else None
        if reading is None or self.monitor is None:
            return
        for logger in trainer.loggers:
            logger.log_metrics(reading.scalars(), step=trainer.global_step)
        if self._stops(self.monitor):
            trainer.should_stop = True
