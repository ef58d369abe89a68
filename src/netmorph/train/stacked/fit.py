"""One epoch of N stacked networks: what `fit` and `evaluate` do for one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice

import torch
from torch import Generator, Tensor
from torch.nn import functional

from netmorph.data import Dataset, batches
from netmorph.train.evaluation import Metrics
from netmorph.train.fit import cropped, weights_of_classes
from netmorph.train.inputs import autocast, prepare
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
    weights = weights_of_classes(recipe, like)
    losses: list[Tensor] = []
    sizes: list[int] = []
    correct = torch.zeros(len(recipes), dtype=torch.int64, device=like.device)

    with mode(stack.template, training=True), ExitStack() as entered:
        # The last one seeds the dropout of all: what is random inside the batch differs from network to network.
        draws = [entered.enter_context(epoch_draws(seed, epoch, 0, like.device)) for seed in seeds]
        shuffled = _together(dataset, recipe, [(each.order, each.images) for each in draws])
        for step, (images, labels) in enumerate(islice(shuffled, len(rates))):
            labels = labels.to(like.device, non_blocking=True)
            inputs = prepare(images.flatten(0, 1), dataset, like).unflatten(0, labels.shape)
            with autocast(like.device, recipe.bf16):
                logits = stack(inputs)
                lost = _losses(logits, labels, weights, recipe.label_smoothing)
            if like.device.type == "cpu":
                watch(lost, inputs, f"epoch {epoch}, training step {step + 1}")
            lost.sum().backward()
            losses.append(lost.detach())
            sizes.append(labels.shape[1])
            correct += (logits.detach().argmax(2) == labels).sum(1)
            optimizer.step(rates[step])
        counts = torch.tensor(sizes, dtype=torch.float64, device=like.device)
        means = counts @ torch.stack(losses).double() / counts.sum()
        watch(means, inputs, f"epoch {epoch}")
    return _metrics(means, correct, sum(sizes))


def evaluate_stack(stack: Stack, dataset: Dataset, *, bf16: bool, when: str, watch: Watch) -> list[Metrics]:
    """The loss and the accuracy of each network on the validation part; `watch` looks at losses that are not finite."""
    like, part = stack.like, dataset.validation

    def answers() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for images, labels in batches(part, max(FEWEST, VALIDATED // len(stack))):
            inputs = prepare(images, dataset, like)
            yield inputs, stack(inputs, shared=True), labels.to(like.device).expand(len(stack), -1)

    with mode(stack.template, training=False), torch.no_grad(), autocast(like.device, bf16):
        found = [(logits, labels) for _, logits, labels in answers()]
        logits, labels = (torch.cat(each, 1) for each in zip(*found, strict=True))
        losses = _losses(logits, labels, None, 0.0)
        if not bool(losses.isfinite().all()):  # asked again, to find the batch: holding on to all inputs costs memory
            for inputs, answered, expected in answers():
                watch(_losses(answered, expected, None, 0.0), inputs.expand(len(stack), *inputs.shape), when)
            watch(losses, inputs.expand(len(stack), *inputs.shape), when)  # finite in each batch, not in their sum
    return _metrics(losses, (logits.argmax(2) == labels).sum(1), len(part))


def rates_of(recipes: Sequence[Recipe], epoch: int, count: int) -> Tensor:
    """The learning rates of an epoch over `count` samples, float64 [steps, N]."""
    steps = steps_per_epoch(count, recipes[0].batch_size)
    rates = [[learning_rate_of(recipe, epoch, step, steps) for recipe in recipes] for step in range(steps)]
    return torch.tensor(rates, dtype=torch.float64)


def _together(
    dataset: Dataset, recipe: Recipe, draws: Sequence[tuple[Generator, Generator]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of all networks side by side, cut from the data at once: images [N, B, C, H, W] and labels [N, B].

    Args:
        draws: what each network draws the order of its images from (as `batches` does), and what its crops and flips.
    """
    part, count = dataset.train, len(draws)
    orders = [torch.randperm(len(part), generator=order, device=order.device) for order, _ in draws]
    order = torch.cat([chosen.flatten() for chosen in torch.stack(orders).split(recipe.batch_size, 1)])
    for images, labels in part.cut(count * recipe.batch_size, order):
        images, labels = images.unflatten(0, (count, -1)), labels.unflatten(0, (count, -1))
        images = torch.stack(
            [cropped(each, recipe, generator) for each, (_, generator) in zip(images, draws, strict=True)]
        )
        yield images, labels


def _losses(logits: Tensor, labels: Tensor, weights: Tensor | None, label_smoothing: float) -> Tensor:
    """The mean cross-entropy of each network [N], in nats, of logits [N, B, classes] and labels [N, B]."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    losses = functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), weights, reduction="none", label_smoothing=label_smoothing
    ).view(labels.shape)
    if weights is None:
        return losses.mean(1)
    counts = weights[labels].sum(1)
    return losses.sum(1) / torch.where(counts > 0, counts, 1)  # as in `fit`: such a batch moves nothing


def _metrics(losses: Tensor, correct: Tensor, count: int) -> list[Metrics]:
    return [Metrics(loss, hits / count, count) for loss, hits in zip(losses.tolist(), correct.tolist(), strict=True)]
