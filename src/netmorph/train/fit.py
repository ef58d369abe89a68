"""One epoch of training: from shuffled batches to moved weights."""

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from itertools import islice, pairwise
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn import functional

from netmorph.data import Dataset, augment, batches
from netmorph.data.mixing import cutmix, mixup, random_box
from netmorph.errors import NetmorphError
from netmorph.tasks import Objective, Task
from netmorph.train.average import MovingAverage
from netmorph.train.editing import Editing
from netmorph.train.evaluation import widened
from netmorph.train.inputs import autocast, prepare, reference
from netmorph.train.keeper import Keeper
from netmorph.train.means import Means, Metrics
from netmorph.train.modes import mode
from netmorph.train.nonfinite import REMEDY, NotFinite, first_nonfinite
from netmorph.train.parallel import World, gathering, total
from netmorph.train.position import START, Position
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


def fit(
    state: TrainState,
    dataset: Dataset,
    recipe: Recipe,
    *,
    seed: int,
    epoch: int,
    watch: bool,
    start: Position = START,
    keeper: Keeper | None = None,
) -> Metrics:
    """One pass over the training part; nothing in it waits for an accelerator unless each loss is watched.

    Args:
        epoch: its number, from 1; with the seed it decides everything random.
        watch: look at each loss before the weights move.
        start: where in the epoch `state` is.
        keeper: writes checkpoints between two steps, when it is time; of one process.

    Returns:
        Means over the epoch's batches, of all processes, while the weights moved. Without `watch` the loss may
        be NaN; nothing more is learnt then once an edit or a checkpoint is due.

    Raises:
        NotFinite: a loss that is watched is NaN or infinite; the model keeps the weights of that moment.
        SaveError: a checkpoint cannot be written.
    """
    began = perf_counter()
    world = state.world
    like = reference(state.model)
    objective = objective_of(dataset.task, recipe, like)
    steps = steps_per_epoch(len(dataset.train), recipe.batch_size, world.size)
    scale = image_scale_at(recipe, epoch)
    means = Means(start.means.values, start.means.counts)

    edits = nullcontext() if state.editing is None else state.editing.epoch()
    with edits, ExitStack() as modes, epoch_draws(seed, epoch, world.rank, like.device) as draws:
        modes.enter_context(mode(state.model, training=True))
        shuffled = batches(dataset.train, recipe.batch_size, generator=draws.order, share=world.share, start=start.step)
        if start.states is not None:
            draws.go_on(start.states)
        for step, (inputs, targets) in enumerate(islice(shuffled, steps - start.step), start.step):
            keeping = keeper if step > start.step and keeper is not None and keeper.is_due() else None
            editing = state.editing if state.editing is not None and state.editing.is_due(epoch, step, steps) else None
            if step and (keeping or editing) and not total(means.losses(), world).isfinite():
                break  # nobody goes on from what is not finite, and no edit can be checked on it; the loss tells it
            if keeping is not None:  # before the edit, which a resumed run makes again
                seconds = start.seconds + perf_counter() - began
                keeping.write(Position(step, means, draws.states(), like.device.type, seconds))
            if editing is not None:
                modes.close()  # an edit finds every module in the mode that it was given in
                editing.make(epoch, step, steps)
                modes.enter_context(mode(state.model, training=True))
            rate = learning_rate_of(recipe, epoch, step, steps)
            set_rate(state.optimizer, rate)
            # Before they are augmented: random numbers drawn on an accelerator would have to be waited for elsewhere.
            inputs, targets = inputs.to(like.device, non_blocking=True), targets.to(like.device, non_blocking=True)
            batch = augmented(inputs, targets, dataset, recipe, draws, like, scale)
            where = f"epoch {epoch}, training step {step + 1}" if watch else None
            loss, numbers = training_step(state, batch, dataset.task, objective, recipe, where)
            means.add(len(targets), loss, numbers)
    return means.told(dataset.task, world)


# What a parameter group calls its share of the learning rate (the name that timm gives it); 1 where there is none.
LR_SCALE = "lr_scale"


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each parameter group its share of a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(LR_SCALE, 1.0)


@dataclass(frozen=True)
class Batch:
    """What a training step learns from.

    Attributes:
        inputs: as the model takes them, augmented.
        learnt: targets to learn: those of the data, or blends of them.
        targets: of the data, by which answers are judged.
    """

    inputs: Tensor
    learnt: Tensor
    targets: Tensor


def objective_of(task: Task, recipe: Recipe, like: Tensor) -> Objective:
    """What training makes small, with what the recipe says of classes, beside a model's parameter `like`."""
    wide = torch.promote_types(like.dtype, torch.float32)
    weights = None if recipe.class_weights is None else like.new_tensor(recipe.class_weights, dtype=wide)
    return task.objective(recipe.label_smoothing, weights)


