"""What must hold before the first training step; each failure says what to do about it."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.data import Dataset
from netmorph.errors import NetmorphError
from netmorph.train.evaluation import check_logits, check_part
from netmorph.train.fit import LR_SCALE, shrink
from netmorph.train.inputs import prepare, reference
from netmorph.train.modes import mode, stays_in_eval
from netmorph.train.optimizers import check_held, check_trainable
from netmorph.train.parallel import World, from_first
from netmorph.train.recipe import Recipe
from netmorph.train.schedules import image_scale_at
from netmorph.wording import listed


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
        NetmorphError: not one weight a class, batches that cannot be shared equally, or fewer images than processes.
    """
    weights = recipe.class_weights
    if weights is not None and len(weights) != len(dataset.classes):
        raise NetmorphError(
            f"class_weights has {len(weights)} numbers for {len(dataset.classes)} classes; give one each"
        )
    if recipe.batch_size % world.size:
        raise NetmorphError(
            f"batches of {recipe.batch_size} cannot be shared equally by {world.size} processes; take a multiple"
        )
    side = min(dataset.input_shape[1:])
    if recipe.pad >= side:
        raise NetmorphError(
            f"pad must be below the images' side, which is {side} pixels; {recipe.pad} was given, which can crop "
            "everything away"
        )
    fewest = min(len(dataset.train), len(dataset.validation))
    if fewest < world.size:
        raise NetmorphError(f"a split of {fewest} images cannot be shared by {world.size} processes; start fewer")


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


def check_output(model: nn.Module, dataset: Dataset, recipe: Recipe) -> None:
    """Call the model, where it is, on two training images in eval mode, in all the sizes that the recipe gives them.

    Raises:
        NetmorphError: it does not take them, its output is not [2, classes], a label is outside its classes, or the
            recipe's loss takes exactly as many outputs as there are classes.
    """
    images = prepare(dataset.train.head(2), dataset, reference(model))
    labels = torch.cat([dataset.train.targets, dataset.validation.targets])
    logits = _called(model, images, f"Build it for the data set {dataset.name!r}")
    check_logits(logits, labels, model)
    outputs, classes = logits.shape[1], len(dataset.classes)
    by_class = [name for name in ("mixup", "cutmix", "class_weights") if getattr(recipe, name)]
    if by_class and outputs != classes:
        raise NetmorphError(
            f"{listed(by_class)} takes one output a class, of which {dataset.name!r} has {classes}; "
            f"{type(model).__name__} has {outputs} outputs. Build it with the data set's class count"
        )
    for scale in sorted({image_scale_at(recipe, epoch) for epoch in range(1, recipe.epochs + 1)} - {1.0}):
        check_logits(_called(model, shrink(images, scale), "Leave first_size at 1"), labels, model)


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


def _called(model: nn.Module, images: Tensor, remedy: str) -> Any:
    with mode(model, training=False), torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            return model(images)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # a user's forward can raise anything
            raise NetmorphError(
                f"{type(model).__name__} does not take images of shape {tuple(images.shape[1:])}: "
                f"{type(error).__name__}: {error}. {remedy}"
            ) from error
