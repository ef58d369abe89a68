"""The parts of the cases: operators as modules, and called as their schemas ask."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Function = Callable[..., Tensor]


class Model(nn.Module):
    """Two convolutions to 4 channels, the operator under test, a linear layer over all that comes out."""

    def __init__(self, function: Function | nn.Module, **parameters: Tensor) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 3, padding=1)
        self.between = Between(function, parameters)
        with torch.no_grad():
            size = self.features(torch.randn(2, 2, 4, 4)).shape[1]
        self.head = nn.Linear(size, 3)

    def features(self, x: Tensor) -> Tensor:
        # positive, so that logarithms and roots are defined
        return self.between(F.softplus(self.left(x)), F.softplus(self.right(x))).to(x.dtype).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Between(nn.Module):
    """The op: a function of two feature maps `[N, 4, H, W]` and parameters, or a module of one of them."""

    def __init__(self, function: Function | nn.Module, parameters: dict[str, Tensor]) -> None:
        super().__init__()
        self.function = function
        for name, value in parameters.items():
            setattr(self, name, nn.Parameter(value))
        self.names = list(parameters)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if isinstance(self.function, nn.Module):
            return self.function(x)
        return self.function(x, y, *(getattr(self, name) for name in self.names))


class Spread(nn.Module):
    """Feature maps as `rank` spatial dimensions."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank = rank

    def forward(self, x: Tensor) -> Tensor:
        if self.rank == 1:
            return x.flatten(2)
        return x.unflatten(3, (2, 2)) if self.rank == 3 else x


def in_rank(rank: int, module: nn.Module) -> nn.Module:
    return nn.Sequential(Spread(rank), module)


# -- cases from the operators' schemas --------------------------------------------------------------------------------

BETWEEN_0_AND_1 = """
    asin asin_ arcsin acos acos_ arccos atan atan_ arctan atanh atanh_ arctanh erfinv erfinv_ special_erfinv logit
    logit_ special_ndtri bernoulli bernoulli_ binomial
""".split()
ABOVE_1 = "acosh acosh_ arccosh".split()
BOOLEAN = "bitwise_not bitwise_not_ logical_not logical_and logical_or logical_xor".split()
INTEGERS = """
    bitwise_and bitwise_and_ bitwise_or bitwise_or_ bitwise_xor bitwise_xor_ __and__ __or__ __xor__ __iand__ __ior__
    __ixor__ __lshift__ __rshift__ bitwise_left_shift bitwise_right_shift gcd lcm
""".split()
COMPLEX = "complex polar".split()
ARBITRARY = """
    empty_like rand_like randn_like bernoulli bernoulli_ uniform_ normal_
    exponential_ random_ geometric_ cauchy_ log_normal_ poisson binomial _standard_gamma
""".split()  # what the results hold does not matter
GIVEN = {"min": 0.4, "max": 0.9, "exponent": 1.5, "rounding_mode": "floor", "to": 3}
DEFAULTS = {"number": 0.7, "float": 0.5, "int": 1, "bool": False}


def from_schema(op: torch._ops.OpOverload) -> Function:
    """The operator on `x` and `y`, with some number wherever it needs one."""
    name = op._schema.name.removeprefix("aten::")

    def function(x: Tensor, y: Tensor) -> Tensor:
        args, kwargs = arguments(op, *operands(name, x, y))
        result = op(*args, **kwargs)
        if name in COMPLEX:
            return result.abs()
        return result.copy_(y) if name in ARBITRARY else result + y if name == "zero_" else result

    return function


def operands(name: str, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if name in BETWEEN_0_AND_1:
        return x.sigmoid(), y.sigmoid()
    if name in ABOVE_1:
        return x + 1, y + 1
    if name in BOOLEAN:
        return x > 0.5, y > 0.5
    if name in INTEGERS:
        return (9 * x).long(), (9 * y).long()
    return x.clone() if name.endswith("_") else x, y


def kinds(op: torch._ops.OpOverload) -> list[tuple[str, bool]]:
    """Of each argument that `arguments` makes up, its type, and whether it is given by name."""
    return [(str(argument.type), argument.kwarg_only) for argument in op._schema.arguments if is_given(argument)]


def is_given(argument: Any) -> bool:
    return not argument.has_default_value() or argument.name in ("min", "max")


def arguments(op: torch._ops.OpOverload, x: Tensor, y: Tensor) -> tuple[list[Any], dict[str, Any]]:
    tensors = itertools.cycle([x, y])
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for argument in op._schema.arguments:
        kind = str(argument.type).removeprefix("Optional[").removesuffix("]")
        if not is_given(argument):
            continue
        if kind == "Tensor":
            value: Any = next(tensors)
            if argument.name in ("mask", "condition"):
                value = x > y
            elif argument.name == "value":
                value = x.new_ones(())
        else:
            value = 3 if x.dtype == torch.long else GIVEN.get(argument.name, DEFAULTS.get(kind))
        if argument.kwarg_only:
            kwargs[argument.name] = value
        else:
            args.append(value)
    return args, kwargs


def windowed(op: torch._ops.OpOverload) -> nn.Module:
    """Pooling, resizing or padding in the rank that its name tells."""
    rank = next(rank for rank in (1, 2, 3) if f"{rank}d" in str(op))
    values: dict[str, Any] = {
        "kernel_size": [2] * rank, "output_size": [3] * rank, "padding": [1] * 2 * rank, "align_corners": False,
        "scale_factors": None,
    }  # fmt: skip
    needed = [a.name for a in op._schema.arguments if not a.has_default_value() and str(a.type) != "Tensor"]
    return in_rank(rank, Applied(op, [values[name] for name in needed]))


class Applied(nn.Module):
    """An operator with fixed arguments behind the tensor; of several results, the first."""

    def __init__(self, op: torch._ops.OpOverload, args: list[Any]) -> None:
        super().__init__()
        self.run = lambda x: op(x, *args)

    def forward(self, x: Tensor) -> Tensor:
        result = self.run(x)
        return result if isinstance(result, Tensor) else result[0]


def assigned(x: Tensor, place: Any, value: Tensor | float) -> Tensor:
    x = x.clone()
    x[place] = value
    return x


def checked(check: Callable[[Tensor], Any]) -> Function:
    """An operator that looks at the features and returns no tensor."""

    def function(x: Tensor, y: Tensor) -> Tensor:
        check(x)
        return x + y

    return function


def tokens(*maps: Tensor) -> list[Tensor]:
    """`[N, H * W, C]`."""
    return [x.flatten(2).transpose(1, 2) for x in maps]


class Recurrent(nn.Module):
    """A recurrent layer over the places of feature maps, one cell on their means, or a layer over packed sequences."""

    def __init__(self, layer: nn.Module, packed: bool = False) -> None:
        super().__init__()
        self.layer, self.packed = layer, packed

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.layer, nn.RNNCellBase):
            made = self.layer(x.mean((2, 3)))
            return made[0] if isinstance(made, tuple) else made
        (places,) = tokens(x)
        if not self.packed:
            return self.layer(places)[0].mean(1)
        sequences = nn.utils.rnn.pack_padded_sequence(places, torch.tensor([9, 5]), batch_first=True)
        return nn.utils.rnn.pad_packed_sequence(self.layer(sequences)[0], batch_first=True)[0].mean(1)
