"""Shrink a network in rounds: measure, choose widths, rebuild, train, and go back where that cost too much.

widths of the network now -> what its ranks (or a budget) ask for -> a network of these widths -> trained
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from netmorph.data import Dataset
from netmorph.edit.journal import Base
from netmorph.graph import Graph, trace
from netmorph.graph.journal import Journal
from netmorph.measure.cost import cost
from netmorph.observe.samples import Samples
from netmorph.seeds import check_seed
from netmorph.showing import Shows, View
from netmorph.shrink.progress import Progress, Round
from netmorph.shrink.ranks import ShrinkError, Widths
from netmorph.shrink.rebuilding import Rebuild, kept
from netmorph.train.evaluation import evaluate
from netmorph.train.history import Epoch, History
from netmorph.train.inputs import calibration as looked_at
from netmorph.train.inputs import examples
from netmorph.train.loop import train
from netmorph.train.recipe import Recipe
from netmorph.wording import compact

Recipes = Callable[[int], Recipe | None]

# Where the accuracy falls too far, the next try goes half as far; after so many in vain the network stays.
TRIES = 3


@dataclass(frozen=True, eq=False, repr=False)
class Shrunk(Shows):
    """What came of it.

    Attributes:
        graph: of the latest network that is good enough; `graph.model`, `graph.journal`.
        start: of the network of round 0.
        rounds: from the network as it was given (round 0).
        stopped: why there is no further round.
    """

    graph: Graph
    start: Graph
    rounds: Sequence[Round]
    stopped: str

    def view(self) -> View:
        """A row for each round, those that were kept in bold."""
        first, last = self.rounds[0], [entry for entry in self.rounds if entry.kept][-1]
        rounds = len(self.rounds) - 1
        return View(
            f"Shrunk in {rounds} round{'' if rounds == 1 else 's'}: "
            f"{compact(first.parameters)} → {compact(last.parameters)} parameters, "
            f"{compact(first.flops)} → {compact(last.flops)} FLOPs",
            ("round", "parameters", "FLOPs", *(f"validation {name}" for name in first.numbers), "kept"),
            (
                (
                    entry.number,
                    entry.parameters,
                    compact(entry.flops),
                    *map(entry.numbers.get, first.numbers),
                    entry.kept,
                )
                for entry in self.rounds
            ),
            strong=frozenset(place for place, entry in enumerate(self.rounds) if entry.kept),
            notes=[self.stopped],
        )


def shrink(
    model: nn.Module | Graph,
    dataset: Dataset,
    recipe: Recipe | Recipes | None,
    widths: Widths,
    rebuild: Rebuild = kept,
    *,
    rounds: int = 10,
    tolerance: float = 0.005,
    agree: float = 0.05,
    calibration: int = 1000,
    seed: int = 0,
    folder: Path | None = None,
    base: Base | None = None,
    on_round: Callable[[Round, nn.Module], None] = lambda told, model: None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> Shrunk:
    """Narrow a network to the widths that it needs, train it, and again, until widths and needs agree.

    A round whose validation number falls by more than the tolerance is dropped: the next goes back to the network
    before, and half as far (in the logarithm of the widths). The network that is given stays as it is.

    Args:
        model: takes prepared inputs, as `train` does; or its graph, with the journal that goes on.
        dataset: its training part calibrates and trains, its validation part judges.
        recipe: of the training in each round; a function of the round's number gives each its own, `None` or a recipe:
            that of round 0 trains the network as it was given, before anything is measured. A recipe by itself trains
            every round but that one, and None trains nothing.
        widths: what the next network should be, see `by_rank` and `to_cost`.
        rebuild: how it gets there: `kept`, `fresh`, `cut` or a function of your own.
        rounds: there are no more.
        tolerance: how far the number that chooses may fall below that of round 0, on the validation part: of a share
            such as the accuracy in points of one (0.005 is half a point), of another number as a share of it.
        agree: a width agrees with what is wanted if it is off by no more than this share, or by less than a channel.
        calibration: so many training samples tell ranks and rebuild readers; drawn by the seed.
        seed: of everything random.
        folder: keeps each round, and goes on from there if it holds some: with the same arguments. None keeps nothing.
        base: what builds the network before its first edit, to be told in the files.
        on_round: called after each round with what it found and its network, whether it is kept or not.
        on_epoch: see `train`.

    Raises:
        ShrinkError: an argument makes no sense, or there is nothing to shrink.
        NetmorphError: see `train`, `trace`, `apply`; rounds that are finished are in the folder.
    """
    if rounds < 1 or tolerance < 0 or not 0 <= agree < 1 or calibration < 2:
        raise ShrinkError(
            "rounds is at least 1, tolerance at least 0, agree from 0 to 1 and calibration at least 2; got "
            f"rounds={rounds}, tolerance={tolerance}, agree={agree}, calibration={calibration}"
        )
    check_seed(seed)
    model, journal = (model.model, model.journal) if isinstance(model, Graph) else (model, ())
    recipes = recipe if callable(recipe) else partial(_later, recipe)
    progress = Progress(folder, model, journal, base)
    inputs = examples(dataset, model)

    def go_on(model: nn.Module, journal: Journal) -> Graph:
        return trace(model, inputs, journal)

    teach = _Teaching(dataset, recipes, seed, progress, on_round, on_epoch)
    if not progress.rounds:
        teach(first := go_on(copy.deepcopy(model), journal), 0, {}, -math.inf)
        start, current = go_on(first.model, journal), go_on(copy.deepcopy(first.model), journal)
    else:
        start, current = (go_on(*progress.network(number)) for number in (0, progress.latest))
    floor = _floor(progress.rounds[0], tolerance, dataset)
    while True:
        failures = sum(not told.kept for told in progress.rounds)
        number = len(progress.rounds)
        if number > rounds:
            return Shrunk(current, start, progress.rounds, f"all {rounds} rounds are done")
        if failures >= TRIES:
            return Shrunk(current, start, progress.rounds, "what is narrower loses more than the tolerance")
        samples = Samples(current, looked_at(dataset, current.model, calibration, seed), seed=seed)
        wanted = widths(samples)
        changed = _changed(current, wanted.widths, agree, 0.5**failures)
        if not changed:
            return Shrunk(current, start, progress.rounds, "widths agree with what is wanted")
        before = copy.deepcopy(current.model), current.journal
        rebuilt = rebuild(samples, changed, seed + number)
        teach(rebuilt, number, wanted.ranks, floor)
        current = go_on(rebuilt.model, rebuilt.journal) if progress.rounds[-1].kept else go_on(*before)


def lowering(recipe: Recipe, factor: float) -> Callable[[int], Recipe]:
    """The recipe with a weight decay that is multiplied by a factor in each round after the first.

    Args:
        factor: above 0, such as 0.5.

    Raises:
        ShrinkError: the factor is not above 0.
    """
    if not factor > 0:
        raise ShrinkError(f"weight decay is multiplied by a factor above 0; got {factor}")
    return lambda number: replace(recipe, weight_decay=recipe.decay * factor ** max(0, number - 1))


@dataclass(frozen=True)
class _Teaching:
    """Trains and judges the network of one round, and keeps what came of it."""

    dataset: Dataset
    recipes: Recipes
    seed: int
    progress: Progress
    on_round: Callable[[Round, nn.Module], None]
    on_epoch: Callable[[Epoch], None] | None

    def __call__(self, graph: Graph, number: int, ranks: Mapping[str, float], floor: float) -> None:
        """Move the network's weights; its structure stays."""
        began, model, dataset = time.perf_counter(), graph.model, self.dataset
        price = cost(model, examples(dataset, model, 2))
        untrained = evaluate(model, dataset.validation, dataset).numbers
        numbers, score = untrained, dataset.task.score(untrained)
        recipe, epochs = self.recipes(number), History()
        if recipe is not None:
            as_rebuilt = copy.deepcopy(model.state_dict())
            epochs = train(
                model,
                dataset,
                recipe,
                seed=self.seed + number,
                checkpoint=self.progress.checkpoint(number),
                resume=self.progress.checkpoint(number) is not None,
                on_epoch=self.on_epoch,
            )
            if epochs.best.score >= score:
                numbers, score = epochs.best.validation, epochs.best.score
            else:  # a training that made it worse is not taken
                model.load_state_dict(as_rebuilt)
        told = Round(
            number=number,
            kept=score >= floor,
            widths={group.name: group.size for group in graph.editable()},
            ranks=dict(ranks),
            parameters=price.parameters,
            flops=price.flops,
            untrained=dict(untrained),
            numbers=dict(numbers),
            score=score,
            epochs=tuple(epochs),
            training_flops=len(epochs) * len(dataset.train) * price.training_flops,
            seconds=time.perf_counter() - began,
        )
        self.progress.add(told, model, graph.journal)
        self.on_round(told, model)


def _later(recipe: Recipe | None, number: int) -> Recipe | None:
    """The same recipe in every round but the first network's."""
    return recipe if number else None


def _floor(first: Round, tolerance: float, dataset: Dataset) -> float:
    """The lowest score that a network may have."""
    criterion = dataset.task.chooses
    return first.score - (tolerance if criterion.is_share else tolerance * abs(criterion.value(first.score)))


def _changed(graph: Graph, wanted: Mapping[str, int], agree: float, step: float) -> dict[str, int]:
    """The widths that the groups go to which are off by more than is agreed; a step below 1 goes part of the way."""
    changed = {}
    for name, width in wanted.items():
        size = graph.group(name).size
        if abs(width - size) > agree * size:
            there = round(size * (width / size) ** step)
            if there != size:
                changed[name] = there
    return changed
