"""What an operator multiplies and sums: said once, by its rule, and kept with the recorded call."""

from __future__ import annotations

from dataclasses import dataclass

from netmorph.graph.axis import Axis
from netmorph.graph.value import Value

Places = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Contraction:
    """Two tensors are multiplied and summed over some axes, as in an einsum of two; a bias may be added.

    Attributes:
        over: the axes that it runs over, those of the result and those that are summed: one multiply-add for each
            combination of their places. A convolution runs over its kernel as well.
        weight: one of the two: the parameter, if only one is.
        input: the other one, or None where it is no tensor of its own (a recurrent layer's state).
        bias: what is added to the result.
        read: dimensions of the input and of the weight that meet in the sum, in pairs; the input's are negative, as it
            may have any number of batch dimensions. None are told where nothing but the cost is of use.
        write: dimensions of the weight and of the result that are the same channels, in pairs. A dimension of the
            weight that holds the channels of each of several groups is not among them.
    """

    over: tuple[Axis, ...]
    weight: Value
    input: Value | None = None
    bias: Value | None = None
    read: Places = ()
    write: Places = ()

    @property
    def is_layer(self) -> bool:
        """Whether the weight is a matrix `[out, in, *kernel]` or `[in, out, *kernel]` on the channels of the input."""
        return len(self.read) == len(self.write) == 1 and {self.read[0][1], self.write[0][0]} == {0, 1}

    @property
    def offset(self) -> Value | None:
        """The bias, if it is one number for each channel that a layer, or a matrix inside of the operator, writes."""
        is_inner = len(self.read) == 1 and not self.write and len(self.weight.shape) == 2
        if self.bias is None or not (self.is_layer or is_inner):
            return None
        written = 1 - self.read[0][1]
        return self.bias if self.bias.shape == (self.weight.shape[written],) else None
