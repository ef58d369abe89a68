"""One value or several for each sample: regression."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from netmorph.tasks.criterion import Criterion
from netmorph.tasks.task import LOSS, Constant, Exhibit, Numbers, Task, TaskError


def regression(mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,), name: str = "regression") -> Task:
    """Outputs are values `[B, K]` on the scale of the training targets, targets values `[B, K]` in their own units.

    The loss is the mean squared error on that scale, on which the training targets have mean 0 and variance 1, so that
    one learning rate suits all units. Told are, in the targets' units and over all of their columns, the root of the
    mean squared error "rmse", which chooses, the mean absolute error "mae", and "r2", the share of the targets'
    variance (in the part that is measured) that is explained.

    Args:
        mean, std: of each column of the training targets.
    """
    centre, spread = torch.tensor([*mean], dtype=torch.float64), torch.tensor([*std], dtype=torch.float64)

    def in_units(outputs: Tensor) -> Tensor:
        return outputs * spread.to(outputs) + centre.to(outputs)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.mse_loss(outputs, ((targets - centre.to(targets)) / spread.to(targets)).to(outputs))

    def numbers(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        wide = targets.to(outputs.dtype)
        errors = in_units(outputs) - wide
        scaled = (wide - centre.to(wide)) / spread.to(wide)
        return {
            "squared": errors.square().mean(),
            "mae": errors.abs().mean(),
            "scaled": scaled.mean(),
            "scaled_squared": scaled.square().mean(),
        }

    def told(means: Numbers) -> dict[str, float]:
        variance = means["scaled_squared"] - means["scaled"] ** 2
        return {
            LOSS: means[LOSS],
            "rmse": means["squared"] ** 0.5,
            "mae": means["mae"],
            # Of a part whose targets are all equal there is nothing to explain.
            "r2": 1 - means[LOSS] / variance if variance > 0 else float("nan"),
        }

    def of_mean(targets: Tensor, columns: int) -> Tensor:
        return ((targets.double().mean(0) - centre.to(targets.device)) / spread.to(targets.device)).float()

    return Task(
        name,
        loss,
        numbers,
        told,
        chooses=Criterion("rmse"),
        answers=in_units,
        check=_check_values,
        exhibit=Exhibit.VALUES,
        constant=Constant("the mean of the train targets", of_mean),
    )


def _check_values(outputs: Tensor, targets: Tensor) -> None:
    if outputs.dim() != 2 or outputs.shape[1:] != targets.shape[1:]:
        raise TaskError(
            f"its outputs have shape {tuple(outputs.shape)}; [samples, {targets.shape[1]}] was expected, a value for "
            "each column of the target"
        )
