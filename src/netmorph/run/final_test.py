"""The end of an evolution: what it found, on the held-out test set, once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from netmorph.data import Dataset
from netmorph.measure.classification import classification_report
from netmorph.run.ranking import front, ranked, spent
from netmorph.run.records import NetworkRecord, Records
from netmorph.run.store import NetworkStore
from netmorph.train.evaluation import predict


def conclude(
    records: Records, store: NetworkStore, dataset: Dataset, seconds: float, *, views: int = 1
) -> dict[str, Any]:
    """Test the survivors, their ensemble, and the same of the baselines.

    Args:
        views: see `netmorph.train.evaluate`.

    Returns:
        See `netmorph.report.summary`.
    """
    tested = _Tested(store, dataset, views)
    evolved, alone, random = (records.networks(arm) for arm in ("evolve", "alone", "random"))
    members = ranked(network for network in evolved if network.survivor)
    baselines: dict[str, Any] = {}
    if alone:
        chain = [
            evolved[0],
            *(network for network in alone if network.state == "trained"),
        ]  # the start network's own training is the first part of it
        baselines["alone"] = {**tested.entry(ranked(chain)[0]), "training_flops": spent(chain)}
    if best_random := ranked(network for network in random if network.survivor):
        baselines["random"] = {
            "best": tested.entry(best_random[0]),
            "ensemble": tested.ensemble(best_random),
            "training_flops": spent(network for network in random if network.state == "trained"),
            "networks": sum(network.state == "trained" for network in random),
        }
    return {
        "best": tested.entry(members[0]),
        "ensemble": tested.ensemble(members),
        "members": [tested.entry(network) for network in members],
        "baselines": baselines,
        "training_flops": spent(evolved),
        "seconds": seconds,
        "front": [network.id for network in front(evolved)],
        "classification": tested.classification(members),
    }


class _Tested:
    """Class probabilities on the test set, computed once for each network."""

    def __init__(self, store: NetworkStore, dataset: Dataset, views: int) -> None:
        self._store = store
        self._views = views
        self._dataset = dataset
        self._known: dict[int, Tensor] = {}

    def entry(self, network: NetworkRecord) -> dict[str, Any]:
        return {
            "id": network.id,
            "test_accuracy": self._accuracy([network]),
            "validation_accuracy": network.accuracy,
            "parameters": network.parameters,
            "flops": network.flops * self._views,
        }

    def ensemble(self, networks: Sequence[NetworkRecord]) -> dict[str, Any]:
        return {
            "test_accuracy": self._accuracy(networks),
            "parameters": sum(network.parameters for network in networks),
            "flops": sum(network.flops for network in networks) * self._views,
            "members": [network.id for network in networks],
        }

    def classification(self, networks: Sequence[NetworkRecord]) -> dict[str, Any]:
        """How well each class is recognized by the networks together."""
        return classification_report(self._dataset.test.targets, self._predictions(networks), self._dataset.classes)

    def _accuracy(self, networks: Sequence[NetworkRecord]) -> float:
        return (self._predictions(networks) == self._dataset.test.targets).double().mean().item()

    def _predictions(self, networks: Sequence[NetworkRecord]) -> Tensor:
        """The classes that the mean of their probabilities says, int64 [N]."""
        return torch.stack([self._probabilities(network.id) for network in networks]).mean(0).argmax(1)

    def _probabilities(self, network: int) -> Tensor:
        if network not in self._known:
            model, _, _ = self._store.take(network)
            self._known[network] = predict(model, self._dataset.test, self._dataset, views=self._views)
        return self._known[network]
