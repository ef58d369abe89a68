"""What workers do for an evolution: bear networks and train them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from functools import cached_property, partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netmorph.data import Dataset, Part, Split, batches
from netmorph.edit import Base, Journal, rebuild
from netmorph.edit.snapshot import before_of
from netmorph.ensemble import tuning
from netmorph.graph import Graph, trace
from netmorph.measure.cost import Cost, cost
from netmorph.measure.timing import latency
from netmorph.observe.samples import Samples
from netmorph.policy import mutate
from netmorph.policy.guides import Guide
from netmorph.run.config import EvolveConfig
from netmorph.run.names import Against, Drawing, Selecting, Stage
from netmorph.run.rows import EditRecord
from netmorph.run.store import NetworkStore
from netmorph.sharing import Choose, OneFailed, Origins, born, by_rank, train_together, uniform
from netmorph.sharing.files import load_kept, save_kept
from netmorph.tasks import LOSS
from netmorph.train.evaluation import answers, evaluate
from netmorph.train.history import Epoch, History
from netmorph.train.inputs import examples, prepare, reference
from netmorph.train.loop import train
from netmorph.train.seeding import seeded
from netmorph.workers.executor import Handler
from netmorph.workers.outcomes import reason

CAP_TRIES = 8
# Samples on which the jump of an edit is measured, and training samples that a guide looks at.
JUDGES = 1000
LOOKED_AT = 256
DRAWS: Mapping[Drawing, Choose] = {Drawing.UNIFORM: uniform, Drawing.RANK: by_rank}


@dataclass(frozen=True)
class Birth:
    """Make network `id` from its parent by exact edits, or, without a parent, from the start network.

    Attributes:
        seed: of everything random in it.
        generations: how many times in a row to mutate; 0 makes a copy.
        inherit: keep the parent's weights and optimizer; otherwise all weights are drawn anew.
        shared: tell what is the parent's still, so that both can train it; no optimizer is taken along.
        base: without a parent, what is built in the place of the start network.
        guide: which of the edits that were drawn is made; None takes the first.
        recipe: what it will be trained with in place of the run's recipe, for its record.
    """

    id: int
    parent: int | None
    seed: int
    generations: int = 1
    inherit: bool = True
    shared: bool = False
    base: Base | None = None
    guide: Guide | None = None
    recipe: Mapping[str, float] = field(default_factory=dict)

    @property
    def reads(self) -> tuple[tuple[int, Stage], ...]:
        """What it takes from the store."""
        return () if self.parent is None else ((self.parent, Stage.TRAINED),)

    @property
    def told(self) -> str:
        """The same birth, told again when the run goes on, is the same text. The guide follows from the records."""
        return json.dumps({**vars(self), "base": self.base and asdict(self.base), "guide": None}, default=dict)


@dataclass(frozen=True)
class Born:
    """What a birth made."""

    cost: Cost
    edits: tuple[EditRecord, ...]
    latency: float | None = None


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


@dataclass(frozen=True)
class _Child:
    """A network that is being born.

    Attributes:
        optimizer: carried through the edits; what tells what it shares with its parent does likewise.
        drawn: its parameters before the first edit.
    """

    model: nn.Module
    journal: Journal
    optimizer: Any
    drawn: list[nn.Parameter]
    edits: tuple[EditRecord, ...] = ()


@dataclass
class Worker:
    """Does jobs, with the data in memory."""

    run: Path
    config: EvolveConfig
    dataset: Dataset

    def __post_init__(self) -> None:
        self.store = NetworkStore(self.run, self.config.base(self.dataset), self.config.recipe)

    def __call__(self, job: Job) -> Done:
        """Do one job; the same job gives the same result."""
        if isinstance(job, Birth):
            return self.bear(job)
        return self.train(job) if isinstance(job, Training) else self.train_together(job)

    def bear(self, job: Birth) -> Born:
        """Draw edits until the child stays within the cap; after some tries it is its parent's copy.

        So in each of its generations: a walk of many would leave the cap, and begin again, most of the time.
        """
        child = self._begun(job)
        price = self._price(child)
        for generation in range(job.generations):
            again = partial(copy.deepcopy, child) if generation else partial(self._begun, job)
            for attempt in range(CAP_TRIES):
                draw = np.random.default_rng([job.seed, attempt, *([generation] if generation else [])])
                tried = self._mutated(job, draw, again())
                cost_of_it = self._price(tried)
                if self.config.max_flops is None or cost_of_it.flops <= self.config.max_flops:
                    child, price = tried, cost_of_it
                    break
        if not job.inherit:
            redraw(child.model, child.drawn, job.seed)
        if isinstance(child.optimizer, Origins) and job.parent is not None:
            save_kept(self.store.kept(job.id), job.parent, child.optimizer.kept(child.model))
        goes_on = job.inherit and job.parent is not None and not job.shared
        optimizer = child.optimizer if goes_on else None
        self.store.put(job.id, Stage.BORN, child.model, child.journal, optimizer, job.base)
        return Born(price, child.edits, self._latency(child.model))

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

    def _begun(self, job: Birth) -> _Child:
        """The child before its first edit."""
        if job.parent is not None and job.inherit:
            model, journal, optimizer = self.store.take(job.parent)
        else:
            with seeded(job.seed):
                model, journal = (job.base or self.store.base).build(), ()
            if job.parent is not None:
                parent, journal, _ = self.store.take(job.parent)
                redraw_like(parent, model, journal, job.seed)
            optimizer = torch.optim.SGD(model.parameters())
        return _Child(model, journal, Origins(model) if job.shared else optimizer, list(model.parameters()))

    def _price(self, child: _Child) -> Cost:
        return cost(child.model, examples(self.dataset, child.model, 2))

    def _mutated(self, job: Birth, generator: np.random.Generator, child: _Child) -> _Child:
        """The same child, edited in place."""
        model, edits = child.model, list(child.edits)
        score = partial(self._score, model)
        # The score is measured where weights are inherited: that is where an edit must not move it.
        last = score() if job.inherit else 0.0
        kept = 0  # of the last edits, those that keep the outputs: they are scored together, once

        def note(edited: Graph, shares: Sequence[float]) -> None:
            nonlocal last, kept
            made = edited.journal[-len(shares) :]
            before = [before_of(entry) for entry in made]
            is_exact = all(one is None or one.exact for one in before)  # only exact ones are made together
            now = score() if job.inherit and not is_exact else last
            for entry, share in zip(made, shares, strict=True):
                told = entry.edit
                kind = f"{told.kind} {told.method}"
                edits.append(EditRecord(kind, told.layer, told.before, told.after, share, entry.error, now - last))
            last, kept = now, kept + len(made) if is_exact else 0

        graph = mutate(
            trace(model, examples(self.dataset, model), child.journal),
            generator,
            self.config.mutation,
            optimizer=child.optimizer,
            on_edits=note,
            guide=job.guide,
            samples=partial(self._samples, seed=job.seed),
        )
        if kept and job.inherit:
            jump = score() - last
            edits[-kept:] = [replace(edit, jump=jump) for edit in edits[-kept:]]
        return replace(child, journal=graph.journal, edits=tuple(edits))

    def _asked(self, id: int, model: nn.Module) -> float | None:
        """Ask a trained network about each example, if that counts: put its answers on the store, and smooth."""
        smooth = self.config.smooth and self.dataset.task.chooses.is_share
        if not smooth and self.config.select != Selecting.COVER:
            return None
        found = answers(model, self.dataset.validation, self.dataset)
        if self.config.select == Selecting.COVER:
            self.store.put_answers(id, found)
        return found[LOSS].neg().exp().nan_to_num(0.0).mean(dtype=torch.float64).item() if smooth else None

    def _latency(self, model: nn.Module) -> float | None:
        """Of one sample, if it is asked for."""
        return latency(model, examples(self.dataset, model, 1)) if self.config.against == Against.LATENCY else None

    def _score(self, model: nn.Module) -> float:
        return self.dataset.task.score(evaluate(model, self._judges, self.dataset).numbers)

    @cached_property
    def _judges(self) -> Part:
        """What edits are scored on: the first samples of the validation part, all of one that is small."""
        return Split(*next(iter(self.dataset.validation.cut(JUDGES))))

    def _samples(self, graph: Graph, seed: int) -> Samples:
        """What a guide sees of the training part."""
        drawn = torch.Generator().manual_seed(seed)
        stored, targets = next(batches(self.dataset.train, min(LOOKED_AT, len(self.dataset.train)), generator=drawn))
        inputs = prepare(stored, self.dataset, reference(graph.model))
        return Samples(graph, [(inputs, targets)], self._loss, seed)

    def _loss(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = batch
        return self.dataset.task.loss(model(inputs), targets)


def converged(history: History, patience: int) -> bool:
    """Whether so many epochs brought nothing, by the number that chooses: where it cannot rise, a loss still falls."""
    best = history.best.score
    return len(history) - next(epoch.epoch for epoch in history if epoch.score == best) >= patience


def redraw_like(parent: nn.Module, model: nn.Module, journal: Journal, seed: int) -> None:
    """Give a start network the structure of a parent, with weights that have learnt nothing.

    Parameters that no module can draw have the parent's values, as `redraw` leaves what edits made of them.
    """
    drawn = list(model.parameters())
    rebuild(model, journal)
    kept, theirs = {id(parameter) for parameter in drawn}, dict(parent.named_parameters())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if id(parameter) not in kept:
                parameter.copy_(theirs[name])
    redraw(model, drawn, seed)


def redraw(model: nn.Module, old: Iterable[nn.Parameter], seed: int) -> None:
    """Draw the weights of all modules anew that edits changed or put in, by their own `reset_parameters`.

    The others keep what the constructor drew, in its own way, wherever edits moved them. Parameters that no module can
    draw keep the values that the edits gave them.

    Args:
        old: the model's parameters before the edits.
    """
    kept = {id(parameter) for parameter in old}
    with seeded(seed):
        for module in model.modules():
            draw = getattr(module, "reset_parameters", None)  # PyTorch's protocol
            if callable(draw) and any(id(own) not in kept for own in module.parameters(recurse=False)):
                draw()
