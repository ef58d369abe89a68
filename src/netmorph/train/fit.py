"""One epoch of training: from shuffled batches to moved weights."""

import math
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from itertools import islice, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from netmorph.data import Dataset, augment, batches
from netmorph.data.mixing import cutmix, mixup, random_box
from netmorph.errors import NetmorphError
from netmorph.train.average import MovingAverage
from netmorph.train.editing import Editing
from netmorph.train.evaluation import Metrics
from netmorph.train.inputs import autocast, prepare, reference
from netmorph.train.modes import mode
from netmorph.train.nonfinite import REMEDY, NotFinite, first_nonfinite
from netmorph.train.parallel import World, gathering, total
from netmorph.train.recipe import Recipe
from netmorph.train.schedules import image_scale_at, learning_rate_of, scaled_side, steps_per_epoch
from netmorph.train.seeding import Draws, epoch_draws


@dataclass(frozen=True)
class TrainState:
    """What moves while a network is trained.

    Attributes:
        model: the network.
        forward: what calls it: the network itself, or wrapped for data parallel training, or compiled.
        optimizer: moves its weights.
        average: follows its weights, if the recipe asks for that.
        world: the processes that train it.
        editing: changes its structure before some steps, if anything does; all of the above follow in place.
    """

    model: nn.Module
    forward: Callable[[Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    average: MovingAverage | None
    world: World
    editing: Editing | None = None


def fit(state: TrainState, dataset: Dataset, recipe: Recipe, *, seed: int, epoch: int, watch: bool) -> Metrics:
    """One pass over the training part; nothing in it waits for an accelerator unless each loss is watched.

    Args:
        epoch: its number, from 1; with the seed it decides everything random.
        watch: look at each loss before the weights move.

    Returns:
        Means over the epoch's batches, of all processes, while the weights moved. Without `watch` the loss may
        be NaN.

    Raises:
        NotFinite: a loss that is watched is NaN or infinite; the model keeps the weights of that moment.
    """
    world = state.world
    like = reference(state.model)
    weights = weights_of_classes(recipe, like)
    steps = steps_per_epoch(len(dataset.train), recipe.batch_size, world.size)
    scale = image_scale_at(recipe, epoch)
    losses: list[Tensor] = []
    sizes: list[int] = []
    correct = torch.zeros((), dtype=torch.int64, device=like.device)

    edits = nullcontext() if state.editing is None else state.editing.epoch()
    with edits, ExitStack() as modes, epoch_draws(seed, epoch, world.rank, like.device) as draws:
        modes.enter_context(mode(state.model, training=True))
        shuffled = batches(dataset.train, recipe.batch_size, generator=draws.order, share=world.share)
        for step, (images, labels) in enumerate(islice(shuffled, steps)):
            if state.editing is not None and state.editing.is_due(epoch, step, steps):
                if losses and not total(torch.stack(losses).sum(), world).isfinite():
                    break  # no edit can be checked on what is not finite; the loss tells it
                modes.close()  # an edit finds every module in the mode that it was given in
                state.editing.make(epoch, step)
                modes.enter_context(mode(state.model, training=True))
            rate = learning_rate_of(recipe, epoch, step, steps)
            set_rate(state.optimizer, rate)
            # Before they are augmented: random numbers drawn on an accelerator would have to be waited for elsewhere.
            images, labels = images.to(like.device, non_blocking=True), labels.to(like.device, non_blocking=True)
            inputs, targets = augmented(images, labels, dataset, recipe, draws, like, scale)
            where = f"epoch {epoch}, training step {step + 1}" if watch else None
            loss, right = training_step(state, inputs, targets, labels, weights, recipe, where)
            losses.append(loss)
            sizes.append(len(labels))
            correct += right

    # On the CPU, because not every accelerator has numbers this wide.
    counts = torch.tensor(sizes, dtype=torch.float64)
    sums = torch.stack((torch.stack(losses).cpu().double() @ counts, correct.cpu().double(), counts.sum()))
    loss_sum, hits, seen = total(sums, world).tolist()
    return Metrics(loss_sum / seen, hits / seen, int(seen))


# What a parameter group calls its share of the learning rate (the name that timm gives it); 1 where there is none.
LR_SCALE = "lr_scale"


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each parameter group its share of a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(LR_SCALE, 1.0)


def weights_of_classes(recipe: Recipe, like: Tensor) -> Tensor | None:
    """What the loss of each class counts [classes], if the recipe says it, beside a model's parameter `like`."""
    wide = torch.promote_types(like.dtype, torch.float32)
    return None if recipe.class_weights is None else like.new_tensor(recipe.class_weights, dtype=wide)


def training_step(
    state: TrainState,
    inputs: Tensor,
    targets: Tensor,
    labels: Tensor,
    weights: Tensor | None,
    recipe: Recipe,
    watched: str | None,
) -> tuple[Tensor, Tensor]:
    """Move the weights by one batch, part by part; its mean loss before that, and how many answers were right.

    Args:
        watched: where training is, for the message if the loss is not finite; None does not look.
    """
    state.optimizer.zero_grad()
    count = _count(targets, weights, state.world)
    losses: list[Tensor] = []
    hits: list[Tensor] = []
    parts = _parts(len(labels), recipe.batch_size // state.world.size, recipe.accumulate)
    for part in parts:
        with gathering(state.forward, last=part is parts[-1]):
            with autocast(inputs.device, recipe.bf16):
                logits = _checked(state.forward(inputs[part]), state.model)
            loss = _loss(logits, targets[part], weights, recipe.label_smoothing) / count
            if watched is not None and not math.isfinite(loss.item()):
                with autocast(inputs.device, recipe.bf16):
                    where = first_nonfinite(state.model, inputs[part])
                raise NotFinite(f"the loss is {loss.item()} in {watched}: {where}. {REMEDY}")
            loss.backward()
        losses.append(loss.detach())
        hits.append((logits.detach().argmax(1) == labels[part]).sum())
    if recipe.clip_norm is not None:
        nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip_norm)
    state.optimizer.step()
    if state.average is not None:
        state.average.update()
    return torch.stack(losses).sum(), torch.stack(hits).sum()


def _checked(logits: object, model: nn.Module) -> Tensor:
    """Some networks give more in train mode than in eval mode, where the output was looked at before."""
    if not isinstance(logits, Tensor):
        raise NetmorphError(
            f"{type(model).__name__} gives {type(logits).__name__} in train mode; one tensor of logits was expected: "
            "build it without auxiliary outputs (aux_logits=False, for instance)"
        )
    return logits


def shrink(inputs: Tensor, scale: float) -> Tensor:
    """Images [N, C, H, W] with sides of this share of their own."""
    if scale == 1:
        return inputs
    sides = [scaled_side(side, scale) for side in inputs.shape[2:]]
    return functional.interpolate(inputs, sides, mode="bilinear")


def cropped(images: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Images [N, C, H, W], cropped and mirrored at random as the recipe says."""
    if not recipe.pad and not recipe.flip:
        return images
    return augment(images, generator, pad=recipe.pad, flip=recipe.flip, reflect=recipe.reflect)


def augmented(
    images: Tensor, labels: Tensor, dataset: Dataset, recipe: Recipe, draws: Draws, like: Tensor, scale: float
) -> tuple[Tensor, Tensor]:
    """A batch as the model takes it, augmented, and its targets: labels, or probabilities where images are mixed."""
    images = cropped(images, recipe, draws.images)
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    inputs = shrink(prepare(images, dataset, like, layout), scale)
    if not recipe.mixup and not recipe.cutmix:
        return inputs, labels
    wide = torch.promote_types(inputs.dtype, torch.float32)
    targets = functional.one_hot(labels, len(dataset.classes)).to(wide)
    paste = recipe.cutmix and (not recipe.mixup or draws.mixing.random() < 0.5)
    alpha = recipe.cutmix if paste else recipe.mixup
    share = draws.mixing.beta(alpha, alpha)
    if paste:
        return cutmix(inputs, targets, random_box(inputs.shape[2], inputs.shape[3], share, draws.mixing))
    return mixup(inputs, targets, share)


def _loss(logits: Tensor, targets: Tensor, weights: Tensor | None, label_smoothing: float) -> Tensor:
    """The sum of the cross-entropy over a part of a batch, in nats; in float32 or wider."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return functional.cross_entropy(logits, targets, weights, reduction="sum", label_smoothing=label_smoothing)


def _count(targets: Tensor, weights: Tensor | None, world: World) -> Tensor | int:
    """What the loss of a batch is divided by: its samples, or what they count; the mean of all processes."""
    if weights is None:
        return len(targets)
    count = (targets @ weights).sum() if targets.is_floating_point() else weights[targets].sum()
    count = total(count, world) / world.size
    return torch.where(count > 0, count, 1)  # a batch whose classes count nothing moves nothing


def _parts(count: int, full: int, accumulate: int) -> list[slice]:
    """A batch of `count` samples in equal parts, as large as those of a full batch that is cut into `accumulate`.

    No part is a single sample, which batch normalization cannot train on, unless that is what was asked for.
    """
    size = math.ceil(full / accumulate)
    parts = math.ceil(count / size)
    if size > 1:
        parts = min(parts, max(1, count // 2))
    ends = [count * number // parts for number in range(parts + 1)]
    return [slice(start, end) for start, end in pairwise(ends)]
