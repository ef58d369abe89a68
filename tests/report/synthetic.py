"""A made-up run that looks like a real one, to build and look at reports without training anything."""

import math
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from netmorph.measure.calibration import calibration_report
from netmorph.measure.classification import classification_report
from netmorph.measure.values import value_report
from netmorph.run.ranking import best, front
from netmorph.run.records import Records
from netmorph.run.rows import EditRecord, EpochRecord, NetworkRecord
from netmorph.tasks import Criterion, Exhibit
from netmorph.tasks.criterion import ACCURACY

KINDS = {  # kind -> whether it is exact
    "widen r2r": True,
    "widen net2net": True,
    "widen pad": False,
    "narrow score": False,
    "deepen r2r": True,
    "deepen net2net": True,
    "shallow": False,
}
LAYERS = ["features.conv1", "features.conv2", "classifier.fc1", "classifier.fc2"]
SAMPLES = 300
START = NetworkRecord(
    id=0,
    arm="evolve",
    round=0,
    parent=None,
    seed=0,
    state="trained",
    parameters=3100,
    flops=90_000,
    training_flops=0,
    seconds=3.0,
    score=None,
    numbers={},
    survivor=False,
    edits=(),
    failure=None,
)


def epoch_record(
    network: int, epoch: int, train_loss: float, train: float, loss: float, accuracy: float, rate: float, seconds: float
) -> EpochRecord:
    return EpochRecord(
        network,
        epoch,
        {"loss": train_loss, "accuracy": train},
        {"loss": loss, "accuracy": accuracy},
        accuracy,
        rate,
        seconds,
    )


@dataclass(frozen=True)
class Kind:
    """What a run is told in: runs are made up as accuracies, and translated as they are written."""

    criterion: Criterion
    exhibit: Exhibit
    numbers: Callable[[float], dict[str, float]]
    shown: dict[str, Any] = field(default_factory=dict)

    def tested(self, accuracy: float) -> dict[str, float]:
        return {f"test_{name}": value for name, value in self.numbers(accuracy).items()}

    def network(self, network: NetworkRecord) -> NetworkRecord:
        if network.score is None:
            return network
        numbers = self.numbers(network.score)
        edits = tuple(replace(edit, jump=self._score(0.9 + edit.jump) - self._score(0.9)) for edit in network.edits)
        return replace(network, score=self._score(network.score), numbers=numbers, edits=edits)

    def epoch(self, epoch: EpochRecord) -> EpochRecord:
        train, validation = self.numbers(epoch.train["accuracy"]), self.numbers(epoch.score)
        return replace(epoch, train=train, validation=validation, score=self._score(epoch.score))

    def _score(self, accuracy: float) -> float:
        return self.criterion.score(self.numbers(accuracy)[self.criterion.name])


