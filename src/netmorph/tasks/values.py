"""One value or several for each sample: regression."""

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from netmorph.tasks.criterion import Criterion
from netmorph.tasks.task import LOSS, Constant, Exhibit, Numbers, Task, TaskError

# Of scaled targets: a variance below this share of their mean square is rounding.
ALL_EQUAL = 1e-6


def regression(mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,), name: str = "regression") -> Task:
    """Outputs are values `[B, K]` on the scale of the training targets, targets values `[B, K]` in their own units.

    The loss is the mean squared error on that scale, on which the training targets have mean 0 and variance 1, so that
    one learning rate suits all units. Told are, in the targets' units and over all of their columns, the root of the
    mean squared error "rmse", which chooses, the mean absolute error "mae", and "r2", the share of the targets'
    variance (in the part that is measured) that is explained; it is NaN where all targets of the part are equal.

    Args:
        mean: of each column of the training targets.
        std: of each column of the training targets.

    Raises:
        TaskError: they are no finite numbers, as many of both, or a `std` is not above 0.
    """
    _check_scale(mean, std)
    measured = tuple(map(float, mean)), tuple(map(float, std))

    def scaled(targets: Tensor, like: Tensor) -> Tensor:
        """Computed before anything is rounded to the type of the outputs: values may be large and close together."""
        centre, spread = centre_and_spread(*measured, targets.dtype, targets.device)
        return ((targets - centre) / spread).to(like)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.mse_loss(outputs, scaled(targets, outputs))

    def numbers(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        wanted = scaled(targets, outputs)
        _, spread = centre_and_spread(*measured, outputs.dtype, outputs.device)
        errors = (outputs - wanted) * spread
        return {
            "squared": errors.square().mean(),
            "mae": errors.abs().mean(),
            "scaled": wanted.mean(),
            "scaled_squared": wanted.square().mean(),
        }

    def told(means: Numbers) -> dict[str, float]:
        variance = means["scaled_squared"] - means["scaled"] ** 2
        explained = variance > ALL_EQUAL * means["scaled_squared"]
        return {
            LOSS: means[LOSS],
            "rmse": means["squared"] ** 0.5,
            "mae": means["mae"],
            "r2": 1 - means[LOSS] / variance if explained else math.nan,
        }

    def answers(outputs: Tensor) -> Tensor:
        centre, spread = centre_and_spread(*measured, outputs.dtype, outputs.device)
        return outputs * spread + centre

    def of_mean(targets: Tensor, columns: int) -> Tensor:
        centre, spread = centre_and_spread(*measured, torch.float64, targets.device)
        return ((targets.double().mean(0) - centre) / spread).float()

    return Task(
        name,
        loss,
        numbers,
        told,
        chooses=Criterion("rmse"),
        answers=answers,
        check=_check_values,
        exhibit=Exhibit.VALUES,
        constant=Constant("the mean of the train targets", of_mean),
    )


@functools.lru_cache
def centre_and_spread(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """As tensors, made once: in every step it costs a small network as much as a layer, and an accelerator a wait."""
    return torch.tensor(mean, dtype=dtype, device=device), torch.tensor(std, dtype=dtype, device=device)


def _check_scale(mean: object, std: object) -> None:
    try:
        centre, spread = (torch.as_tensor(each, dtype=torch.float64) for each in (mean, std))
    except (TypeError, ValueError, RuntimeError):
        centre = spread = torch.tensor(torch.nan)
    fits = centre.dim() == 1 and centre.shape == spread.shape and bool((centre.isfinite() & (spread > 0)).all())
    if not fits or not bool(spread.isfinite().all()):
        raise TaskError(
            f"regression takes a mean and a std above 0 for each column of the targets, mean=(20.5,), std=(3.1,) for "
            f"one; got {mean!r} and {std!r}"
        )


def _check_values(outputs: Tensor, targets: Tensor) -> None:
    if targets.dim() != 2 or not targets.is_floating_point():
        raise TaskError(
            f"the targets are {targets.dtype} of shape {tuple(targets.shape)}; floating values [samples, columns] were "
            "expected, targets[:, None] for one column"
        )
    if outputs.dim() != 2 or outputs.shape[1:] != targets.shape[1:]:
        raise TaskError(
            f"its outputs have shape {tuple(outputs.shape)}; [samples, {targets.shape[1]}] was expected, a value for "
            "each column of the target"
        )
