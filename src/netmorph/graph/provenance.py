"""Where the integers come from that a forward passes to its operators.

While a model is recorded, the integers that its modules hold and the sizes of its tensors are `Size`s: integers that
remember their source through arithmetic. So `x.reshape(B, N, self.num_heads, C // self.num_heads)` tells which
attribute must follow when heads are added, and an integer without a source is one written into the code.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from netmorph.graph.value import Value

# Frames of torch, of the tracer and of inserted blocks are not the user's code.
NOT_USER = (
    os.path.dirname(torch.__file__) + os.sep,
    os.path.dirname(__file__) + os.sep,
    os.path.join(os.path.dirname(os.path.dirname(__file__)), "edit") + os.sep,
    "<",
)


@dataclass(frozen=True)
class Held:
    """An integer attribute of a module, or one entry of an attribute that is a tuple or list of integers."""

    module: str
    name: str
    size: int
    index: int | None = None


@dataclass(frozen=True)
class Length:
    """The size of one dimension of a tensor."""

    value: Value
    dim: int


@dataclass(frozen=True)
class Written:
    """A number that follows nothing: written in the code, or computed in a way that cannot be followed."""

    size: int


@dataclass(frozen=True)
class Number:
    """A size whose value the forward computes with (a scale of 1 / sqrt(width)): it cannot be another one."""

    size: int


@dataclass(frozen=True)
class Product:
    """`left * right`."""

    left: Source
    right: Source


@dataclass(frozen=True)
class Total:
    """`left + right`."""

    left: Source
    right: Source


@dataclass(frozen=True)
class Quotient:
    """`whole // divisor`, with nothing left over."""

    whole: Source
    divisor: Source
    size: int


@dataclass(frozen=True)
class Difference:
    """`whole - part`."""

    whole: Source
    part: Source
    size: int


@dataclass(frozen=True)
class Equality:
    """Two integers that have to stay equal, and the line where the forward relies on it."""

    left: Source
    right: Source
    where: str


Source = Held | Length | Written | Number | Product | Total | Quotient | Difference


class Size(int):
    """An integer with a source.

    Attributes:
        source: where it comes from.
        equal: a list that gets every pair of sizes that the forward found equal; shared by all sizes of a recording.
    """

    source: Source
    equal: list[Equality]

    def __new__(cls, value: int, source: Source, equal: list[Equality]) -> Size:
        """An `int` like any other for whoever does not look."""
        made = super().__new__(cls, value)
        made.source, made.equal = source, equal
        return made

    __hash__ = int.__hash__

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        """A copy or a pickle is a plain integer."""
        return int, (int(self),)

    def __mul__(self, other: Any) -> Any:
        """Follows products of integers; anything else as usual."""
        if isinstance(other, float):
            return self.number() * other
        if not isinstance(other, int):
            return NotImplemented
        return Size(int(self) * int(other), Product(self.source, source_of(other)), self.equal)

    def __rmul__(self, other: Any) -> Any:
        """See `__mul__`."""
        if isinstance(other, float):
            return other * self.number()
        if not isinstance(other, int):
            return NotImplemented
        return Size(int(other) * int(self), Product(source_of(other), self.source), self.equal)

    def __add__(self, other: Any) -> Any:
        """Follows sums."""
        if not isinstance(other, int):
            return NotImplemented
        if int(other) == 0:
            return self
        return Size(int(self) + int(other), Total(self.source, source_of(other)), self.equal)

    def __radd__(self, other: Any) -> Any:
        """See `__add__`."""
        if not isinstance(other, int):
            return NotImplemented
        if int(other) == 0:
            return self
        return Size(int(other) + int(self), Total(source_of(other), self.source), self.equal)

    def __sub__(self, other: Any) -> Any:
        """Follows differences that leave something."""
        if not isinstance(other, int):
            return NotImplemented
        left = int(self) - int(other)
        return Size(left, Difference(self.source, source_of(other), left), self.equal) if left > 0 < other else left

    def __floordiv__(self, other: Any) -> Any:
        """Follows quotients without a remainder."""
        if not isinstance(other, int):
            return NotImplemented
        quotient, remainder = divmod(int(self), int(other))
        if remainder or quotient < 1:
            return quotient
        return Size(quotient, Quotient(self.source, source_of(other), quotient), self.equal)

    def __rfloordiv__(self, other: Any) -> Any:
        """See `__floordiv__`."""
        if not isinstance(other, int):
            return NotImplemented
        return Size(int(other), Written(int(other)), self.equal) // self

    def number(self) -> int:
        """The plain value, to compute with: from here on it is lost where it came from."""
        self.equal.append(Equality(self.source, Number(int(self)), source_line()))
        return int(self)

    def __truediv__(self, other: Any) -> Any:
        """The value enters a computation."""
        return self.number() / other if isinstance(other, int | float) else NotImplemented

    def __rtruediv__(self, other: Any) -> Any:
        """See `__truediv__`."""
        return other / self.number() if isinstance(other, int | float) else NotImplemented

    def __pow__(self, other: Any) -> Any:  # type: ignore[override]
        """See `__truediv__`."""
        return self.number() ** int(other) if isinstance(other, int) else self.number() ** other

    def __float__(self) -> float:
        """See `__truediv__`; `math.sqrt` calls this."""
        return float(self.number())

    def __eq__(self, other: object) -> bool:
        """As usual; what is found equal has to stay equal for the forward to go the same way."""
        if not isinstance(other, int):
            return int(self) == other
        same = int(self) == int(other)
        if same:
            self.equal.append(Equality(self.source, source_of(other), f"compared at {source_line()}"))
        elif not isinstance(other, Size) and not _asked_by_torch():
            self.number()  # with another size, the forward might go the other way
        return same

    def __ne__(self, other: object) -> bool:
        """See `__eq__`."""
        return not self == other


def source_line() -> str:
    """The innermost line being run that belongs neither to torch nor to netmorph's tracer, as `file:line`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if not path.startswith(NOT_USER):
            return f"{path}:{frame.f_lineno}"
        frame = frame.f_back
    return "an unknown line"