class Run:
    """Networks and epochs as they are made up; `save` writes them as a run's records."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.networks: list[NetworkRecord] = []
        self.epochs: list[EpochRecord] = []

    def train(self, network: NetworkRecord, start: float, end: float, epochs: int = 4) -> NetworkRecord:
        """Record a network that goes from one validation accuracy to another, and return it."""
        accuracy = start
        for epoch in range(epochs):
            share = (epoch + 1) / epochs
            accuracy = start + (end - start) * (1 - math.exp(-3 * share)) / (1 - math.exp(-3))
            accuracy = min(1.0, max(0.05, accuracy + self.random.gauss(0, 0.01 * abs(end - start) + 0.002)))
            loss = 2.5 * (1 - accuracy) + 0.02
            self.epochs.append(
                epoch_record(network.id, epoch, 0.7 * loss, accuracy, loss, accuracy, 0.1 * (1.01 - share), 0.7)
            )
        network = replace(
            network,
            score=accuracy,
            numbers={"loss": 2.5 * (1 - accuracy) + 0.02, "accuracy": accuracy},
            training_flops=3 * network.flops * SAMPLES * 4 * epochs,
        )
        self.networks.append(network)
        return network

    def edit(self, jump_scale: float = 1.0) -> EditRecord:
        kind = self.random.choice(list(KINDS))
        before = self.random.randrange(4, 32)
        after = max(2, before - self.random.randrange(1, 4)) if kind == "narrow score" else before + 4
        if kind == "shallow" or kind.startswith("deepen"):
            before, after = 2, 1 if kind == "shallow" else 3
        error = 10 ** self.random.uniform(-7.5, -5.8) if KINDS[kind] else 10 ** self.random.uniform(-2.5, 0.2)
        jump = 0.0 if KINDS[kind] else -abs(self.random.gauss(0, 0.05)) * jump_scale
        return EditRecord(kind, self.random.choice(LAYERS), before, after, 0.2, error, jump)

    def child(self, parent: NetworkRecord, round: int, edits: int = 1) -> NetworkRecord:
        made = tuple(self.edit() for _ in range(edits))
        growth = 1.0
        for edit in made:
            growth *= 1 + 0.35 * (1 if edit.after > edit.before else -1) * self.random.random()
        return replace(
            parent,
            id=len(self.networks),
            round=round,
            parent=parent.id,
            parameters=int(parent.parameters * growth),
            flops=int(parent.flops * growth),
            edits=made,
            score=None,
            survivor=False,
            seconds=2.0,
        )

    def evolve(self, rounds: int, children: int, keep: int) -> list[NetworkRecord]:
        population = [self.train(START, 0.3, 0.89, epochs=10)]
        for round in range(1, rounds + 1):
            parents = population[:keep]
            for index in range(children):
                parent = self.random.choice(parents)
                child = self.child(parent, round, 2 if index == 0 else 1)
                if self.random.random() < 0.03:
                    failed = replace(child, state="failed", failure="the loss is nan in epoch 1", training_flops=0)
                    self.networks.append(failed)
                    continue
                start = max(0.1, (parent.score or 0) + sum(edit.jump for edit in child.edits))
                limit = 0.992 - 0.05 * math.exp(-child.flops / 400_000) - 0.06 * math.exp(-round / 3)
                population.append(self.train(child, start, min(limit, max(start, limit) + 0.01)))
            population = sorted(population, key=lambda network: -(network.score or 0))[:keep]
        return population

    def save(self, folder: Path, survivors: list[int], meta: dict[str, Any], kind: Kind | None = None) -> Path:
        """`kind`: of the task; without one a run of before there were others."""
        networks, epochs = self.networks, self.epochs
        if kind is not None:
            networks, epochs = [*map(kind.network, networks)], [*map(kind.epoch, epochs)]
            meta = meta | {"criterion": asdict(kind.criterion), "exhibit": kind.exhibit}
        with Records.create(folder) as records, records.transaction():
            for network in networks:
                records.put_network(replace(network, survivor=network.id in survivors))
            records.add_epochs(epochs)
            for key, value in meta.items():
                records.set_meta(key, value)
        return folder


def classified(classes: int = 10, samples: int = 300, seed: int = 0) -> dict[str, Any]:
    """A classification report: every fifth sample is taken for the next class, or the one after it."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (samples,), generator=generator)
    wrong = (labels + torch.randint(1, 3, (samples,), generator=generator)) % classes
    predictions = torch.where(torch.rand(samples, generator=generator) < 0.2, wrong, labels)
    return classification_report(labels, predictions, [f"class {label}" for label in range(classes)])


def regressed(columns: int = 1, samples: int = 2000) -> dict[str, Any]:
    """A report of values, each somewhat off."""
    generator = torch.Generator().manual_seed(0)
    targets = 100 + 20 * torch.randn(samples, columns, generator=generator)
    return value_report(targets, targets + 5 * torch.randn(samples, columns, generator=generator))


def written(window: int = 48) -> dict[str, Any]:
    """What is shown of a text."""
    return {
        "positions": [float(at) for at in range(1, window + 1)],
        "losses": [1.5 + 1.5 / at for at in range(1, window + 1)],
        "start": "To be <b>",
        "continued": ", or not & to",
        "temperature": 0.8,
    }


def calibrated(sure: float) -> dict[str, Any]:
    """A calibration report of answers between two classes, of which nine in ten are right."""
    probabilities = torch.tensor([[sure, 1 - sure]]).expand(10, 2)
    return calibration_report(probabilities, (torch.arange(10) == 0).long())


def losses(accuracy: float) -> dict[str, float]:
    return {"loss": 4 * (1 - accuracy)}


