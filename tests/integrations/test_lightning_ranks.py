"""Ranks inside a real Lightning training: they are logged, and a collapse ends it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from netmorph.measure import RankMonitor, SpectrumError

pl = pytest.importorskip("pytorch_lightning")
from pytorch_lightning.loggers.logger import DummyLogger  # noqa: E402

from netmorph.integrations.lightning import RankCallback  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytorch_lightning.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
]


class Logger(DummyLogger):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.told.append((step, metrics))


class Module(pl.LightningModule):
    """Half of its width is forgotten at the fifth step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 1))

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        if index == 4:
            with torch.no_grad():
                self.net[0].weight[1:] = self.net[0].weight[:1]
        return self.net(batch[0]).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def fitted(callback: RankCallback) -> Logger:
    logger = Logger()
    trainer = pl.Trainer(
        max_epochs=1,
        logger=logger,
        callbacks=[callback],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    trainer.fit(Module(), DataLoader(TensorDataset(torch.randn(80, 4)), batch_size=8))
    return logger


def test_they_are_logged() -> None:
    told = [
        entry for entry in fitted(RankCallback(every=2, module="net")).told if "numerical_rank/0.weight" in entry[1]
    ]
    assert [step for step, _ in told] == [1, 2, 4, 6, 8, 10]
    assert told[0][1]["numerical_rank/0.weight"] == 4.0


def test_a_collapse_ends_the_training() -> None:
    callback = RankCallback(every=1, stops=lambda monitor: bool(monitor.collapsed(0.6)))
    fitted(callback)
    assert isinstance(callback.monitor, RankMonitor)
    assert [reading.step for reading in callback.monitor.readings] == [1, 2, 3, 4, 5]


def test_wrong_arguments_are_told_before_the_training() -> None:
    with pytest.raises(SpectrumError, match="every is at least 1"):
        RankCallback(every=0)
