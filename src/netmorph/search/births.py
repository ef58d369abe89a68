"""Births: a network is made from another one by exact edits that are drawn."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netmorph.data import Dataset, Part, Split, batches
from netmorph.edit import Base, Journal, rebuild
from netmorph.edit.snapshot import before_of
from netmorph.graph import Graph, trace
from netmorph.measure.cost import Cost, cost
from netmorph.measure.timing import latency
from netmorph.observe.samples import Samples
from netmorph.policy import mutate
from netmorph.policy.guides import Guide
from netmorph.run.config import EvolveConfig
from netmorph.run.names import Against, Stage
from netmorph.run.rows import EditRecord
from netmorph.run.store import NetworkStore
from netmorph.sharing import Origins
from netmorph.sharing.files import save_kept
from netmorph.train.evaluation import evaluate
from netmorph.train.inputs import examples, prepare, reference
from netmorph.train.seeding import seeded

CAP_TRIES = 8
# Samples on which the jump of an edit is measured, and training samples that a guide looks at.
JUDGES = 1000
LOOKED_AT = 256


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
class Births:
    """Bears networks, with the data in memory."""

    config: EvolveConfig
    dataset: Dataset
    store: NetworkStore

    def bear(self, job: Birth) -> Born:
        """Draw edits until the child stays within the cap; after some tries it is its parent's copy.

        So in each of its generations: a walk of many would leave the cap, and begin again, most of the time.
        """
        made: tuple[_Child, Cost] | None = None
        again: Callable[[], _Child] = partial(self._begun, job)
        for generation in range(job.generations):
            if (found := self._fitting(job, generation, again)) is not None:
                made, again = found, partial(copy.deepcopy, found[0])
        child, price = made or self._priced(again())
        if not job.inherit:
            redraw(child.model, child.drawn, job.seed)
        if isinstance(child.optimizer, Origins) and job.parent is not None:
            save_kept(self.store.kept(job.id), job.parent, child.optimizer.kept(child.model))
        goes_on = job.inherit and job.parent is not None and not job.shared
        optimizer = child.optimizer if goes_on else None
        self.store.put(job.id, Stage.BORN, child.model, child.journal, optimizer, job.base)
        return Born(price, child.edits, self._latency(child.model))

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

    def _fitting(self, job: Birth, generation: int, again: Callable[[], _Child]) -> tuple[_Child, Cost] | None:
        """The child after a generation's edits, within the cap, and what it costs; None after some tries."""
        for attempt in range(CAP_TRIES):
            generator = np.random.default_rng([job.seed, attempt, generation])
            found = self._priced(self._mutated(job, generator, again()))
            if self.config.max_flops is None or found[1].flops <= self.config.max_flops:
                return found
        return None

    def _priced(self, child: _Child) -> tuple[_Child, Cost]:
        return child, cost(child.model, examples(self.dataset, child.model, 2))

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
