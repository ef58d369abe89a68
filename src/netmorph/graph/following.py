"""Give the integers of a forward their sources while it runs, and keep those that each operator is given."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import operator
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import CodeType, FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from netmorph.graph.facts import Facts
from netmorph.graph.held import Holder, stood_in
from netmorph.graph.holders import alike, is_integer
from netmorph.graph.lines import forward_frames, source_line
from netmorph.graph.provenance import Size, plain
from netmorph.graph.provenance import given as given_source
from netmorph.graph.roots import Root
from netmorph.graph.sources import Equality, Held, Length, Lost, Number, Product, Source
from netmorph.graph.value import Value

aten = torch.ops.aten
DIMENSIONS = {"dim", "dims", "dim0", "dim1", "start_dim", "end_dim", "axis", "axis0", "axis1", "source", "destination"}


class Following(TorchFunctionMode):
    """Gives sizes of tensors their source, and keeps the integers that the present call was given.

    Args:
        value: the recorded value of a tensor.
        apart: see `Facts`.

    Attributes:
        facts: what the sizes tell that the forward gets.
        read: the tensors whose values were given to Python or another library.
        of_sizes: tensors whose numbers are sizes, with these: where each comes from, and what it is.
        differentiated: while the forward takes a gradient: of which tensors.
    """

    def __init__(self, value: Callable[[Tensor], Value], apart: frozenset[CodeType] = frozenset()) -> None:
        super().__init__()
        self.facts = Facts(apart=apart)
        self._recorded = self.facts.of_recording()
        self.read: list[Value] = []
        self.differentiated: tuple[Value, ...] | None = None
        self._value = value
        self._given: list[int | Tensor] | None = None
        self._powers: list[Root] = []
        self.of_sizes: dict[Value, tuple[tuple[Source, int], ...]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called for every PyTorch function that the forward calls."""
        outer, self._given = (self._given, self._powers), list(_numbers((args, kwargs)))
        self._powers = [leaf for leaf in (*args, *(kwargs or {}).values()) if isinstance(leaf, Root)]
        before = self.differentiated
        if func in _GRADIENTS:
            self.differentiated = self._roots(args[0] if args else next(iter((kwargs or {}).values())))
        try:
            result = func(*args, **(kwargs or {}))
        finally:
            (self._given, self._powers), self.differentiated = outer, before
        if func is Tensor.__getitem__:
            self._whole(args[0], args[1])
        if func in _OF_NUMBERS:
            _as_numbers(_integers(args))
            roots = [leaf for leaf in (*args, *(kwargs or {}).values()) if isinstance(leaf, Root)]
            self.facts.equal += [Equality(root.source, Number(root.size), source_line()) for root in roots]
        if func in _OUT_OF_SIGHT:
            self.read.append(self._value(args[0]))
            _as_numbers(self._sizes(args[0], args[0].shape, (), {}))
        if func in _SIZES:
            return self._sizes(args[0], result, args[1:], kwargs or {})
        if func in _COUNTS:
            return self._count(args[0], result)
        return result

    def _roots(self, given: Any) -> tuple[Value, ...] | None:
        """The values of tensors; None where some are wrapped by `torch.func`, so that no operator gets them itself."""
        roots = [given] if isinstance(given, Tensor) else list(given)
        if any(torch._C._functorch.is_functorch_wrapped_tensor(root) for root in roots):
            return None
        return tuple(self._value(root) for root in roots)

    def followed(self, op: torch._ops.OpOverload, arguments: Any) -> Any:
        """The arguments of an operator, with integers that the present call was given in place of equal ones.

        Of an operator that runs outside of any call that is followed (in a script, or in a forward that cannot be
        followed), all integers are as if written in the code.
        """
        args, kwargs = arguments
        given, places = _Given(self._given, self._powers, self._recorded), _places(op)
        return (
            tuple(arg if at in places else given.follow(arg) for at, arg in enumerate(args)),
            {name: arg if name in places else given.follow(arg) for name, arg in kwargs.items()},
        )

    def met(self, value: Value, tensor: Tensor) -> None:
        """A tensor that no operator made. `torch.IntTensor([size])` makes one that nobody hears of."""
        if tensor.dtype not in _COUNTING or tensor.numel() > FEW:
            return
        frame = next((frame for frame in forward_frames() if not _UNHEARD.isdisjoint(frame.f_code.co_names)), None)
        if frame is None:
            return
        held: list[tuple[Source, int]] = []
        for number in {*tensor.flatten().tolist()} - {*_integers(frame.f_code.co_consts)}:  # those may be written there
            sizes = {size.source: size for size in _in_sight(frame) if plain(size) == number}
            for source, size in sizes.items():
                # Which one it was cannot be told from a value: then none of them may change.
                size.lost() if len(sizes) == 1 else size.number()
                held.append((source, number))
        if held:
            self.of_sizes[value] = tuple(held)

    def made(self, op: torch._ops.OpOverload, values: Sequence[Value], outputs: Sequence[Value]) -> None:
        """An operator's tensors and results: parts of a tensor of sizes are such, all else computes with it."""
        for value in self.of_sizes.keys() & values if self.of_sizes else ():
            if op in _PARTS:
                self.of_sizes.update(dict.fromkeys(outputs, self.of_sizes[value]))
            elif op not in READS:
                held = self.of_sizes[value]
                self.facts.equal += [Equality(source, Number(number), source_line()) for source, number in held]

    def read_number(self, number: Any, value: Value) -> None:
        """A number that was read from a tensor while PyTorch looks at what it was given: `x[:, :length]`."""
        if self._given is not None and type(number) is int:
            source = self.facts.closer(number) if value in self.of_sizes else Lost(number)
            size = Size(number, source, self.facts)
            holes = (at for at, found in enumerate(self._given) if isinstance(found, Tensor))
            if (at := next(holes, None)) is None:
                self._given.append(size)
            else:
                self._given[at] = size

    def _whole(self, tensor: Tensor, index: Any) -> None:
        """A slice that ends with the tensor has to do so always: PyTorch leaves it out, and no operator tells of it."""
        entries = [entry for entry in (index if isinstance(index, tuple) else (index,)) if entry is not None]
        rest = next((place for place, entry in enumerate(entries) if entry is Ellipsis), len(entries))
        entries[rest : rest + 1] = [slice(None)] * (tensor.dim() - len(entries) + (rest < len(entries)))
        if any(isinstance(entry, Tensor | list) for entry in entries):  # these may take several dimensions
            return
        for dim, (entry, length) in enumerate(zip(entries, tensor.shape, strict=True)):
            stop = entry.stop if isinstance(entry, slice) and _is_first(entry.start) else None
            if isinstance(stop, int) and plain(stop) == plain(length):
                whole = Length(self._value(tensor), dim)
                self.facts.equal.append(Equality(given_source(stop, self.facts), whole, source_line()))

    @contextlib.contextmanager
    def held(self, modules: dict[str, nn.Module]) -> Iterator[None]:
        """Let the modules hold sizes in place of integers."""
        with stood_in(modules, self._held):
            yield

    def _held(self, holder: Holder, tail: str, held: Any) -> Any:
        path, name = holder.module, holder.place(tail)
        if is_integer(held):
            return Size(int(held), Held(path, name, int(held)), self.facts)
        entries = [Size(int(n), Held(path, name, int(n), place), self.facts) for place, n in enumerate(held)]
        return alike(held, entries)

    def _sizes(self, tensor: Tensor, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = self._value(tensor)
        if isinstance(result, int):
            dim = args[0] if args else kwargs["dim"]
            return Size(result, Length(value, dim % len(value.shape)), self.facts)
        sizes = [Size(size, Length(value, dim), self.facts) for dim, size in enumerate(result)]
        if sys._getframe(2).f_code is Tensor.__len__.__code__:
            sizes[0].lost()
        if any("numel" in frame.f_code.co_names for frame in itertools.islice(forward_frames(), 1)):
            self._counted(sizes)
        return torch.Size(sizes)

    def _counted(self, sizes: list[Size]) -> None:
        """`x.shape[1:].numel()` is a plain integer: any run of the sizes may be what it is the product of."""
        for first, last in itertools.combinations(range(len(sizes) + 1), 2):
            functools.reduce(operator.mul, sizes[first:last]).lost()

    def _count(self, tensor: Tensor, result: int) -> int:
        value = self._value(tensor)
        lengths = [Length(value, dim) for dim in range(len(value.shape))]
        return Size(result, _product(lengths), self.facts) if lengths else result


class _Given:
    """Finds the integers of an operator among those that the present call was given, in their order.

    It is no function in a function, which would hold itself, and so the sizes, until the garbage collector comes.
    """

    def __init__(self, given: Sequence[int | Tensor] | None, powers: Sequence[Root], facts: Facts) -> None:
        self._given, self._powers, self._facts, self._place = given, powers, facts, 0

    def follow(self, leaf: Any) -> Any:
        if type(leaf) is list or type(leaf) is tuple:
            return type(leaf)(self.follow(entry) for entry in leaf)
        if isinstance(leaf, float):
            return next((root.kept(self._facts) for root in self._powers if root == leaf), leaf)
        if type(leaf) is not int:
            return leaf
        if self._given is None:
            return Size(leaf, given_source(leaf, self._facts), self._facts)
        for at in range(self._place, len(self._given)):
            found = self._given[at]
            if not isinstance(found, Tensor) and plain(found) == leaf:
                self._place = at + 1
                return Size(leaf, given_source(found, self._facts), self._facts)
        return leaf


_SIZES = (Tensor.shape.__get__, Tensor.size)  # type: ignore[attr-defined]
_OF_NUMBERS = (torch.tensor, torch.as_tensor, torch.scalar_tensor, Tensor.new_tensor, Tensor.new)
_OUT_OF_SIGHT = (Tensor.numpy, Tensor.tolist)  # what other libraries do with channels cannot be followed
# Constructors of before `torch.tensor`: they tell neither who follows functions nor who follows operators.
_UNHEARD = {"ShortTensor", "IntTensor", "LongTensor"}
_COUNTING = {torch.int16, torch.int32, torch.int64}
FEW = 64  # a tensor of more numbers is no list of sizes
_PARTS = {
    aten.lift_fresh.default,
    aten.select.int,
    aten.slice.Tensor,
    aten.unbind.int,
    aten.view.default,
    aten.squeeze.default,
    aten.detach.default,
}
# What makes a number of a tensor's value.
READS = {aten.item.default, aten._local_scalar_dense.default}
_GRADIENTS = (torch.autograd.grad, torch.autograd.backward, Tensor.backward)
_COUNTS = (Tensor.numel, Tensor.nelement, torch.numel)


def _is_first(start: Any) -> bool:
    return start is None or (isinstance(start, int) and plain(start) == 0)


def _as_numbers(given: Iterable[int]) -> None:
    for size in given:
        if isinstance(size, Size):
            size.number()


def _in_sight(frame: FrameType) -> Iterator[Size]:
    """The sizes that a call has in its variables, or names as attributes of modules there."""
    for value in frame.f_locals.values():
        held = vars(value).items() if isinstance(value, nn.Module) else ()
        for found in (value, *(entry for name, entry in held if name in frame.f_code.co_names)):
            if isinstance(found, Size):
                yield found


def _product(sources: Sequence[Source]) -> Source:
    first, *others = sources
    return functools.reduce(Product, others, first)


@functools.cache
def _places(op: torch._ops.OpOverload) -> frozenset[int | str]:
    """The arguments that name dimensions, by position and by name: an equal size is no source of theirs."""
    named = [(at, entry.name) for at, entry in enumerate(op._schema.arguments) if entry.name in DIMENSIONS]
    return frozenset(key for pair in named for key in pair)


def _integers(tree: Any) -> Iterator[int]:
    return (found for found in _numbers(tree) if not isinstance(found, Tensor))


def _numbers(tree: Any) -> Iterator[int | Tensor]:
    """The integers, in their order, and tensors that may be read for one: `torch.zeros(layers, longest, width)`."""
    if isinstance(tree, tuple | list):
        for entry in tree:
            yield from _numbers(entry)
    elif isinstance(tree, dict):
        yield from _numbers(list(tree.values()))
    elif isinstance(tree, slice):
        yield from _numbers((tree.start, tree.stop, tree.step))
    elif isinstance(tree, int | np.integer) and not isinstance(tree, bool):
        yield tree  # type: ignore[misc]
    elif isinstance(tree, Tensor) and tree.numel() == 1 and not tree.is_floating_point():
        yield tree


@contextlib.contextmanager
def functions_open() -> Iterator[None]:
    """Let `Following` see what PyTorch's own Python functions call, not just that they are called, and roots of sizes.

    Functions of `torch.nn.functional` hand themselves over whole to whoever follows functions. Here they do so only
    for tensors of a class of the user's. What asks in another thread gets PyTorch's own answer; the caller holds
    `one_at_a_time`, so that no two threads put theirs in at once.
    """
    names = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")
    places = (torch.nn.functional, torch.functional, torch._tensor)
    before = [(place, name, vars(place)[name]) for place in places for name in names if name in vars(place)]
    mine = threading.get_ident()
    root = math.sqrt

    def asked(original: Callable[..., bool]) -> Callable[..., bool]:
        def of_own_class(*arguments: Any) -> bool:
            if threading.get_ident() != mine:
                return original(*arguments)
            leaves = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], tuple) else arguments
            return any(isinstance(leaf, Tensor) and type(leaf) not in (Tensor, nn.Parameter) for leaf in leaves)

        return of_own_class

    def sqrt(number: Any) -> float:
        return number**0.5 if isinstance(number, Size | Root) and threading.get_ident() == mine else root(number)

    try:
        for place, name, function in before:
            setattr(place, name, asked(function))
        math.sqrt = sqrt
        yield
    finally:
        math.sqrt = root
        for place, name, function in before:
            setattr(place, name, function)
