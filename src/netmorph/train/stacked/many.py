"""Train many networks at once: as one stacked batch where that is faster, one after another elsewhere."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from functools import partial
from time import perf_counter

import torch
from torch import Tensor, nn

from netmorph.data import Dataset, Split, Windows
from netmorph.edit.difference import TOLERANCE, difference
from netmorph.edit.pad import Padding, common_widths, padding, widths
from netmorph.edit.snapshot import tensors_of
from netmorph.errors import EditError, NetmorphError
from netmorph.graph import TraceError
from netmorph.memory import out_of_memory
from netmorph.seeds import check_seed
from netmorph.train.advice import advice
from netmorph.train.checks import check_data, check_output, check_recipe, device_for, materialize
from netmorph.train.fit import TrainState, fit
from netmorph.train.history import Epoch, History
from netmorph.train.inputs import examples
from netmorph.train.loop import train
from netmorph.train.modes import mode, stays_in_eval
from netmorph.train.nonfinite import REMEDY, NotFinite, first_nonfinite
from netmorph.train.optimizers import build_optimizer
from netmorph.train.parallel import ONE_PROCESS
from netmorph.train.place import resident
from netmorph.train.recipe import Recipe
from netmorph.train.stacked.fit import evaluate_stack, fit_stack, rates_of
from netmorph.train.stacked.stack import DECOUPLED, Stack, StackedOptimizer

# What each stacked network may have its own of, and what none may ask for.
OWN = ("learning_rate", "weight_decay", "schedule", "warmup", "decay_share", "views")
UNSUPPORTED = ("first_size", "mixup", "cutmix", "accumulate", "ema", "patience", "compile")
# Steps that are timed, and how often, before one way is chosen.
STEPS = 4
RUNS = 2


class StackError(NetmorphError):
    """These networks cannot be trained as one stacked batch."""


def train_many(
    models: Sequence[nn.Module],
    dataset: Dataset,
    recipes: Sequence[Recipe],
    *,
    seeds: Sequence[int] | None = None,
    device: str | torch.device | None = None,
    stacked: bool | None = None,
    on_epoch: Callable[[int, Epoch], None] | None = None,
    enough: Callable[[History], bool] | None = None,
) -> list[History]:
    """Train networks in place, each as `train(model, dataset, recipe, seed=seed)` does, up to rounding.

    Stacked networks see the samples of their seeds in the same order, with the same crops and flips; their dropout
    differs. They are networks of one architecture. Where they differ in widths, all are padded with channels that stay
    zero (see `netmorph.edit.pad`), and cut to their own widths at the end. Their recipes may differ in the values
    named by `OWN`, and ask for nothing named by `UNSUPPORTED`; `channels_last` makes no difference to them. The
    samples have to be in memory.

    Stacking saves the time that goes into starting operators rather than computing: it wins for networks with little
    to compute in each, as perceptrons. Convolutions of stacked networks become one grouped convolution, which on a CPU
    is mostly slower than one after another.

    Args:
        models: see `train`.
        dataset: see `train`.
        recipes: one a model.
        seeds: one a model; 0, 1, 2, ... by default.
        device: where the models train, and stay; None is where the first one is.
        stacked: whether they train as one stacked batch. None tries both for a few steps on copies, and takes the
            faster one, or one after another if memory does not suffice. As timings vary, so may this choice, and with
            it the rounding of the results: where the same bits are wanted again, say True or False.
        on_epoch: called after each epoch of each network with its number, from 0; `models[number]` then has the weights
            of that moment.
        enough: ends the training where it is true of a network's epochs so far; stacked, all go on until it is true of
            each. What it says must depend on nothing else.

    Returns:
        The history of each. Stacked, an epoch's `seconds` are each network's share of the time of all.

    Raises:
        NetmorphError: models, recipes and seeds are not of one number, or do not fit the data or the device.
        StackError: `stacked` is True, and the networks or the recipes cannot be stacked; nothing is trained yet.
        NotFinite: a loss of one network, `error.network`, is NaN or infinite; stacked, all models keep the weights of
            that moment.
        OutOfMemory: the message says what to lower.
    """
    seeds = range(len(models)) if seeds is None else seeds
    _check_request(models, recipes, seeds)
    device = device_for(models[0], device)
    check_data(dataset)
    for model, recipe in zip(models, recipes, strict=True):
        check_recipe(recipe, dataset, ONE_PROCESS)
        materialize(model, dataset)
        model.to(device)
        build_optimizer(model, recipe)  # refuses a model without trainable parameters
        check_output(model, dataset, recipe)
    dataset = resident(dataset, device)
    remedies = ["one after another (stacked=False)", "fewer networks"]
    stacking = advice(recipes[0], f"with {len(models)} networks stacked", remedies)
    if stacked:
        with stacking:
            return _train_team(Team.of(models, dataset, recipes), dataset, recipes, seeds, on_epoch, enough)
    if stacked is None and len(models) > 1:
        team = _winning_team(models, dataset, recipes, seeds)
        if team is not None:
            with stacking:
                return _train_team(team, dataset, recipes, seeds, on_epoch, enough)
    histories = []
    for number, (model, recipe, seed) in enumerate(zip(models, recipes, seeds, strict=True)):
        told = None if on_epoch is None else partial(on_epoch, number)
        try:
            histories.append(train(model, dataset, recipe, seed=seed, device=device, on_epoch=told, enough=enough))
        except NotFinite as error:
            raise NotFinite(f"network {number}: {error}", number) from error
    return histories


@dataclass(frozen=True)
class Team:
    """Networks that can be stacked.

    Attributes:
        models: as they were given.
        paddings: how each fits into the common shape; None where they have one anyway.
    """

    models: Sequence[nn.Module]
    paddings: Sequence[Padding] | None

    @classmethod
    def of(cls, models: Sequence[nn.Module], dataset: Dataset, recipes: Sequence[Recipe]) -> "Team":
        """Find out how networks can be stacked, and try it out on a few inputs.

        Raises:
            StackError: they, their recipes or the data cannot; the message says why.
        """
        _check_recipes(recipes)
        if not isinstance(dataset.train, Split | Windows):
            raise StackError("stacked networks train on samples in memory; these are streamed")
        try:
            team = cls(models, _paddings(models, dataset))
        except (EditError, TraceError) as error:
            raise StackError(f"networks of different shapes cannot be stacked here: {error}") from error
        _check_alike(team)
        _check_stack(team, examples(dataset, models[0]))
        return team

    def stack(self) -> Stack:
        """Copies of the networks' tensors, in one shape."""
        if self.paddings is None:
            return Stack.of(self.models)
        return Stack.of([padded.pad(model) for padded, model in zip(self.paddings, self.models, strict=True)])

    def take(self, tensors: dict[str, Tensor]) -> None:
        """Write stacked tensors into the networks, without their padding."""
        for number, model in enumerate(self.models):
            padded = Padding(model, {}) if self.paddings is None else self.paddings[number]
            padded.cut({name: tensor[number] for name, tensor in tensors.items()}, model)


