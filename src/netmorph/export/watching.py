"""Watch a forward that is recorded for what only backward sees.

A recording runs below autograd, in inference mode. `Autograd` lets the forward go the way that it goes in training
nevertheless: gradients count as enabled until it switches them off, and what depends on parameters says that it
requires a gradient.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import FrameType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function, grad_mode
from torch.autograd.function import BackwardCFunction
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.hooks import RemovableHandle

from netmorph.export.autograd import WRITABLE, Applied, Event, Hooked, differentiable, noted
from netmorph.graph.axis import Atom
from netmorph.graph.couple import couple
from netmorph.graph.lines import is_of_the_user, not_of_the_user, source_line
from netmorph.graph.record import Recorder, record
from netmorph.graph.recording import Call, Recording
from netmorph.graph.rules import Coupling
from netmorph.graph.running import Inputs, one_at_a_time
from netmorph.graph.value import Value

not_of_the_user(os.path.dirname(__file__))


def watched(model: nn.Module, inputs: Inputs, *, training: bool = False) -> Recording:
    """A recording with axes, and with what autograd would do.

    Raises:
        TraceError: the forward failed.
        ExportError: see `noted`.
    """
    made: list[Autograd] = []

    def watching(recorder: Recorder) -> Autograd:
        made.append(Autograd(model, recorder))
        return made[-1]

    run = record(model, inputs, training=training, watching=watching)
    for value in run.tensors.values():
        value.axes = [(Atom(length),) for length in value.shape]
    couple(run, Coupling())
    watch = next(watch for watch in made if watch.recorder.calls is run.calls)
    return noted(run, watch.calls(), watch.events)


class Autograd(TorchFunctionMode):
    """Watches one forward that is recorded."""

    def __init__(self, model: nn.Module, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder
        self.events: list[Event] = []
        self.switches: list[tuple[int, bool]] = [(0, True)]  # from which call on gradients are enabled or not
        self._running = False  # a custom function
        self._blind = 0  # custom functions that only save memory
        self._thread = threading.get_ident()
        self._before_inference: list[bool] = []
        self._trained = {recorder.tensors[name] for name, p in model.named_parameters() if p.requires_grad}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called for every PyTorch function that the forward calls."""
        if not self._pretends:
            return func(*args, **(kwargs or {}))
        if func == Tensor.retain_grad:
            return None
        if func is torch._C._set_grad_enabled:
            self._switch(args[0])
            return None
        if func == Tensor.requires_grad.__get__ and is_of_the_user(sys._getframe(1).f_code.co_filename):  # type: ignore[attr-defined]
            return func(*args) or self.recorder.value(args[0]) in differentiable(self._trained, self.calls())
        return func(*args, **(kwargs or {}))

    def __enter__(self) -> Autograd:
        """Begin to watch."""
        # A forward that takes gradients itself runs outside of inference mode, and has true ones where it asks.
        self._pretends = torch.is_inference_mode_enabled()
        self._patches = contextlib.ExitStack()
        self._patches.enter_context(one_at_a_time())
        self._patches.enter_context(self._patched())
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *failure: Any) -> None:
        """End, and put back what was changed."""
        try:
            super().__exit__(*failure)  # type: ignore[no-untyped-call]
        finally:
            self._patches.close()

    def calls(self) -> list[Call]:
        """The calls so far; those that run with gradients switched off say so."""
        ends = [start for start, _ in self.switches[1:]] + [len(self.recorder.calls)]
        return [
            call if grad else replace(call, grad=False)
            for (start, grad), end in zip(self.switches, ends, strict=True)
            for call in self.recorder.calls[start:end]
        ]

    def _switch(self, enabled: bool) -> None:
        if not self._blind and not self._running:
            self.switches.append((len(self.recorder.calls), enabled))

    @contextlib.contextmanager
    def _patched(self) -> Iterator[None]:
        mode: type = torch.inference_mode
        with contextlib.ExitStack() as stack:
            functions: list[tuple[Any, str, Callable[..., Any]]] = [
                (function, "forward", partial(self._apply, function)) for function in _functions(Function)
            ]
            pretended: list[tuple[Any, str, Callable[..., Any]]] = [
                (torch, "is_grad_enabled", self._is_enabled),
                (Tensor, "register_hook", self._hook),
                (mode, "__enter__", self._inference),
                (mode, "__exit__", self._inference_left),
            ]
            for owner, name, by in functions + (pretended if self._pretends else []):
                stack.enter_context(_replaced(owner, name, by, self._thread))
            yield

    def _is_enabled(self, original: Callable[[], bool]) -> bool:
        """For the user, and for what switches back to it; the rest of torch asks whether it has to save tensors."""
        caller = sys._getframe(2).f_code.co_filename
        return self.switches[-1][1] if is_of_the_user(caller) or caller == grad_mode.__file__ else original()

    def _inference(self, original: Callable[..., Any], mode: torch.inference_mode) -> Any:
        self._before_inference.append(self.switches[-1][1])
        self._switch(not mode.mode)
        return original(mode)

    def _inference_left(self, original: Callable[..., Any], mode: torch.inference_mode, *failure: Any) -> Any:
        self._switch(self._before_inference.pop())
        return original(mode, *failure)

    def _hook(self, original: Callable[..., Any], tensor: Tensor, hook: Callable[..., Any]) -> RemovableHandle:
        cells = _cells(hook)
        free = tuple(name for name, held in cells.items() if isinstance(held, Tensor))
        values = [self.recorder.value(held) for held in (tensor, *(cells[name] for name in free))]
        op: Any = Hooked(hook, hook.__code__ if isinstance(hook, FunctionType) else None, free)
        here = len(self.recorder.calls)
        self.events.append(Event(here, here, self._call(op, tuple(values), ())))
        return RemovableHandle(OrderedDict())

    def _apply(self, owner: type[Function], original: Callable[..., Any], *args: Any) -> Any:
        """A custom function's forward, which `Function.apply` calls."""
        function = _applied(owner, sys._getframe(2), args)  # behind the replacement
        if self._running or function is None:
            return original(*args)
        given = args if function.setup_context is not Function.setup_context else args[1:]
        if any(callable(leaf) for leaf in tree_leaves(given) if not isinstance(leaf, WRITABLE)):
            self._blind += 1  # what is handed functions or modules to call (a checkpoint) saves memory
            try:
                return original(*args)
            finally:
                self._blind -= 1
        start = len(self.recorder.calls)
        values = tree_map(self._value, given)
        self._running = True
        try:
            result = original(*args)
            several = isinstance(result, tuple)
            changed = self._changed(start)
            # What is returned as it came becomes a tensor of its own, unless it was changed.
            pairs = zip(given, values, strict=True)
            came = {id(leaf) for leaf, value in pairs if isinstance(leaf, Tensor) and value not in changed}
            entries = [
                r.view_as(r) if isinstance(r, Tensor) and id(r) in came else r
                for r in (result if several else [result])
            ]
        finally:
            self._running = False
        outputs = tuple(self._value(e) if isinstance(e, Tensor) else Value((), torch.float32) for e in entries)
        places = frozenset(n for n, value in enumerate(values) if isinstance(value, Value) and value in changed)
        op: Any = Applied(function, len(given), len(entries) if several else None, places)
        self.events.append(Event(start, len(self.recorder.calls), self._call(op, tuple(values), outputs)))
        return tuple(entries) if several else entries[0]

    def _changed(self, start: int) -> set[Value]:
        """The values that calls from `start` on change in place, perhaps through a view."""
        origin: dict[Value, Value] = {}
        changed = set()
        for call in self.recorder.calls[start:]:
            root = origin.get(call.values[0], call.values[0]) if call.values else None
            if root is not None and call.op._schema.is_mutable:
                changed.add(root)
            if root is not None and (call.op.is_view or call.op._schema.is_mutable):
                origin.update((output, root) for output in call.outputs if output is not root)
        return changed

    def _call(self, op: Any, args: tuple[Any, ...], outputs: tuple[Value, ...]) -> Call:
        return Call(op, args, {}, outputs, self.recorder.module, source_line())

    def _value(self, leaf: Any) -> Any:
        return self.recorder.value(leaf) if isinstance(leaf, Tensor) else leaf