def training_step(
    state: TrainState, batch: Batch, task: Task, objective: Objective, recipe: Recipe, watched: str | None
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Move the weights by one batch, part by part; its mean loss and the task's numbers before that.

    Args:
        watched: where training is, for the message if the loss is not finite; None does not look.
    """
    state.optimizer.zero_grad()
    pieces = _pieces(batch, recipe.batch_size // state.world.size, recipe.accumulate)
    # A batch in one piece and one process is the usual case, and is its own share.
    whole = _count(batch.learnt, objective, state.world) if len(pieces) > 1 or state.world.size > 1 else None
    found: list[tuple[Tensor, Mapping[str, Tensor]]] = []
    for piece in pieces:
        with gathering(state.forward, last=piece is pieces[-1]):
            with autocast(piece.inputs.device, recipe.bf16):
                outputs = _checked(state.forward(piece.inputs), state.model)
            outputs = widened(outputs)
            loss = objective.loss(outputs, piece.learnt)
            if whole is not None:
                loss = loss * (objective.count(piece.learnt) / whole)
            if watched is not None and not math.isfinite(loss.item()):
                with autocast(piece.inputs.device, recipe.bf16):
                    where = first_nonfinite(state.model, piece.inputs)
                raise NotFinite(f"the loss is {loss.item()} in {watched}: {where}. {REMEDY}")
            loss.backward()
        found.append((loss.detach(), task.numbers(outputs.detach(), piece.targets)))
    if recipe.clip_norm is not None:
        nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip_norm)
    state.optimizer.step()
    if state.average is not None:
        state.average.update()
    if len(pieces) == 1:
        return found[0]
    sizes = [len(piece.targets) / len(batch.targets) for piece in pieces]
    numbers = {
        name: torch.stack([size * each[name] for size, (_, each) in zip(sizes, found, strict=True)]).sum()
        for name in found[0][1]
    }
    return torch.stack([loss for loss, _ in found]).sum(), numbers


def _checked(outputs: object, model: nn.Module) -> Tensor:
    """Some networks give more in train mode than in eval mode, where the output was looked at before."""
    if not isinstance(outputs, Tensor):
        raise NetmorphError(
            f"{type(model).__name__} gives {type(outputs).__name__} in train mode; one tensor was expected: build it "
            "without auxiliary outputs (aux_logits=False, for instance)"
        )
    return outputs


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
    inputs: Tensor, targets: Tensor, dataset: Dataset, recipe: Recipe, draws: Draws, like: Tensor, scale: float
) -> Batch:
    """A batch as the model takes it, with images augmented and blended as the recipe says."""
    if not dataset.has_images:
        return Batch(prepare(inputs, dataset, like), targets, targets)
    images = cropped(inputs, recipe, draws.images)
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    inputs = shrink(prepare(images, dataset, like, layout), scale)
    if not recipe.mixup and not recipe.cutmix:
        return Batch(inputs, targets, targets)
    wide = torch.promote_types(inputs.dtype, torch.float32)
    learnt = functional.one_hot(targets, dataset.outputs).to(wide)
    paste = recipe.cutmix and (not recipe.mixup or draws.mixing.random() < 0.5)
    alpha = recipe.cutmix if paste else recipe.mixup
    share = draws.mixing.beta(alpha, alpha)
    if paste:
        box = random_box(inputs.shape[2], inputs.shape[3], share, draws.mixing)
        return Batch(*cutmix(inputs, learnt, box), targets)
    return Batch(*mixup(inputs, learnt, share), targets)


def _count(learnt: Tensor, objective: Objective, world: World) -> Tensor | int:
    """What the loss of a batch is divided by: its samples, or what they count; the mean of all processes."""
    count = objective.count(learnt)
    if isinstance(count, int):  # processes have equal shares of a batch
        return count
    count = total(count, world) / world.size
    return torch.where(count > 0, count, 1)  # a batch whose classes count nothing moves nothing


def _pieces(batch: Batch, full: int, accumulate: int) -> list[Batch]:
    """A batch in equal pieces, as large as those of a full batch that is cut into `accumulate`.

    No piece is a single sample, which batch normalization cannot train on, unless that is what was asked for.
    """
    if accumulate == 1:
        return [batch]
    count, size = len(batch.targets), math.ceil(full / accumulate)
    pieces = math.ceil(count / size)
    if size > 1:
        pieces = min(pieces, max(1, count // 2))
    ends = [count * number // pieces for number in range(pieces + 1)]
    return [
        Batch(batch.inputs[start:end], batch.learnt[start:end], batch.targets[start:end])
        for start, end in pairwise(ends)
    ]
