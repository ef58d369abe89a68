"""The end of a run: how its networks do on the held-out test set, which is used once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from netmorph.data import Dataset
from netmorph.measure.classification import classification_report
from netmorph.run.records import NetworkRecord
from netmorph.run.store import NetworkStore
from netmorph.tasks import Numbers
from netmorph.train.evaluation import evaluate, predict


@dataclass
class FinalTest:
    """Scores for `netmorph.run.result.result_of`; the same networks are asked once.

    Attributes:
        views: see `netmorph.train.evaluate`.
    """

    store: NetworkStore
    dataset: Dataset
    views: int = 1
    _known: dict[tuple[int, ...], Numbers] = field(default_factory=dict)

    def numbers(self, networks: Sequence[NetworkRecord]) -> Numbers:
        """What the task tells of the networks together."""
        asked = tuple(network.id for network in networks)
        if asked not in self._known:
            found = evaluate(self._models(networks), self.dataset.test, self.dataset, views=self.views)
            self._known[asked] = found.numbers
        return self._known[asked]

    def classification(self, networks: Sequence[NetworkRecord]) -> dict[str, Any] | None:
        """How well each class is recognized by the networks together, where there are classes."""
        if not self.dataset.classes:
            return None
        answers = predict(self._models(networks), self.dataset.test, self.dataset, views=self.views)
        return classification_report(self.dataset.test.targets, answers.argmax(1), self.dataset.classes)

    def _models(self, networks: Sequence[NetworkRecord]) -> list[nn.Module]:
        return [self.store.take(network.id)[0] for network in networks]
