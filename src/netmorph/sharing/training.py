"""Training networks together whose weights are segments of one pool.

Each step draws a network, composes its parameters of their segments, and moves these by its gradient. What the drawn
network does not have stays as it is: its weights, its moments, and the count of its steps. Nothing decays there either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from netmorph.data import Dataset
from netmorph.errors import NetmorphError
from netmorph.seeds import check_seed
from netmorph.sharing.pool import Composition, Pool, assembled, of_these
from netmorph.train.checks import check_data, check_recipe
from netmorph.train.evaluation import evaluate
from netmorph.train.fit import TrainState, fit
from netmorph.train.history import Epoch, History
from netmorph.train.modes import mode
from netmorph.train.nonfinite import REMEDY, NotFinite
from netmorph.train.optimizers import build_optimizer
from netmorph.train.parallel import ONE_PROCESS
from netmorph.train.place import resident
from netmorph.train.recipe import Recipe
from netmorph.train.schedules import learning_rate_of, steps_per_epoch

Choose = Callable[[int, np.random.Generator], int]
"""Which of so many networks a step trains: its place in the order in which they were given, from 0."""


def uniform(count: int, generator: np.random.Generator) -> int:
    """Each as often as any other."""
    return int(generator.integers(count))


def by_rank(count: int, generator: np.random.Generator) -> int:
    """Earlier ones more often: the first `count` times as often as the last, the others evenly between them."""
    weights = np.arange(count, 0, -1)
    return int(generator.choice(count, p=weights / weights.sum()))


class OneFailed(NetmorphError):
    """One of several networks cannot be trained; `__cause__` says why, and the others can be without it.

    Attributes:
        network: its id.
    """

    def __init__(self, network: int, cause: Exception) -> None:
        super().__init__(f"network {network}: {cause}")
        self.network = network


@dataclass(frozen=True, eq=False)
class Learnt:
    """What a training together gave.

    Attributes:
        pool: the segments as they are at the end, with the optimizer's states.
        histories: of each network by id. The numbers on the training data are means over all networks; the last epoch
            is that of the weights in the pool, whether or not it is the best.
        shares: by id, the samples that the network was trained on, of as many as all would have had evenly.
    """

    pool: Pool
    histories: Mapping[int, History]
    shares: Mapping[int, Fraction]


def train_together(
    pool: Pool,
    models: Mapping[int, nn.Module],
    dataset: Dataset,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str | torch.device = "cpu",
    choose: Choose = uniform,
    passes: int | None = None,
) -> Learnt:
    """Train the networks of a pool on a data set's task; each step trains one of them.

    Args:
        pool: holds each network of `models`; it stays as it is.
        models: the networks by id, for `choose` in their order. Their weights are not read; afterwards they have those
            of the pool at the end, and statistics (of batch norms, say) of their own, which are not shared.
        recipe: its `epochs` are the passes over the data for each network on average, and after each such share of the
            training all networks are validated. One rate and one schedule for all. With `accumulate`, each part of a
            batch draws anew: a step then moves by the mean of several networks' gradients.
        seed: of the order of the samples, of what is drawn, of dropout.
        device: where to train.
        choose: draws the network of a step.
        passes: over the data in all, for all networks together; `recipe.epochs` for each, if not given. They are
            validated `recipe.epochs` times all the same.

    Returns:
        The trained pool, and how each network did.

    Raises:
        NetmorphError: the recipe or the data does not fit, or passes cannot be told apart into so many epochs.
        OneFailed: a network's loss is NaN or infinite, or it raises an error when it is called; the weights of `models`
            are undefined then.
    """
    passes = len(models) * recipe.epochs if passes is None else passes
    _check(recipe, dataset, seed, passes)
    pool = of_these(pool, models)
    device = torch.device(device)
    joint = Joint(pool, models, choose, np.random.default_rng([seed, len(models)]), device)
    whole = replace(recipe, epochs=passes, patience=None)
    optimizer = joint.optimizer(pool, whole)
    state = TrainState(joint, joint, optimizer, None, ONE_PROCESS)
    dataset = resident(dataset, device)
    steps = steps_per_epoch(len(dataset.train), recipe.batch_size)
    each = passes // recipe.epochs
    histories: dict[int, list[Epoch]] = {id: [] for id in models}
    for epoch in range(1, recipe.epochs + 1):
        started = perf_counter()
        told = [
            joint.passed(state, dataset, whole, seed, number)
            for number in range((epoch - 1) * each + 1, epoch * each + 1)
        ]
        numbers = {name: sum(one[name] for one in told) / each for name in told[0]}
        seconds = (perf_counter() - started) / len(models)
        for id in models:
            began = perf_counter()
            with joint.whole(id) as model, _failing(id):
                measured = evaluate(model, dataset.validation, dataset, bf16=recipe.bf16)
                if not math.isfinite(measured.loss):
                    raise NotFinite(f"the loss is {measured.loss} in the validation of epoch {epoch}. {REMEDY}")
            found = measured.numbers
            rate = learning_rate_of(whole, epoch * each, steps - 1, steps)
            score = dataset.task.score(found)
            histories[id].append(Epoch(epoch, numbers, found, score, rate, seconds + perf_counter() - began))
    learnt = joint.pool(pool, optimizer)
    for id in models:
        joint.fill(id)
    even = Fraction(passes * len(dataset.train), len(models))
    shares = {id: Fraction(samples) / even for id, samples in joint.samples.items()}
    return Learnt(learnt, {id: History(epochs) for id, epochs in histories.items()}, shares)


class Joint(nn.Module):
    """The segments of a pool as parameters; in train mode, each call draws the network that answers.

    The networks hold no weights of their own meanwhile: they are called with those composed of the segments. Without
    gradients, who was drawn last answers once more, for a look at it.

    Attributes:
        samples: by id, how many each was trained on.
        drawn: the id of the network that was drawn last.
    """

    def __init__(
        self,
        pool: Pool,
        models: Mapping[int, nn.Module],
        choose: Choose,
        generator: np.random.Generator,
        device: torch.device,
    ) -> None:
        super().__init__()
        trained = {id: {name: p.requires_grad for name, p in model.named_parameters()} for id, model in models.items()}
        frozen = {
            piece.segment
            for id, made in pool.networks.items()
            for name, whole in made.items()
            for piece in whole.pieces
            if not trained[id][name]
        }
        self.segments = nn.ParameterDict(
            {
                str(number): nn.Parameter(value.detach().clone().to(device), number not in frozen)
                for number, value in pool.segments.items()
            }
        )
        self.samples = dict.fromkeys(models, 0)
        self._values = {int(number): value for number, value in self.segments.items()}
        self._networks: Mapping[int, Composition] = pool.networks
        self._models = dict(models)  # in a dict of Python's: their parameters are not this module's
        self._order = [*models]
        self.drawn = self._order[0]
        self._choose, self._generator = choose, generator
        for model in models.values():
            model.to(device)
            for parameter in model.parameters():
                parameter.data = parameter.new_empty(0)

    def forward(self, inputs: Tensor) -> Any:
        """What a network that is drawn answers."""
        if torch.is_grad_enabled():
            self.drawn = self._order[self._choose(len(self._order), self._generator)]
            self.samples[self.drawn] += len(inputs)
        id = self.drawn
        model = self._models[id]
        with _failing(id), mode(model, training=self.training):
            return torch.func.functional_call(model, assembled(self._values, self._networks[id]), (inputs,))

    def passed(
        self, state: TrainState, dataset: Dataset, recipe: Recipe, seed: int, number: int
    ) -> Mapping[str, float]:
        """One pass over the data; the numbers on it.

        Each loss is looked at before the weights move, on an accelerator, too: a NaN in what networks share would be
        everybody's, and nobody could tell whose it was.
        """
        try:
            return fit(state, dataset, recipe, seed=seed, epoch=number, watch=True).numbers
        except NotFinite as error:
            raise OneFailed(self.drawn, error) from error

    def optimizer(self, pool: Pool, recipe: Recipe) -> torch.optim.Optimizer:
        """The recipe's, over all segments, going on from the states of the pool."""
        optimizer = build_optimizer(self, recipe)
        for number, state in pool.states.items():
            value = self._values[number]
            optimizer.state[value] = {
                key: held.detach().clone().to(value.device if held.dim() else held.device)
                if isinstance(held, Tensor)
                else held
                for key, held in state.items()
            }
        if isinstance(optimizer, torch.optim.SGD) and recipe.momentum:
            for value in self._values.values():  # a fused step wants the momentum of all that it moves, or of none
                if value.requires_grad:
                    optimizer.state[value].setdefault("momentum_buffer", torch.zeros_like(value))
        return optimizer

    def pool(self, before: Pool, optimizer: torch.optim.Optimizer) -> Pool:
        """The segments and their states as they are now, on the CPU."""
        values = {number: value.detach().cpu().clone() for number, value in self._values.items()}
        states = {
            number: {
                key: held.detach().cpu().clone() if isinstance(held, Tensor) else held
                for key, held in optimizer.state[value].items()
            }
            for number, value in self._values.items()
            if value in optimizer.state
        }
        return Pool(values, states, before.networks)

    def fill(self, id: int) -> nn.Module:
        """The network with weights of its own, copied from the segments."""
        model = self._models[id]
        with torch.no_grad():
            made = assembled(self._values, self._networks[id])
            for name, parameter in model.named_parameters():
                parameter.data = made[name].detach().clone()
        return model

    @contextmanager
    def whole(self, id: int) -> Iterator[nn.Module]:
        """The same for a while."""
        yield self.fill(id)
        for parameter in self._models[id].parameters():
            parameter.data = parameter.new_empty(0)


@contextmanager
def _failing(id: int) -> Iterator[None]:
    """What goes wrong in here is this network's."""
    try:
        yield
    except Exception as error:
        raise OneFailed(id, error) from error


def _check(recipe: Recipe, dataset: Dataset, seed: int, passes: int) -> None:
    check_data(dataset)
    check_recipe(recipe, dataset, ONE_PROCESS)
    check_seed(seed)
    if recipe.ema is not None or recipe.compile:
        asked = "a moving average (ema)" if recipe.ema is not None else "compile"
        raise NetmorphError(f"networks that share weights are trained without {asked}; leave it out of the recipe")
    if passes < 1 or passes % recipe.epochs:
        raise NetmorphError(
            f"passes over the data are cut into {recipe.epochs} epochs, and networks validated after each; "
            f"give a multiple of {recipe.epochs}, got {passes}"
        )
