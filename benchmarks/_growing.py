"""Networks that grow while they learn a text: branches of one training, step by step the same as an unbroken one.

The batch of a step is a function of the seed and the step, and the networks draw nothing else while they learn. So a
copy of network and optimizer is all that a training needs to go on from, and whatever grows from one small network at
several moments shares its training up to there.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from netmorph import trace, zoo
from netmorph.data import DataError, Dataset, load
from netmorph.data.text import Windows
from netmorph.measure.cost import training_flops
from netmorph.policy import Grow
from netmorph.seeds import generator_of
from netmorph.train import Recipe, build_optimizer
from netmorph.train.fit import set_rate
from netmorph.train.inputs import autocast
from netmorph.train.modes import mode
from netmorph.train.nonfinite import NotFinite
from netmorph.train.pace import LearningRatePolicy, Pace
from netmorph.train.schedules import learning_rate_at, steps_until

SHARED = 2**20  # seeds of steps are this far apart
Options = dict[str, Any]  # of `netmorph.zoo.gpt`


@dataclass(frozen=True)
class Setting:
    """What all rows have in common.

    Attributes:
        data: a text, as `netmorph.data.load` takes it.
        window: tokens in a window.
        steps: of a training.
        recipe: of it; its epochs are not used, its batches are `batch_size` windows.
        full: options of the network that all rows end with.
        held: windows of the validation text, evenly over it, that judge a network in the end; a quarter of them while
            it learns.
        looks: at the validation loss in a training, evenly over its steps.
    """

    data: str
    window: int
    steps: int
    recipe: Recipe
    full: Options
    held: int = 1024
    looks: int = 40

    def told(self) -> dict[str, Any]:
        """As JSON gives it back."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found


@dataclass(frozen=True)
class Row:
    """One way to spend a training.

    Attributes:
        name: in tables.
        start: options of the first network that differ from the full one's.
        growths: shares of the steps, rising, with what grows there.
        after: sets the learning rate after each growth.
        fresh: the optimizer forgets what it knows at each growth.
        decay_share: of the steps at the end in which the rate falls; None is the recipe's.
        length: of the training, as a share of the setting's steps.
    """

    name: str
    start: Options = field(default_factory=dict)
    growths: tuple[tuple[float, Grow], ...] = ()
    after: LearningRatePolicy | None = None
    fresh: bool = False
    decay_share: float | None = None
    length: float = 1.0

    def recipe(self, setting: Setting) -> Recipe:
        """That of the row; a shorter training warms up in as many steps."""
        recipe = setting.recipe
        share = recipe.decay_share if self.decay_share is None else self.decay_share
        return replace(recipe, decay_share=share, warmup=recipe.warmup / self.length)

    def steps(self, setting: Setting) -> int:
        """All of its training."""
        return steps_until(self.length, setting.steps)

    def leaves_at(self, setting: Setting) -> int:
        """The step at which it leaves the training of its first network: it grows, or the rate begins to fall."""
        stable = 1 - self.recipe(setting).decay_share
        return steps_until(min([stable, *(share for share, _ in self.growths[:1])]), self.steps(setting))


