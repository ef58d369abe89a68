"""What must hold before the first training step; each failure says what to do about it."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.data import Dataset
from netmorph.errors import NetmorphError
from netmorph.lazy import check_sized, without_size
from netmorph.tasks import LOSS, Task, TaskError
from netmorph.train.evaluation import check_part, checked_outputs
from netmorph.train.fit import LR_SCALE, shrink
from netmorph.train.inputs import prepare, reference
from netmorph.train.modes import mode, stays_in_eval
from netmorph.train.optimizers import check_held, check_trainable
from netmorph.train.parallel import ONE_PROCESS, World, from_first
from netmorph.train.recipe import Recipe
from netmorph.train.schedules import image_scale_at
from netmorph.wording import listed

# What a recipe asks of images alone.
FOR_IMAGES = ("pad", "reflect", "flip", "first_size", "mixup", "cutmix", "views", "channels_last")
PLAIN = Recipe()


def device_for(model: nn.Module, asked: str | torch.device | None) -> torch.device:
    """The device that was asked for, or where the model is.

    Raises:
        NetmorphError: there is no such device here.
    """
    return usable_device(reference(model).device if asked is None else asked)


def usable_device(name: str | torch.device) -> torch.device:
    """The device of that name.

    Raises:
        NetmorphError: there is no such device here.
    """
    try:
        device = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise NetmorphError(f"the device {str(name)!r} cannot be used: {error}; 'cpu' always can") from error
    if device.type == "meta":
        raise NetmorphError("the device 'meta' holds no numbers, so nothing can train there; give 'cpu' or another")
    return device


def check_training(model: nn.Module, dataset: Dataset, recipe: Recipe, world: World = ONE_PROCESS) -> None:
    """Refuse at once what a training that starts later would refuse, and what could not be told of it at its end.

    Raises:
        NetmorphError: see `check_data`, `check_recipe`, `check_output` and `check_head`.
    """
    check_data(dataset)
    check_recipe(recipe, dataset, world)
    check_output(model, dataset, recipe)
    check_head(model, dataset)


def check_data(dataset: Dataset) -> None:
    """Refuse data that cannot be trained on or measured with.

    Raises:
        NetmorphError: the training or the validation split is empty.
    """
    check_part(dataset.train, "training")
    check_part(dataset.validation, "validation")


def check_recipe(recipe: Recipe, dataset: Dataset, world: World) -> None:
    """Refuse a recipe that does not fit the data or the processes.

    Raises:
        NetmorphError: what is for images or classes, where there are none; not one weight a class; batches that cannot
            be shared equally; or fewer samples than processes.
    """
    _check_for_images(recipe, dataset)
    weights = recipe.class_weights
    if weights is not None and len(weights) != len(dataset.classes):
        raise NetmorphError(
            f"class_weights has {len(weights)} numbers for {len(dataset.classes)} classes; give one each"
        )
    dataset.task.objective(recipe.label_smoothing)  # refuses it where there are no classes
    if recipe.batch_size % world.size:
        raise NetmorphError(
            f"batches of {recipe.batch_size} cannot be shared equally by {world.size} processes; take a multiple"
        )
    fewest = min(len(dataset.train), len(dataset.validation))
    if fewest < world.size:
        raise NetmorphError(f"a split of {fewest} samples cannot be shared by {world.size} processes; start fewer")


def _check_for_images(recipe: Recipe, dataset: Dataset) -> None:
    if dataset.has_images:
        side = min(dataset.input_shape[1:])
        if recipe.pad >= side:
            raise NetmorphError(
                f"pad must be below the images' side, which is {side} pixels; {recipe.pad} was given, which can crop "
                "everything away"
            )
    asked = [name for name in FOR_IMAGES if getattr(recipe, name) != getattr(PLAIN, name)]
    if asked and not dataset.has_images:
        raise NetmorphError(f"{listed(asked)} is for images, and {dataset.name!r} has none; leave it out")
    blended = [name for name in ("mixup", "cutmix") if getattr(recipe, name)]
    if blended and not dataset.classes:
        raise NetmorphError(f"{listed(blended)} blends classes, and {dataset.name!r} has none; leave it out")


def check_alike(identity: dict[str, Any], world: World) -> None:
    """Refuse processes that would train something else each.

    Args:
        identity: what must be the same in all of them.

    Raises:
        NetmorphError: it is not.
    """
    first = from_first(lambda: identity, world)
    different = [name for name in first if identity.get(name) != first[name]]
    if different:
        raise NetmorphError(
            f"process {world.rank} differs from the first one in {listed(different)}; give all the same recipe, "
            "seed and data"
        )


def materialize(model: nn.Module, dataset: Dataset) -> None:
    """Give lazy layers their weights: call the model on two training samples in eval mode, as its user would.

    Raises:
        NetmorphError: it does not take them, or does not use all of its layers in eval mode.
    """
    if without_size(model):
        inputs = prepare(dataset.train.head(2), dataset, reference(model))
        _called(model, inputs, f"Build it for the data set {dataset.name!r}")
        check_sized(model, remedy="eval mode leaves it out, so run the model once on a batch in train mode")


def check_output(model: nn.Module, dataset: Dataset, recipe: Recipe) -> None:
    """Call the model on two training samples in eval mode, in all sizes that the recipe gives images.

    Raises:
        NetmorphError: it does not take them, its outputs or the data's targets do not fit the task, the task gives no
            scalar loss, or the recipe's loss takes exactly as many outputs as there are classes.
    """
    inputs = prepare(dataset.train.head(2), dataset, reference(model))
    found = _asked(model, inputs, f"Build it for the data set {dataset.name!r}")
    for part in (dataset.train, dataset.validation):
        outputs = checked_outputs(found, part.targets, model, dataset.task)
    check_task(dataset.task, outputs, dataset.train.targets[:2].to(outputs.device))
    by_class = [name for name in ("mixup", "cutmix", "class_weights") if getattr(recipe, name)]
    if by_class and outputs.shape[1] != dataset.outputs:
        raise NetmorphError(
            f"{listed(by_class)} takes one output a class, of which {dataset.name!r} has {dataset.outputs}; "
            f"{type(model).__name__} has {outputs.shape[1]} outputs. Build it with the data set's class count"
        )
    for scale in sorted({image_scale_at(recipe, epoch) for epoch in range(1, recipe.epochs + 1)} - {1.0}):
        smaller = _asked(model, shrink(inputs, scale), "Leave first_size at 1")
        checked_outputs(smaller, dataset.train.targets, model, dataset.task)


def check_head(model: nn.Module, dataset: Dataset) -> None:
    """Refuse a network with more outputs than the data set has classes: a run tells of each class, and of no other.

    Raises:
        NetmorphError: it has.
    """
    inputs = prepare(dataset.train.head(2), dataset, reference(model))
    outputs = _asked(model, inputs, f"Build it for the data set {dataset.name!r}")
    if dataset.classes and outputs.shape[1] != dataset.outputs:
        raise NetmorphError(
            f"{type(model).__name__} has {outputs.shape[1]} outputs, and {dataset.name!r} has {dataset.outputs} "
            "classes; give the last layer an output for each class, and no more"
        )


def check_task(task: Task, outputs: Tensor, targets: Tensor) -> None:
    """Refuse a task whose functions do not give what training needs.

    Args:
        outputs, targets: of a few samples.

    Raises:
        TaskError: a function fails, a loss or a number is no scalar tensor or no mean over samples, nothing can be
            learnt from the loss, the outputs are written to, or what is told lacks the loss or the number that
            chooses, or is no number.
    """
    outputs = outputs.detach().requires_grad_()
    with torch.enable_grad():
        means = _means_of(task, outputs, targets)
    loss = means[LOSS]
    if not loss.requires_grad or torch.autograd.grad(loss, outputs, allow_unused=True)[0] is None:
        raise TaskError(
            f"the loss of the task {task.name!r} has no gradient with respect to the outputs, so nothing would be "
            "learnt. Was it rounded, detached or computed without them?"
        )
    if outputs.shape != targets.shape and outputs.numel() == targets.numel():
        _check_alone(task, outputs, targets)
    told = _called_by(task, "told", lambda: task.told({name: float(value.detach()) for name, value in means.items()}))
    wrong = not isinstance(told, Mapping) or LOSS not in told
    if wrong or not all(isinstance(value, int | float) for value in told.values()):
        raise TaskError(
            f"what the task {task.name!r} tells must be a dict of numbers with {LOSS!r} in it, got {told!r}"
        )
    task.score(told)


def _means_of(task: Task, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The loss and the numbers, scalars by name."""
    given = outputs.clone()
    shapes = f" on outputs of shape {tuple(outputs.shape)} and targets of shape {tuple(targets.shape)}"
    loss = _called_by(task, "loss", lambda: task.loss(given, targets), shapes)
    numbers = _called_by(task, "numbers", lambda: task.numbers(given, targets), shapes)
    if not isinstance(numbers, Mapping) or LOSS in numbers:
        raise TaskError(
            f"the numbers of the task {task.name!r} must be a dict of tensors, without {LOSS!r}, which is told anyway; "
            f"got {numbers!r}"
        )
    if not torch.equal(given.nan_to_num(), outputs.nan_to_num()):
        raise TaskError(f"the task {task.name!r} writes to the outputs, which are used again; let it work on a copy")
    means = {LOSS: loss, **numbers}
    for what, value in means.items():
        if not isinstance(value, Tensor) or value.dim() or value.is_complex():
            told = f"a tensor {tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
            raise TaskError(
                f"{what!r} of the task {task.name!r} must be a scalar tensor, the mean over a batch; it is {told}. "
                "Is a .mean() missing?"
            )
    return means