def _cells(function: Any) -> dict[str, Any]:
    """What a function has from the one around it, by name."""
    if not isinstance(function, FunctionType):
        return {}
    return dict(inspect.getclosurevars(function).nonlocals)


def _applied(owner: type[Function], caller: FrameType, args: tuple[Any, ...]) -> type[Function] | None:
    """The function that is applied where the forward of `owner` is called; None where something else calls it."""
    if isinstance(Function.apply, MethodType):
        return caller.f_locals["cls"] if caller.f_code is Function.apply.__func__.__code__ else None
    if owner.setup_context is not Function.setup_context:  # PyTorch 2.14 calls it from C, and tells nothing more
        return owner
    return args[0]._forward_cls if args and isinstance(args[0], BackwardCFunction) else None  # type: ignore[attr-defined]


def _functions(parent: type) -> Iterator[type]:
    """All custom functions that are defined, those with a forward of their own."""
    children: list[type] = parent.__subclasses__()
    for function in children:
        if "forward" in vars(function):
            yield function
        yield from _functions(function)


@contextlib.contextmanager
def _replaced(owner: Any, name: str, by: Callable[..., Any], thread: int) -> Iterator[None]:
    """In this thread, `by` is called in place of a function, with the function before its arguments."""
    kept = vars(owner)[name]
    original = getattr(owner, name)

    def replacement(*args: Any, **kwargs: Any) -> Any:
        return by(original, *args, **kwargs) if threading.get_ident() == thread else original(*args, **kwargs)

    setattr(owner, name, staticmethod(replacement) if isinstance(kept, staticmethod) else replacement)
    try:
        yield
    finally:
        setattr(owner, name, kept)
