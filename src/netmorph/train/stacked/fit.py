"""One epoch of N stacked networks: what `fit` and `evaluate` do for one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice

import torch
from torch import Generator, Tensor
from torch.func import vmap

from netmorph.data import Dataset, batches
from netmorph.train.evaluation import as_memory_allows, widened
from netmorph.train.fit import cropped, objective_of
from netmorph.train.inputs import autocast, prepare
from netmorph.train.means import Means, Metrics
from netmorph.train.modes import mode
from netmorph.train.recipe import Recipe
from netmorph.train.schedules import learning_rate_of, steps_per_epoch
from netmorph.train.seeding import epoch_draws
from netmorph.train.stacked.stack import Stack, StackedOptimizer

# Gets the losses [N] before the weights move, the inputs [N, B, C, H, W] they were computed from, and
# when that is, in words; raises if it does not like them.
Watch = Callable[[Tensor, Tensor, str], None]

# Images of one validation batch, over all networks, and the fewest of each.
VALIDATED = 1024
FEWEST = 64


def fit_stack(
    stack: Stack,
    optimizer: StackedOptimizer,
    dataset: Dataset,
    recipes: Sequence[Recipe],
    *,
    seeds: Sequence[int],
    epoch: int,
    watch: Watch,
) -> list[Metrics]:
    """One pass over the training part, each network in the order of its own seed.

    Args:
        recipes: one a network; they differ in the learning rate, its course and the weight decay at most.
        epoch: its number, from 1.
        watch: looks at each step's losses; on an accelerator, which that would hold up, at the epoch's means.

    Returns:
        For each network, means over the epoch's batches, while the weights moved.
    """
    recipe, like = recipes[0], stack.like
    rates = rates_of(recipes, epoch, len(dataset.train)).to(like.device)
    objective = vmap(objective_of(dataset.task, recipe, like).loss)
    numbers = vmap(dataset.task.numbers)
    means = Means()

    with mode(stack.template, training=True), ExitStack() as entered:
        # The last one seeds the dropout of all: what is random inside the batch differs from network to network.
        draws = [entered.enter_context(epoch_draws(seed, epoch, 0, like.device)) for seed in seeds]
        shuffled = _together(dataset, recipe, [(each.order, each.images) for each in draws])
        for step, (stored, targets) in enumerate(islice(shuffled, len(rates))):
            targets = targets.to(like.device, non_blocking=True)
            inputs = prepare(stored.flatten(0, 1), dataset, like).unflatten(0, targets.shape[:2])
            with autocast(like.device, recipe.bf16):
                outputs = widened(stack(inputs))
                lost = objective(outputs, targets)
            if like.device.type == "cpu":
                watch(lost, inputs, f"epoch {epoch}, training step {step + 1}")
            lost.sum().backward()
            means.add(targets.shape[1], lost.detach(), numbers(outputs.detach(), targets))
            optimizer.step(rates[step])
        watch(means.losses(), inputs, f"epoch {epoch}")
    return means.told_of_each(dataset.task)


def evaluate_stack(stack: Stack, dataset: Dataset, *, bf16: bool, when: str, watch: Watch) -> list[Metrics]:
    """The task's numbers of each network on the validation part; `watch` looks at losses that are not finite.

    Where memory does not suffice for a batch, it is halved.
    """
    like, task = stack.like, dataset.task
    loss, numbers = vmap(task.loss), vmap(task.numbers)

    def answers(size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for stored, targets in batches(dataset.validation, size):
            inputs = prepare(stored, dataset, like)
            outputs = widened(stack(inputs, shared=True))
            yield inputs, outputs, targets.to(like.device).expand(len(stack), *targets.shape)

    def measured(size: int) -> Means:
        means = Means()
        for _, outputs, targets in answers(size):
            means.add(targets.shape[1], loss(outputs, targets), numbers(outputs, targets))
        return means

    def watched(size: int) -> Tensor:
        for inputs, outputs, targets in answers(size):
            watch(loss(outputs, targets), inputs.expand(len(stack), *inputs.shape), when)
        return inputs

    size = max(FEWEST, VALIDATED // len(stack))
    with mode(stack.template, training=False), torch.no_grad(), autocast(like.device, bf16):
        means = as_memory_allows(measured, size)
        if not bool(means.losses().isfinite().all()):  # asked again, to find the batch: keeping inputs costs memory
            inputs = as_memory_allows(watched, size)
            # Finite in each batch, not in their sum.
            watch(means.losses(), inputs.expand(len(stack), *inputs.shape), when)
    return means.told_of_each(task)


def rates_of(recipes: Sequence[Recipe], epoch: int, count: int) -> Tensor:
    """The learning rates of an epoch over `count` samples, float64 [steps, N]."""
    steps = steps_per_epoch(count, recipes[0].batch_size)
    rates = [[learning_rate_of(recipe, epoch, step, steps) for recipe in recipes] for step in range(steps)]
    return torch.tensor(rates, dtype=torch.float64)


def _together(
    dataset: Dataset, recipe: Recipe, draws: Sequence[tuple[Generator, Generator]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of all networks side by side, cut from the data at once: inputs [N, B, ...] and targets [N, B, ...].

    Args:
        draws: what each network draws the order of its samples from (as `batches` does), and what its crops and flips.
    """
    part, count = dataset.train, len(draws)
    orders = [torch.randperm(len(part), generator=order, device=order.device) for order, _ in draws]
    order = torch.cat([chosen.flatten() for chosen in torch.stack(orders).split(recipe.batch_size, 1)])
    for inputs, targets in part.cut(count * recipe.batch_size, order):
        inputs, targets = inputs.unflatten(0, (count, -1)), targets.unflatten(0, (count, -1))
        if dataset.has_images:
            inputs = torch.stack(
                [cropped(each, recipe, generator) for each, (_, generator) in zip(inputs, draws, strict=True)]
            )
        yield inputs, targets
