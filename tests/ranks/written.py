"""Rows of a study that nothing was trained for."""

from collections.abc import Sequence
from dataclasses import replace

from netmorph.measure import SPECTRAL
from netmorph.ranks.architectures import Architecture
from netmorph.ranks.looks import Look
from netmorph.ranks.rows import Row

PLAIN = Architecture((20, 20), False, 16, 0.01, 1e-3, "sgd")


def look(epoch: int, ranks: Sequence[float], loss: float = 0.1, accuracy: float = 0.95) -> Look:
    """All measures of a layer are its rank; features have half of it. The classifier comes last."""
    layers = [f"layer{number}" for number in range(1, len(ranks) + 1)]
    own, half = (
        {
            layer: dict.fromkeys(SPECTRAL, share * rank)
            for layer, rank in zip([*layers, "head"], [*ranks, 10.0], strict=True)
        }
        for share in (1.0, 0.5)
    )
    numbers = {"loss": loss, "accuracy": accuracy}
    values = {layer: [2.0, 1.0] for layer in own}
    return Look(epoch, numbers, numbers, own, own, half, values)


def row(
    number: int,
    ranks: Sequence[float],
    *,
    condition: str = "true",
    widths: Sequence[int] | None = None,
    before: Sequence[float] | None = None,
    accuracy: float = 0.9,
    **shape: object,
) -> Row:
    """A network whose ranks are `before` at first, and `ranks` at the end and shortly before."""
    widths = tuple(widths or (20,) * len(ranks))
    architecture = replace(PLAIN, widths=widths, **shape)  # type: ignore[arg-type]
    looks = (look(0, before or widths, 2.3, 0.1), look(6, ranks), look(9, ranks))
    return Row(number, condition, number, architecture, looks, {"loss": 0.3, "accuracy": accuracy}, True, 1.5)
