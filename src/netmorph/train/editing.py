"""Edits inside the training loop: the one point where structure may change, and all that follows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from netmorph.data import Dataset
from netmorph.edit.apply import check_current
from netmorph.edit.carry import as_they_are
from netmorph.edit.journal import LoadError, read_back, rebuild
from netmorph.edit.replace import structure
from netmorph.edit.wrapped import renew
from netmorph.errors import NetmorphError
from netmorph.graph import Graph, trace
from netmorph.graph.journal import Journal
from netmorph.memory_layout import align
from netmorph.train.average import MovingAverage
from netmorph.train.history import History
from netmorph.train.inputs import examples, reference
from netmorph.train.optimizer_state import names_of
from netmorph.train.optimizers import check_held
from netmorph.train.pace import LearningRatePolicy, Pace
from netmorph.train.place import lay_out
from netmorph.train.recipe import Recipe
from netmorph.train.schedules import steps_until
from netmorph.train.seeding import edit_draws

# Given the graph, the epochs so far and the optimizer: the graph that training goes on with.
InLoop = Callable[[Graph, History, torch.optim.Optimizer], Graph]


class Editing:
    """What edits a network while it trains, and takes all that trains it along.

    Attributes:
        journal: the edits that made the network as it is now.
        start: those that had made it when training started.
        history: the epochs so far; the loop keeps it.
    """

    def __init__(
        self,
        graph: Graph,
        edit: InLoop,
        every: int | None,
        at: Sequence[float] | None,
        after: LearningRatePolicy | None,
        optimizer: torch.optim.Optimizer,
        average: MovingAverage | None,
        recipe: Recipe,
        seed: int,
    ) -> None:
        """Keep what the network is at the start.

        Args:
            graph: of the network in training, see `start_of`.
            every: the steps between two edits; None is an epoch, where `at` says nothing else.
            at: shares of all steps at which there is an edit as well, see `History.progress`.
            after: sets the pace after each edit.
        """
        self.journal = self.start = graph.journal
        self.history = History()
        self._edit, self._every, self._at, self._after = edit, every, at, after
        self._optimizer, self._average, self._recipe, self._seed = optimizer, average, recipe, seed
        self._model, self._wrapper, self._copies = graph.model, graph.wrapper, graph.copies
        self._inputs, self._auxiliary = graph.inputs, graph.auxiliary
        self._pace: Pace | None = None
        self._lay_out()
        self._bases = [structure(network) for network in (self._model, *self._copies)]
        self._members = as_they_are([optimizer])

    def is_due(self, epoch: int, step: int, steps: int) -> bool:
        """Whether the network may change before this step, from 0, of an epoch of so many steps, from 1."""
        done = (epoch - 1) * steps + step
        if any(steps_until(share, self._recipe.epochs * steps) == done for share in self._at or ()):
            return True
        if self._every is None:
            return done > 0 and step == 0 and self._at is None
        return done > 0 and done % self._every == 0

    @contextmanager
    def epoch(self) -> Iterator[None]:
        """Around an epoch: hooks are on the optimizer only within."""
        self._pace = None if self._after is None else Pace(self._optimizer)
        try:
            yield
        finally:
            if self._pace is not None:
                self._pace.detach()

    def make(self, epoch: int, step: int, steps: int) -> None:
        """Ask for an edit before this step, from 0, of an epoch of so many steps, from 1, and take it over.

        The network is traced anew: the graph shows it with its weights of now, in a resumed run as well. What the edits
        replaced is forgotten afterwards: a resumed run knows no more than the journal in its checkpoint, and has to do
        the same.

        Raises:
            NetmorphError: what was returned is not a graph of this network as it is now, or the optimizer was left out.
        """
        network = self._wrapper or self._model
        graph = trace(network, self._inputs, self.journal, copies=self._copies, auxiliary=self._auxiliary)
        with edit_draws(self._seed, epoch, step, reference(self._model).device):
            history = History(
                self.history, self.history.journal, (epoch - 1) * steps + step, self._recipe.epochs * steps
            )
            edited = self._edit(graph, history, self._optimizer)
        _check_descent(edited, graph, self.start)
        if edited is graph:
            return
        check_held(self._optimizer, self._model)
        names_of(self._optimizer, self._model)
        self.journal = read_back(edited.journal)
        self._follow()
        old = set(map(id, graph.journal))
        made = sum(id(entry) not in old for entry in edited.journal)
        if self._after is not None and self._pace is not None and made:
            self._pace.edits = made
            self._after(self._pace, edited)

    def become(self, journal: Journal) -> None:
        """Give network, average and optimizer the structure that these edits make of the one at the start.

        The modules of the start stay the same objects. Values have to be filled in next, unless nothing differs.

        Raises:
            LoadError: the edits are not those of this network, which has the structure of the start then.
        """
        if journal[: len(self.start)] != self.start:
            raise LoadError("its journal does not begin with the edits that have made the given network")
        if journal != self.journal:
            sizes = {name for entry in self.journal for _, name, _ in entry.attributes}
            for base in self._bases:
                base(sizes)
            self._members()
            self.journal = self.start
            added = journal[len(self.start) :]
            rebuild(self._model, added, [self._optimizer])
            for copy in self._copies:
                rebuild(copy, added)
            self._follow()
        self.journal = read_back(journal)

    def _follow(self) -> None:
        """After a change of structure: what looks at the network's tensors looks them up again."""
        self._lay_out()
        if self._average is not None:
            self._average.look_up()
        if self._wrapper is not None:
            renew(self._wrapper)

    def _lay_out(self) -> None:
        for network in (self._model, *self._copies):
            lay_out(network, self._recipe)
        align(self._optimizer)


