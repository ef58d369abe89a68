"""What a network would cost at other widths, from its graph alone: nothing is built and nothing runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from netmorph.graph import Contraction, Graph
from netmorph.graph.axis import Atom, Axis, size


@dataclass(frozen=True)
class Prediction:
    """What is counted: for each product of axes, how often it is spent.

    Attributes:
        products: `(factor, axes)`: `factor` times the product of the axes' lengths.
    """

    products: tuple[tuple[int, tuple[Axis, ...]], ...]

    def at(self, sizes: Mapping[Atom, int] | None = None) -> int:
        """The number where some atoms have other sizes."""
        changed = dict(sizes or {})
        return sum(factor * prod(size(axis, changed) for axis in axes) for factor, axes in self.products)


def predict_parameters(graph: Graph) -> Prediction:
    """The number of scalars in all parameters; a shared one counts once."""
    names = {name for name, _ in graph.model.named_parameters()}
    tensors = graph.recording.tensors.items()
    return Prediction(tuple((1, tuple(value.axes)) for name, value in tensors if name in names))


def predict_flops(graph: Graph) -> Prediction:
    """The FLOPs of one forward on the example inputs in eval mode, as `flops` counts them.

    Of products that are summed: matrix products, einsums, convolutions, attention and recurrent layers.
    """
    return flops_of(contraction for call in graph.recording.calls for contraction in call.contractions)


def flops_of(contractions: Iterable[Contraction]) -> Prediction:
    """Two FLOPs for each multiply-add."""
    return Prediction(tuple((2, contraction.over) for contraction in contractions))