def _winning_team(
    models: Sequence[nn.Module], dataset: Dataset, recipes: Sequence[Recipe], seeds: Sequence[int]
) -> Team | None:
    """The networks to be stacked; None if they cannot, take longer so, or need more memory than there is."""
    try:
        team = Team.of(models, dataset, recipes)
        return team if stacking_wins(team, dataset, recipes, seeds) else None
    except StackError:
        return None
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return None


def stacking_wins(team: Team, dataset: Dataset, recipes: Sequence[Recipe], seeds: Sequence[int]) -> bool:
    """Whether a few training steps take less time stacked than one after another; tried on copies."""
    count = min(len(dataset.train), STEPS * recipes[0].batch_size)
    few = replace(dataset, train=Split(*next(iter(dataset.train.cut(count)))))
    stack, copies = team.stack(), [deepcopy(model) for model in team.models]
    together, device = StackedOptimizer(stack, recipes), stack.like.device
    trainees = [
        TrainState(model, model, build_optimizer(model, recipe), None, ONE_PROCESS)
        for model, recipe in zip(copies, recipes, strict=True)
    ]

    def stacked() -> None:
        fit_stack(stack, together, few, recipes, seeds=seeds, epoch=1, watch=lambda *_: None)

    def apart() -> None:
        for state, recipe, seed in zip(trainees, recipes, seeds, strict=True):
            fit(state, few, recipe, seed=seed, epoch=1, watch=False)

    times = [(_seconds(stacked, device), _seconds(apart, device)) for _ in range(RUNS)]
    return min(time for time, _ in times) < min(time for _, time in times)


def _train_team(
    team: Team,
    dataset: Dataset,
    recipes: Sequence[Recipe],
    seeds: Sequence[int],
    on_epoch: Callable[[int, Epoch], None] | None,
    enough: Callable[[History], bool] | None,
) -> list[History]:
    stack = team.stack()
    optimizer = StackedOptimizer(stack, recipes)
    score = dataset.task.score
    best = {name: tensor.clone() for name, tensor in stack.tensors.items()}
    histories = [History() for _ in recipes]

    def watch(losses: Tensor, inputs: Tensor, when: str) -> None:
        if bool(losses.isfinite().all()):
            return
        team.take(stack.tensors)
        number = int((~losses.isfinite()).nonzero()[0])
        with mode(team.models[number], training=stack.template.training):
            where = first_nonfinite(team.models[number], inputs[number])
        told = f"the loss of network {number} is {losses[number].item()} in {when}: {where}. {REMEDY}"
        raise NotFinite(told, number)

    for number in range(1, recipes[0].epochs + 1):
        started = perf_counter()
        fitted = fit_stack(stack, optimizer, dataset, recipes, seeds=seeds, epoch=number, watch=watch)
        when = f"the validation of epoch {number}"
        validated = evaluate_stack(stack, dataset, bf16=recipes[0].bf16, when=when, watch=watch)
        seconds = (perf_counter() - started) / len(recipes)
        last_rates = rates_of(recipes, number, len(dataset.train))[-1].tolist()
        histories = [
            History((*history, Epoch(number, learnt.numbers, valid.numbers, score(valid.numbers), rate, seconds)))
            for history, learnt, valid, rate in zip(histories, fitted, validated, last_rates, strict=True)
        ]
        better = [place for place, history in enumerate(histories) if history.best is history[-1]]
        for name, tensor in stack.tensors.items():
            best[name][better] = tensor[better]
        if on_epoch is not None:
            team.take(stack.tensors)
            for place, history in enumerate(histories):
                on_epoch(place, history[-1])
        if enough is not None and all(map(enough, histories)):
            break

    team.take(best)
    return histories