def _asked_by_torch() -> bool:
    """Whether the code that compares a size is PyTorch's own, which checks what it is given."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(NOT_USER)


def source_of(number: int) -> Source:
    """The source of an integer; one without is written in the code."""
    return number.source if isinstance(number, Size) else Written(int(number))


class Following(TorchFunctionMode):
    """Gives sizes of tensors their source, and keeps the integers that the present call was given.

    Args:
        value: the recorded value of a tensor.
    """

    def __init__(self, value: Callable[[Tensor], Value]) -> None:
        super().__init__()
        self.equal: list[Equality] = []
        self._value = value
        self._given: list[int] | None = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called for every PyTorch function that the forward calls."""
        outer, self._given = self._given, list(_integers((args, kwargs)))
        try:
            result = func(*args, **(kwargs or {}))
        finally:
            self._given = outer
        if func is Tensor.__getitem__:
            self._whole(args[0], args[1])
        if func in _OF_NUMBERS:
            _as_numbers(_integers(args))
        if func in _OUT_OF_SIGHT:
            _as_numbers(self._sizes(args[0], args[0].shape, (), {}))
        if func in _SIZES:
            return self._sizes(args[0], result, args[1:], kwargs or {})
        if func in _COUNTS:
            return self._count(args[0], result)
        return result

    def followed(self, arguments: Any) -> Any:
        """The arguments of an operator, with integers that the present call was given in place of equal ones.

        Of an operator that runs outside of any call that is followed (in a script), all integers are as if written.
        """
        given = self._given
        place = 0

        def follow(leaf: Any) -> Any:
            nonlocal place
            if type(leaf) is list or type(leaf) is tuple:
                return type(leaf)(follow(entry) for entry in leaf)
            if type(leaf) is not int:
                return leaf
            if given is None:
                return Size(leaf, Written(leaf), self.equal)
            for at in range(place, len(given)):
                if int(given[at]) == leaf:
                    place = at + 1
                    found = given[at]
                    return found if isinstance(found, Size) else Size(found, Written(found), self.equal)
            return leaf

        args, kwargs = arguments
        return tuple(follow(arg) for arg in args), {name: follow(arg) for name, arg in kwargs.items()}

    def _whole(self, tensor: Tensor, index: Any) -> None:
        """A slice that ends with the tensor has to do so always: PyTorch leaves it out, and no operator tells of it."""
        entries = [entry for entry in (index if isinstance(index, tuple) else (index,)) if entry is not None]
        rest = next((place for place, entry in enumerate(entries) if entry is Ellipsis), len(entries))
        entries[rest : rest + 1] = [slice(None)] * (tensor.dim() - len(entries) + (rest < len(entries)))
        if any(isinstance(entry, Tensor | list) for entry in entries):  # these may take several dimensions
            return
        for dim, (entry, length) in enumerate(zip(entries, tensor.shape, strict=True)):
            stop = entry.stop if isinstance(entry, slice) and not entry.start else None
            if isinstance(stop, int) and int(stop) == length:
                self.equal.append(Equality(source_of(stop), Length(self._value(tensor), dim), source_line()))

    def hold(self, modules: dict[str, nn.Module]) -> None:
        """Replace the integers that the modules hold by sizes; the caller puts the modules' attributes back."""
        self._given = None
        for path, module in modules.items():
            if not isinstance(module, torch.jit.ScriptModule):
                table = vars(module)
                table.update({name: self._held(path, name, held) for name, held in table.items()})

    def _held(self, path: str, name: str, held: Any) -> Any:
        if type(held) is int:
            return Size(held, Held(path, name, held), self.equal)
        if (type(held) is tuple or type(held) is list) and held and all(type(entry) is int for entry in held):
            return type(held)(
                Size(entry, Held(path, name, entry, place), self.equal) for place, entry in enumerate(held)
            )
        return held

    def _sizes(self, tensor: Tensor, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = self._value(tensor)
        if isinstance(result, int):
            dim = args[0] if args else kwargs["dim"]
            return Size(result, Length(value, dim % len(value.shape)), self.equal)
        return torch.Size([Size(size, Length(value, dim), self.equal) for dim, size in enumerate(result)])

    def _count(self, tensor: Tensor, result: int) -> int:
        value = self._value(tensor)
        lengths = [Length(value, dim) for dim in range(len(value.shape))]
        return Size(result, _product(lengths), self.equal) if lengths else result


_SIZES = (Tensor.shape.__get__, Tensor.size)  # type: ignore[attr-defined]
_OF_NUMBERS = (torch.tensor, torch.as_tensor, torch.scalar_tensor)
_OUT_OF_SIGHT = (Tensor.numpy, Tensor.tolist)  # what other libraries do with channels cannot be followed
_COUNTS = (Tensor.numel, Tensor.nelement, torch.numel)


def _as_numbers(given: Iterable[int]) -> None:
    for size in given:
        if isinstance(size, Size):
            size.number()


def _product(sources: Sequence[Source]) -> Source:
    first, *others = sources
    return functools.reduce(Product, others, first)


def _integers(tree: Any) -> Iterator[int]:
    if isinstance(tree, tuple | list):
        for entry in tree:
            yield from _integers(entry)
    elif isinstance(tree, dict):
        yield from _integers(list(tree.values()))
    elif isinstance(tree, slice):
        yield from _integers((tree.start, tree.stop, tree.step))
    elif isinstance(tree, int) and not isinstance(tree, bool):
        yield tree


@contextlib.contextmanager
def functions_open() -> Iterator[None]:
    """Let `Following` see what PyTorch's own Python functions call, not just that they are called.

    Functions of `torch.nn.functional` hand themselves over whole to whoever follows functions. Here they do so only
    for tensors of a class of the user's.
    """
    names = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
    places = (torch.nn.functional, torch.functional, torch._tensor)
    before = [(place, name, vars(place)[name]) for place in places for name in names if name in vars(place)]

    def of_own_class(*arguments: Any) -> bool:
        leaves = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], tuple) else arguments
        return any(isinstance(leaf, Tensor) and type(leaf) not in (Tensor, nn.Parameter) for leaf in leaves)

    try:
        for place, name, _ in before:
            setattr(place, name, of_own_class)
        yield
    finally:
        for place, name, function in before:
            setattr(place, name, function)
