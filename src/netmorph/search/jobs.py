"""What workers do for an evolution: bear networks and train them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import nn

from netmorph.data import Dataset
from netmorph.ensemble import tuning
from netmorph.run.config import EvolveConfig
from netmorph.run.names import Drawing, Selecting, Stage
from netmorph.run.store import NetworkStore
from netmorph.search.births import Birth, Births, Born
from netmorph.sharing import Choose, OneFailed, born, by_rank, train_together, uniform
from netmorph.sharing.files import load_kept
from netmorph.tasks import LOSS
from netmorph.train.evaluation import answers
from netmorph.train.history import Epoch, History
from netmorph.train.loop import train
from netmorph.workers.executor import Handler
from netmorph.workers.outcomes import reason

DRAWS: Mapping[Drawing, Choose] = {Drawing.UNIFORM: uniform, Drawing.RANK: by_rank}


@dataclass(frozen=True)
class Training:
    """Train network `id` for some epochs, from its birth or from another network as that was trained.

    Attributes:
        patience: it has converged after so many epochs in which the number that chooses got no better.
        recipe: what is otherwise than in the run's recipe: learning rate, weight decay.
        tuning: for the last time, see `netmorph.ensemble.tuning`.
    """

    id: int
    seed: int
    epochs: int
    source: int | None = None
    patience: int | None = None
    recipe: Mapping[str, float] = field(default_factory=dict)
    tuning: bool = False

    @property
    def ids(self) -> tuple[int, ...]:
        """The networks that it trains."""
        return (self.id,)

    @property
    def reads(self) -> tuple[tuple[int, Stage], ...]:
        """What it takes from the store."""
        return ((self.id, Stage.BORN) if self.source is None else (self.source, Stage.TRAINED),)


@dataclass(frozen=True)
class Joint:
    """Train networks together, that share what they have in common with their parents, from their births.

    Attributes:
        ids: of the networks: the best survivors' copies first, then the children of the best.
        epochs: of each network, on average: every step trains one that is drawn.
        parents: of the networks.
    """

    ids: tuple[int, ...]
    seed: int
    epochs: int
    parents: tuple[int, ...]

    @property
    def reads(self) -> tuple[tuple[int, Stage], ...]:
        """What it takes from the store."""
        return (*((id, Stage.BORN) for id in self.ids), *((id, Stage.TRAINED) for id in self.parents))


@dataclass(frozen=True)
class Trained:
    """What a training gave.

    Attributes:
        share: of the training that was planned; it may have converged before, or others were drawn more often.
        smoothed: the mean probability of the right answers to the validation set, where networks are compared by it.
        chosen: the epoch whose network is on the store; None is the best.
    """

    history: History
    seconds: float
    share: Fraction = Fraction(1)
    smoothed: float | None = None
    chosen: Epoch | None = None


@dataclass(frozen=True)
class Lost:
    """Why a network of a training was left behind, while others were trained."""

    reason: str


Learning = Training | Joint
Job = Birth | Learning
Done = Born | Mapping[int, Trained | Lost]  # by id, each network of a training


def handler(run: Path, config: EvolveConfig) -> Handler[Job, Done]:
    """What does the jobs of a run in a process of its own, which loads the data once."""
    return Worker(run, config, config.data.load())


@dataclass
class Worker:
    """Does jobs, with the data in memory."""

    run: Path
    config: EvolveConfig
    dataset: Dataset

    def __post_init__(self) -> None:
        self.store = NetworkStore(self.run, self.config.base(self.dataset), self.config.recipe)
        self._births = Births(self.config, self.dataset, self.store)

    def __call__(self, job: Job) -> Done:
        """Do one job; the same job gives the same result."""
        if isinstance(job, Birth):
            return self._births.bear(job)
        return self.train(job) if isinstance(job, Training) else self.train_together(job)

    def train(self, job: Training) -> dict[int, Trained]:
        """Train on, and put the best epoch's network on the store."""
        started = perf_counter()
        (place,) = job.reads
        model, journal, optimizer = self.store.take(*place)
        changed: dict[str, Any] = dict(job.recipe)
        recipe = replace(self.config.recipe, epochs=job.epochs, **changed)
        for group in optimizer.param_groups:  # the state that it has inherited tells its parent's
            group["weight_decay"] = recipe.decay
        history = train(
            model,
            self.dataset,
            tuning(recipe, job.epochs) if job.tuning else recipe,
            seed=job.seed,
            device=self.config.device,
            optimizer=optimizer,
            enough=None if job.patience is None else partial(converged, patience=job.patience),
        )
        smoothed = self._asked(job.id, model)
        self.store.put(job.id, Stage.TRAINED, model, journal, optimizer, self.store.base_of(*place))
        return {job.id: Trained(history, perf_counter() - started, Fraction(len(history), job.epochs), smoothed)}

    def train_together(self, job: Joint) -> dict[int, Trained | Lost]:
        """Train on what the networks share, and what each has alone, and put the pool of both on the store.

        Where one fails, the others are trained from their births again, as if it had not been born: what they share
        with it has learnt from it.
        """
        lost: dict[int, Trained | Lost] = {}
        while len(lost) < len(job.ids):
            try:
                return lost | self._together(replace(job, ids=tuple(id for id in job.ids if id not in lost)))
            except OneFailed as error:
                lost[error.network] = Lost(reason(error.__cause__ or error))
        return lost

    def _together(self, job: Joint) -> dict[int, Trained]:
        started = perf_counter()
        networks = {id: self.store.take(id, Stage.BORN)[:2] for id in job.ids}
        models = {id: model for id, (model, _) in networks.items()}
        shares = {id: load_kept(self.store.kept(id)) for id in job.ids}
        pool = self.store.pool(job.parents)
        for id, (parent, kept) in shares.items():
            pool = born(pool, id, parent, kept, dict(models[id].named_parameters()))
        recipe = replace(self.config.recipe, epochs=job.epochs)
        choose, device = DRAWS[self.config.draw], self.config.device
        learnt = train_together(pool, models, self.dataset, recipe, seed=job.seed, device=device, choose=choose)
        self.store.put_pool(learnt.pool, networks)
        seconds = perf_counter() - started
        return {
            id: Trained(
                history,
                seconds * float(learnt.shares[id] / len(models)),
                learnt.shares[id],
                self._asked(id, models[id]),
                history[-1],
            )
            for id, history in learnt.histories.items()
        }

    def _asked(self, id: int, model: nn.Module) -> float | None:
        """Ask a trained network about each example, if that counts: put its answers on the store, and smooth."""
        smooth = self.config.smooth and self.dataset.task.chooses.is_share
        if not smooth and self.config.select != Selecting.COVER:
            return None
        found = answers(model, self.dataset.validation, self.dataset)
        if self.config.select == Selecting.COVER:
            self.store.put_answers(id, found)
        return found[LOSS].neg().exp().nan_to_num(0.0).mean(dtype=torch.float64).item() if smooth else None


def converged(history: History, patience: int) -> bool:
    """Whether so many epochs brought nothing, by the number that chooses: where it cannot rise, a loss still falls."""
    best = history.best.score
    return len(history) - next(epoch.epoch for epoch in history if epoch.score == best) >= patience
