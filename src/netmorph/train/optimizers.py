"""The optimizers that a recipe names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import nn

from netmorph.errors import NetmorphError
from netmorph.train.muon import Muon
from netmorph.wording import listed

if TYPE_CHECKING:  # a recipe looks its names up here
    from netmorph.train.recipe import Recipe


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """A fresh optimizer over the model's trainable parameters.

    Raises:
        NetmorphError: the model has none.
    """
    return OPTIMIZERS[recipe.optimizer](check_trainable(model), recipe)


def check_trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that require gradients.

    Raises:
        NetmorphError: there is none.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise NetmorphError(
            f"{type(model).__name__} has no trainable parameter; set requires_grad on those that should learn"
        )
    return trainable


def check_held(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Refuse an optimizer that leaves out a parameter.

    Raises:
        NetmorphError: a trainable parameter is not in it, and would never move.
    """
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    missing = [
        name for name, parameter in model.named_parameters() if parameter.requires_grad and id(parameter) not in held
    ]
    if missing:
        raise NetmorphError(
            f"the optimizer does not hold {listed(missing)}, which would never train; carry the optimizer "
            "through the edits, build it anew, or freeze the parameter"
        )


# Fused: one kernel for all parameters, which for a small network saves as much time as its forward pass takes.


def _sgd(parameters: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters,
        recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.decay,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        fused=True,
    )


def _adam(parameters: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, recipe.learning_rate, weight_decay=recipe.decay, fused=True)


def _adamw(parameters: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, recipe.learning_rate, weight_decay=recipe.decay, fused=True)


def _muon(parameters: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    return Muon(parameters, recipe.learning_rate, recipe.momentum, weight_decay=recipe.decay)


OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter], Recipe], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
    "muon": _muon,
}

# Coupled decay acts on what the optimizer has scaled: a figure for one is none for another. adam's own is none.
USUAL_DECAY = {"sgd": 5e-4, "adam": 0.0, "adamw": 0.01, "muon": 0.01}