def _paddings(models: Sequence[nn.Module], dataset: Dataset) -> list[Padding] | None:
    shapes = [[tensor.shape for tensor in tensors_of(model).values()] for model in models]
    if all(shape == shapes[0] for shape in shapes):
        return None
    # What is found out for one network holds for all of its kind.
    kinds = [_kind(model) for model in models]
    known = {kind: (model, examples(dataset, model)) for kind, model in zip(kinds, models, strict=True)}
    common = common_widths(widths(model, inputs) for model, inputs in known.values())
    found = {kind: padding(model, inputs, common) for kind, (model, inputs) in known.items()}
    return [found[kind] for kind in kinds]


def _kind(model: nn.Module) -> str:
    """All that has to be the same in networks that are stacked, as far as it can be read off."""
    parameters = [(name, p.shape, p.dtype, p.requires_grad) for name, p in model.named_parameters()]
    buffers = [(name, buffer.shape, buffer.dtype) for name, buffer in model.named_buffers()]
    return f"{type(model)} {model} {parameters} {buffers} {stays_in_eval(model)}"


def _check_request(models: Sequence[nn.Module], recipes: Sequence[Recipe], seeds: Sequence[int]) -> None:
    if not len(models) == len(recipes) == len(seeds) >= 1:
        raise NetmorphError(
            f"one recipe and one seed a model is needed; {len(models)} models, {len(recipes)} recipes and "
            f"{len(seeds)} seeds were given"
        )
    if len({id(model) for model in models}) < len(models):
        raise NetmorphError("a model is given twice; train copies of it (copy.deepcopy)")
    for seed in seeds:
        check_seed(seed)


def _check_recipes(recipes: Sequence[Recipe]) -> None:
    first, plain = recipes[0], Recipe()
    for name in (field.name for field in fields(Recipe)):
        values = list(dict.fromkeys(getattr(recipe, name) for recipe in recipes))
        if len(values) > 1 and name not in OWN:
            raise StackError(
                f"stacked networks share everything but {', '.join(OWN)}; the recipes have {name} of "
                f"{' and '.join(map(str, values[:2]))}. Give all the same, or train them one after another "
                "(stacked=False)"
            )
        if name in UNSUPPORTED and values[0] != getattr(plain, name):
            raise StackError(
                f"stacked networks cannot train with {name}, which is {values[0]} here; leave it out, or train them "
                "one after another (stacked=False)"
            )
    if first.optimizer not in DECOUPLED:
        raise StackError(f"{first.optimizer} cannot move stacked networks; {', '.join(DECOUPLED)} can")


def _check_alike(team: Team) -> None:
    wide = team.models if team.paddings is None else [padded.wide for padded in team.paddings]
    kinds = [_kind(model) for model in wide]
    for number, kind in enumerate(kinds):
        if kind != kinds[0]:
            raise StackError(
                f"networks 0 and {number} are not of one architecture: they differ in more than widths and weights "
                "(in layers, options, types, or in what is trainable or in eval mode). Train them one after another "
                "(stacked=False)"
            )


def _check_stack(team: Team, inputs: Tensor) -> None:
    """Stacked, all networks have to compute what they compute alone; training has to run."""
    stack = team.stack()
    try:
        with mode(stack.template, training=True), torch.random.fork_rng(devices=_cuda(inputs)):
            copied = replace(stack, buffers={name: tensor.clone() for name, tensor in stack.buffers.items()})
            copied(inputs.expand(len(stack), *inputs.shape)).sum().backward()
        with mode(stack.template, training=False), torch.no_grad():
            found = stack(inputs, shared=True)
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        raise StackError(
            f"{type(stack.template).__name__} cannot be vectorized over networks (torch.func.vmap): {error}"
        ) from error
    for number, model in enumerate(team.models):
        with mode(model, training=False), torch.no_grad():
            gap = difference(model(inputs), found[number])
        if not gap <= TOLERANCE[found.dtype]:
            raise StackError(
                f"network {number} computes something else stacked than alone (a relative difference of {gap:.1e}): "
                "its code is not that of network 0, or depends on what is in no parameter or buffer"
            )


def _cuda(tensor: Tensor) -> list[torch.device]:
    return [tensor.device] if tensor.device.type == "cuda" else []


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    started = perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter() - started