def _check_alone(task: Task, outputs: Tensor, targets: Tensor) -> None:
    """Refuse functions that set each sample's output beside all targets, as `[B, 1] - [B]`, which is `[B, B]`, does."""
    outputs = outputs.detach().clone()
    outputs[0] += 1 + targets.double().abs().max()  # equal ones would hide it, and small ones drown
    together = _means_of(task, outputs, targets)
    alone = [_means_of(task, *pair) for pair in zip(outputs.split(1), targets.split(1), strict=True)]
    for name, value in together.items():
        mean = torch.stack([each[name].double() for each in alone]).mean()
        if not torch.isclose(value.double(), mean, rtol=1e-4, equal_nan=True):
            raise TaskError(
                f"{name!r} of the task {task.name!r} is {float(value):.4g} of {len(alone)} samples together, and "
                f"{float(mean):.4g} is the mean of each alone: outputs of shape {tuple(outputs.shape)} meet targets of "
                f"shape {tuple(targets.shape)}, and PyTorch sets each beside all others. Bring both to one shape"
            )


def _called_by(task: Task, what: str, call: Callable[[], Any], shapes: str = "") -> Any:
    try:
        return call()
    except Exception as error:  # a user's function can raise anything
        raise TaskError(
            f"the {what} of the task {task.name!r} fails{shapes}: {type(error).__name__}: {error}"
        ) from error