@dataclass
class Learner:
    """A network at a moment of its training.

    Attributes:
        step: how many are done.
        flops: spent on them.
        curve: step, FLOPs until then, and validation loss.
        jumps: the validation loss before and behind each growth.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    flops: int = 0
    curve: list[tuple[int, int, float]] = field(default_factory=list)
    jumps: list[tuple[float, float]] = field(default_factory=list)

    def branch(self) -> Learner:
        """Another one that goes on from here."""
        return copy.deepcopy(self)


class Text:
    """The text of a setting, in batches to learn from and windows to be judged on."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        dataset = load(setting.data, seed=0, window=setting.window, task="text" if setting.data != "stdlib" else None)
        self.tokens, self.classes = _tokens(dataset), dataset.outputs
        count = len(dataset.validation)
        inputs, targets = dataset.validation.head(count), dataset.validation.targets.long()
        chosen = torch.linspace(0, count - 1, min(setting.held, count)).long()
        self.held = inputs[chosen], targets[chosen]

    def batch(self, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """Windows from anywhere in the text and what follows, int64 [batch, window]."""
        window = self.setting.window
        places = torch.randint(
            len(self.tokens) - window, (self.setting.recipe.batch_size, 1), generator=generator_of(seed * SHARED + step)
        ) + torch.arange(window)
        return self.tokens[places].long(), self.tokens[places + 1].long()

    @torch.no_grad()
    def loss(self, model: nn.Module, every: int = 1) -> float:
        """The mean loss of a token of every n-th of the held windows, in nats."""
        inputs, targets = (part[::every] for part in self.held)
        total = 0.0
        with mode(model, training=False), autocast(inputs.device, self.setting.recipe.bf16):
            for some, follow in zip(inputs.split(64), targets.split(64), strict=True):
                total += float(_loss(model, some, follow)) * len(some)
        return total / len(inputs)


def _tokens(dataset: Dataset) -> Tensor:
    if not isinstance(dataset.train, Windows):
        raise DataError(f"{dataset.name} is no text in memory; give a file or folder of texts")
    return dataset.train.tokens


def started(text: Text, options: Options, seed: int) -> Learner:
    """The network of a seed before its first step."""
    torch.manual_seed(seed)
    setting = text.setting
    model = zoo.build("gpt", (setting.window,), text.classes, **(setting.full | options))
    return Learner(model, build_optimizer(model, setting.recipe))


def learn(learner: Learner, text: Text, recipe: Recipe, seed: int, until: int, steps: int) -> None:
    """Train on to a step, with looks at the validation loss on the way.

    Args:
        steps: of the whole training, by which the rate goes.
    """
    each = training_flops(learner.model, text.batch(seed, 0)[0][:2]) * recipe.batch_size // 2
    every = max(1, text.setting.steps // text.setting.looks)
    learner.model.train()
    for step in range(learner.step, until):
        set_rate(learner.optimizer, learning_rate_at(recipe, step / steps))
        inputs, targets = text.batch(seed, step)
        learner.optimizer.zero_grad()
        with autocast(inputs.device, recipe.bf16):
            loss = _loss(learner.model, inputs, targets)
        loss.backward()
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(learner.model.parameters(), recipe.clip_norm)
        learner.optimizer.step()
        learner.step, learner.flops = step + 1, learner.flops + each
        if learner.step % every == 0 and learner.step < steps:
            learner.curve.append((learner.step, learner.flops, text.loss(learner.model, 4)))


def _loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(model(inputs).flatten(0, 1).float(), targets.flatten())


def grown(learner: Learner, text: Text, grow: Grow, row: Row, seed: int) -> Pace | None:
    """Grow the network where it stands; the optimizer goes on, or is built anew. The pace if the row sets one."""
    before = text.loss(learner.model, 4)
    graph = trace(learner.model, text.held[0][:2])
    edits = len(graph.journal)
    graph = grow(graph, learner.optimizer, seed)
    learner.jumps.append((before, text.loss(learner.model, 4)))
    if row.fresh:
        learner.optimizer = build_optimizer(learner.model, row.recipe(text.setting))
    if row.after is None:
        return None
    pace = Pace(learner.optimizer)
    pace.edits = len(graph.journal) - edits
    row.after(pace, graph)
    return pace


def finished(row: Row, trunk: Learner, text: Text, seed: int) -> Learner:
    """A row to its end, from a copy of the trunk where the row leaves it.

    Raises:
        NotFinite: the loss is.
    """
    learner, recipe, steps = trunk.branch(), row.recipe(text.setting), row.steps(text.setting)
    pace: Pace | None = None
    for share, grow in row.growths:
        learn(learner, text, recipe, seed, steps_until(share, steps), steps)
        if pace is not None:
            pace.detach()  # the next one goes on with what it has left in the optimizer
        pace = grown(learner, text, grow, row, seed)
    learn(learner, text, recipe, seed, steps, steps)
    learner.curve.append((learner.step, learner.flops, text.loss(learner.model)))
    if not math.isfinite(learner.curve[-1][2]):
        raise NotFinite(f"{row.name!r}, seed {seed}, ends with a loss of {learner.curve[-1][2]}; lower the rate")
    return learner


def branches(rows: Sequence[Row], text: Text, seed: int) -> Iterator[tuple[Row, Learner]]:
    """Every row to its end; those that start alike share the training of their first network, at the full rate."""
    setting = text.setting
    constant = replace(setting.recipe, schedule="constant")
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(repr(sorted(row.start.items())), []).append(row)
    for family in families.values():
        trunk = started(text, family[0].start, seed)
        for row in sorted(family, key=lambda row: row.leaves_at(setting)):
            learn(trunk, text, constant, seed, row.leaves_at(setting), setting.steps)
            yield row, finished(row, trunk, text, seed)