def start_of(given: nn.Module | Graph, forward: nn.Module, dataset: Dataset, average: MovingAverage | None) -> Graph:
    """The graph of a network before its training.

    Args:
        given: what is trained. A graph is traced again as it was; a model on a few training inputs.
        forward: its model, or the data-parallel wrapper of it.

    Raises:
        TraceError: the network cannot be traced on these inputs.
        NetmorphError: the graph has copies, which would be left behind.
    """
    copies = () if average is None else (average.model,)
    if not isinstance(given, Graph):
        return trace(forward, examples(dataset, forward), copies=copies)
    if given.copies:
        raise NetmorphError(
            "the graph to train has copies, which training does not move; trace the model without them, and ask for an "
            "average with the recipe's ema"
        )
    device = reference(forward).device
    inputs = tree_map(lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, given.inputs)
    return trace(forward, inputs, read_back(given.journal), copies=copies, auxiliary=given.auxiliary)


def check_edits(
    given: nn.Module | Graph,
    edit: InLoop | None,
    every: int | None,
    at: Sequence[float] | None,
    after: LearningRatePolicy | None,
) -> None:
    """Refuse what no edit can be made by.

    Raises:
        NetmorphError: `every` is not a positive whole number, `at` no shares, something is given for edits without any,
            or what edits or sets the pace cannot be called.
        EditError: the graph is not that of the model as it is now.
    """
    if isinstance(given, Graph):
        check_current(given)  # its journal would lack the edits since
    for name, function in (("edit", edit), ("after_edit", after)):
        if function is not None and not callable(function):
            raise NetmorphError(f"{name}= takes a function, not {type(function).__name__}; see docs/training.md")
    if edit is None and isinstance(given, Graph):
        raise NetmorphError("a graph is trained to be edited, by edit=; without that, give its model")
    if edit is None and not all(told is None for told in (every, at, after)):
        raise NetmorphError("edit_every, edit_at and after_edit say when and how an edit is made; give edit= as well")
    if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
        raise NetmorphError(
            f"edit_every is a whole number of steps, at least 1, or None for every epoch, not {every!r}"
        )

    several = isinstance(at, Sequence) and not isinstance(at, str)
    if at is not None and not (several and all(isinstance(share, int | float) and 0 < share < 1 for share in at)):
        raise NetmorphError(
            f"edit_at is a sequence of shares of all steps, each above 0 and below 1, such as (0.5, 0.8), not {at!r}"
        )


def check_moments(at: Sequence[float] | None, steps: int) -> None:
    """Refuse shares of all so many steps that only the end of the training reaches.

    Raises:
        NetmorphError: there is one.
    """
    late = [share for share in at or () if steps_until(share, steps) == steps]
    if late:
        raise NetmorphError(
            f"edit_at={late[0]:g} is reached after the last of {steps} steps, when nothing is left to train; give a "
            "smaller share"
        )


def _check_descent(edited: object, graph: Graph, start: Journal) -> None:
    if not isinstance(edited, Graph):
        raise NetmorphError(
            f"edit= returned {type(edited).__name__}; it returns the graph that training goes on with: the one it was "
            "given, or what apply(graph, some_edit, optimizer) made of that"
        )
    if edited.model is not graph.model:
        raise NetmorphError(
            f"edit= returned a graph of another model ({type(edited.model).__name__}), not of the one in training; "
            "edit the graph that it is given"
        )
    if edited.inputs is not graph.inputs or edited.copies != graph.copies:
        raise NetmorphError(
            "edit= returned a graph that was traced anew, whose journal and copies are not those of the training; edit "
            "the graph that it is given"
        )
    if edited.journal[: len(start)] != start:
        raise NetmorphError("edit= took back an edit that was made before training; undo that before training")
    check_current(edited)
