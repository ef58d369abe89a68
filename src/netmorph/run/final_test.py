"""The end of a run: how its networks do on the held-out test set, which is used once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from netmorph.data import Dataset
from netmorph.measure.classification import classification_report
from netmorph.run.records import NetworkRecord
from netmorph.run.store import NetworkStore
from netmorph.train.evaluation import predict


@dataclass
class FinalTest:
    """Scores for `netmorph.run.result.result_of`; each network is asked once.

    Attributes:
        views: see `netmorph.train.evaluation.evaluate`.
    """

    store: NetworkStore
    dataset: Dataset
    views: int = 1
    _known: dict[int, Tensor] = field(default_factory=dict)

    def accuracy(self, networks: Sequence[NetworkRecord]) -> float:
        """Of the networks together."""
        return (self._predictions(networks) == self.dataset.test.targets).double().mean().item()

    def classification(self, networks: Sequence[NetworkRecord]) -> dict[str, Any]:
        """How well each class is recognized by the networks together."""
        return classification_report(self.dataset.test.targets, self._predictions(networks), self.dataset.classes)

    def _predictions(self, networks: Sequence[NetworkRecord]) -> Tensor:
        """The classes that the mean of their probabilities says, int64 [N]."""
        return torch.stack([self._probabilities(network.id) for network in networks]).mean(0).argmax(1)

    def _probabilities(self, network: int) -> Tensor:
        if network not in self._known:
            model, _, _ = self.store.take(network)
            self._known[network] = predict(model, self.dataset.test, self.dataset, views=self.views)
        return self._known[network]