CLASSES = Kind(
    ACCURACY,
    Exhibit.CLASSES,
    lambda accuracy: {"loss": 2.5 * (1 - accuracy) + 0.02, "accuracy": accuracy},
    {
        "classification": classified(),
        "calibration": {"best": calibrated(0.9), "ensemble": calibrated(0.8)},
        "constant": {"name": "the most frequent class", "test_loss": 2.3, "test_accuracy": 0.11},
    },
)
VALUES = Kind(
    Criterion("rmse"),
    Exhibit.VALUES,
    lambda accuracy: {**losses(accuracy), "rmse": 80 * (1 - accuracy), "mae": 60 * (1 - accuracy), "r2": accuracy},
    {
        "values": regressed(),
        "constant": {"name": "the mean", "test_loss": 1.0, "test_rmse": 77.25, "test_mae": 65.5, "test_r2": -0.25},
    },
)
TEXT = Kind(
    Criterion("loss"),
    Exhibit.TOKENS,
    lambda accuracy: {**losses(accuracy), "accuracy": accuracy, "perplexity": math.exp(4 * (1 - accuracy))},
    {
        "text": written(),
        "constant": {"name": "the unigrams", "test_loss": 3.25, "test_accuracy": 0.1875, "test_perplexity": 25.75},
    },
)
OWN = Kind(Criterion("regret"), Exhibit.NUMBERS, lambda accuracy: {**losses(accuracy), "regret": 7 * (1 - accuracy)})


def entry(network: NetworkRecord, kind: Kind = CLASSES) -> dict[str, Any]:
    accuracy = network.score or 0.0
    return {
        "id": network.id,
        **kind.tested(accuracy - 0.006),
        **{f"validation_{name}": value for name, value in kind.numbers(accuracy).items()},
        "parameters": network.parameters,
        "flops": network.flops,
    }


def ensemble(members: list[NetworkRecord], kind: Kind = CLASSES) -> dict[str, Any]:
    return {
        **kind.tested(max(network.score or 0.0 for network in members) - 0.001),
        "parameters": sum(network.parameters for network in members),
        "flops": sum(network.flops for network in members),
        "members": [network.id for network in members],
    }


def write_run(
    folder: Path,
    rounds: int = 6,
    children: int = 8,
    keep: int = 4,
    finished: bool = True,
    kind: Kind = CLASSES,
) -> Path:
    """Write a run with all three arms (finished) or the evolution alone (running)."""
    run = Run()
    population = run.evolve(rounds, children, keep)
    evolved = list(run.networks)
    budget = sum(network.training_flops for network in evolved)
    meta: dict[str, Any] = {
        "command": "netmorph evolve --data digits --model lenet5 --budget 2m",
        "title": "lenet5 on digits",
        "config": {"data": "digits", "model": "lenet5", "seed": 0, "budget": {"seconds": 120}, "keep": keep},
        "machine": {"processor": "Some CPU, 2 cores", "device": "cpu", "memory": "8 GiB"},
        "versions": {"netmorph": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
        "status": "running",
        "round": rounds,
        "seconds": 101.3,
    }
    survivors = [network.id for network in population]
    if not finished:
        return run.save(folder, survivors, meta, kind)

    last, spent = evolved[0], 0
    while spent < budget:
        following = replace(last, id=len(run.networks), arm="alone", parent=last.id, round=last.round + 1)
        last = run.train(following, last.score or 0, 0.962 - 0.06 * math.exp(-last.round / 3), epochs=8)
        spent += last.training_flops
    alone_spent, spent, tried = spent, 0, []
    while spent < budget:
        scale = run.random.uniform(0.5, 8)
        made = replace(
            START, id=len(run.networks), arm="random", flops=int(90_000 * scale), parameters=int(3100 * scale)
        )
        tried.append(run.train(made, 0.2, run.random.uniform(0.75, 0.965), epochs=10))
        spent += tried[-1].training_flops
    tried.sort(key=lambda network: -(network.score or 0))
    champion = best(evolved)
    assert champion is not None
    meta |= {
        "status": "finished",
        "result": {
            "best": entry(champion, kind),
            "ensemble": ensemble(population, kind),
            "members": [entry(network, kind) for network in population],
            "baselines": {
                "alone": {**entry(last, kind), "training_flops": alone_spent},
                "random": {
                    "best": entry(tried[0], kind),
                    "ensemble": ensemble(tried[:keep], kind),
                    "training_flops": spent,
                    "networks": len(tried),
                },
            },
            "training_flops": budget,
            "seconds": 118.2,
            "front": [network.id for network in front(evolved)],
            **dict.fromkeys(("classification", "calibration", "values", "text", "constant")),
            **kind.shown,
        },
    }
    return run.save(folder, survivors + [network.id for network in tried[:keep]], meta, kind)
