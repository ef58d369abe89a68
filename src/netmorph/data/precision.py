"""Numbers in float32, as networks take them, where that keeps what tells them apart."""

import torch
from torch import Tensor

from netmorph.data.dataset import DataError

# Rounding to float32 may move a number by so many standard deviations of its column.
LARGEST_ERROR = 1e-3


def in_float32(values: Tensor, what: str) -> Tensor:
    """Finite numbers [N, F], or [N, C, ...] in channels, in float32.

    A network sees how a column varies. Of milliseconds since 1970 (1.7e12), float32 keeps no more than minutes.

    Args:
        what: they are, for the message.

    Raises:
        DataError: a column varies so little around so large a number that float32 hardly tells.
    """
    narrow = values.float()
    if values.dtype != torch.float64 or not values.numel():
        return narrow
    columns, kept = (each.transpose(0, 1).flatten(1) for each in (values, narrow))
    error, spread = (kept.double() - columns).abs().amax(1), columns.std(1, correction=0)
    # The spread of equal numbers is not always exactly zero.
    coarse = (error > LARGEST_ERROR * spread) & (columns.amin(1) < columns.amax(1))
    if coarse.any():
        first = int(coarse.nonzero()[0])
        mean, which = float(columns[first].mean()), f", column {first} from 0," if len(columns) > 1 else ""
        raise DataError(
            f"{what}{which} vary by {float(spread[first]):.3g} around {mean:.12g}, and float32, which networks compute "
            f"in, rounds them by up to {float(error[first]):.3g}; subtract {mean:.12g} first, or take differences"
        )
    return narrow