def check_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Refuse an optimizer that leaves out parameters, or that the loop cannot drive.

    Raises:
        NetmorphError: no parameter is trainable, or one is not in the optimizer and would never move; or a step calls
            the network by itself.
    """
    check_trainable(model)
    if isinstance(optimizer, torch.optim.LBFGS):
        raise NetmorphError("LBFGS calls the network itself (a closure), which this loop does not give; take another")
    rates = {str(group.get("lr")): None for group in optimizer.param_groups if LR_SCALE not in group}
    if len(rates) > 1:
        warnings.warn(
            f"the optimizer's parameter groups have the learning rates {listed(list(rates))}; the recipe sets one for "
            f"all. Give each group its share of that as {LR_SCALE!r}, or 1",
            stacklevel=3,
        )
    check_held(optimizer, model)


def warn_of_eval_mode(model: nn.Module) -> None:
    """Name the modules that stay in eval mode: for who froze them no news, for who forgot them the reason."""
    resting = stays_in_eval(model)
    if resting:
        warnings.warn(
            f"in eval mode while the rest trains, as given: {listed(resting)}; no dropout there, and batch norms keep "
            "their statistics. Call model.train() first if that is not meant",
            stacklevel=3,
        )


def _asked(model: nn.Module, inputs: Tensor, remedy: str) -> Any:
    """Outputs in eval mode; the caller's random state stays."""
    with torch.random.fork_rng(devices=[]):
        return _called(model, inputs, remedy)


def _called(model: nn.Module, inputs: Tensor, remedy: str) -> Any:
    with mode(model, training=False), torch.no_grad():
        try:
            return model(inputs)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # a user's forward can raise anything
            raise NetmorphError(
                f"{type(model).__name__} does not take inputs of shape {tuple(inputs.shape[1:])}: "
                f"{type(error).__name__}: {error}. {remedy}"
            ) from error
