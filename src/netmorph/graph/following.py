"""Give the integers of a forward their sources while it runs, and keep those that each operator is given."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import CodeType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from netmorph.graph.provenance import (
    Equality,
    Held,
    Length,
    Met,
    Product,
    Size,
    Source,
    Written,
    source_line,
    source_of,
)
from netmorph.graph.value import Value

DIMENSIONS = {"dim", "dims", "dim0", "dim1", "start_dim", "end_dim", "axis", "axis0", "axis1", "source", "destination"}


class Following(TorchFunctionMode):
    """Gives sizes of tensors their source, and keeps the integers that the present call was given.

    Args:
        value: the recorded value of a tensor.
        apart: see `Met`.
    """

    def __init__(self, value: Callable[[Tensor], Value], apart: frozenset[CodeType] = frozenset()) -> None:
        super().__init__()
        self.equal = Met(apart)
        self._recorded = Met()  # those that a recording keeps, apart from those that the forward gets
        self._value = value
        self._given: list[int] | None = None

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

    def followed(self, op: torch._ops.OpOverload, arguments: Any) -> Any:
        """The arguments of an operator, with integers that the present call was given in place of equal ones.

        Of an operator that runs outside of any call that is followed (in a script, or in a forward that cannot be
        followed), all integers are as if written in the code.
        """
        args, kwargs = arguments
        given, places = _Given(self._given, self._recorded), _places(op)
        return (
            tuple(arg if at in places else given.follow(arg) for at, arg in enumerate(args)),
            {name: arg if name in places else given.follow(arg) for name, arg in kwargs.items()},
        )

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
        for path, module in modules.items():
            if not isinstance(module, torch.jit.ScriptModule):
                table = vars(module)
                table.update({name: self._held(path, name, held) for name, held in table.items()})

    def _held(self, path: str, name: str, held: Any) -> Any:
        if type(held) is int or isinstance(held, np.integer):
            return Size(int(held), Held(path, name, int(held)), self.equal)
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


class _Given:
    """Finds the integers of an operator among those that the present call was given, in their order.

    It is no function in a function, which would hold itself, and so the sizes, until the garbage collector comes.
    """

    def __init__(self, given: list[int] | None, recorded: Met) -> None:
        self._given, self._recorded, self._place = given, recorded, 0

    def follow(self, leaf: Any) -> Any:
        if type(leaf) is list or type(leaf) is tuple:
            return type(leaf)(self.follow(entry) for entry in leaf)
        if type(leaf) is not int:
            return leaf
        if self._given is None:
            return Size(leaf, Written(leaf), self._recorded)
        for at in range(self._place, len(self._given)):
            if int(self._given[at]) == leaf:
                self._place = at + 1
                return Size(leaf, source_of(self._given[at]), self._recorded)
        return leaf


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


@functools.cache
def _places(op: torch._ops.OpOverload) -> frozenset[int | str]:
    """The arguments that name dimensions, by position and by name: an equal size is no source of theirs."""
    named = [(at, entry.name) for at, entry in enumerate(op._schema.arguments) if entry.name in DIMENSIONS]
    return frozenset(key for pair in named for key in pair)


def _integers(tree: Any) -> Iterator[int]:
    if isinstance(tree, tuple | list):
        for entry in tree:
            yield from _integers(entry)
    elif isinstance(tree, dict):
        yield from _integers(list(tree.values()))
    elif isinstance(tree, slice):
        yield from _integers((tree.start, tree.stop, tree.step))
    elif isinstance(tree, int | np.integer) and not isinstance(tree, bool):
        yield tree  # type: ignore[misc]


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
