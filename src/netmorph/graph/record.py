"""Run a model once and record every operator with its arguments, module and source line.

The recorder sits below autograd, in inference mode, where PyTorch hands it composite operators (`linear`, `conv2d`,
`batch_norm`) whole. It runs on real tensors, so data-dependent branches, `.item()` and NumPy round trips are followed
as they happen: a model that runs can be recorded.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import random
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from netmorph.errors import NetmorphError
from netmorph.graph.following import Following, functions_open
from netmorph.graph.provenance import NOT_USER, Equality, source_line
from netmorph.graph.value import Value

# What a forward may add to in place: a module's own tables (parameters, buffers, modules, hooks), a user's records.
CONTAINERS = (dict, list, set, deque)


Inputs = tuple[Any, ...] | dict[str, Any]  # positional, or by keyword


class TraceError(NetmorphError):
    """A model could not be traced."""


@dataclass(frozen=True)
class Call:
    """One operator call; tensors among the arguments are replaced by their `Value`, integers by a `Size`.

    An integer that PyTorch itself worked out is a plain `int`.
    """

    op: torch._ops.OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Value, ...]
    module: str
    location: str

    @functools.cached_property
    def values(self) -> list[Value]:
        """The tensors anywhere among the arguments, in their order."""
        return [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Value)]

    @functools.cached_property
    def named(self) -> dict[str, Any]:
        """The arguments by name, in the order of the operator's schema, with defaults filled in."""
        schema = self.op._schema.arguments
        given = dict(zip((entry.name for entry in schema), self.args, strict=False)) | self.kwargs
        return {entry.name: given.get(entry.name, entry.default_value) for entry in schema}


@dataclass(frozen=True)
class Recording:
    """All operator calls of one forward pass, in order.

    Attributes:
        inputs: the tensors among the example inputs, in the order of `tree_leaves`.
        outputs: those of the result, see `tensors_in`.
        tensors: parameters and buffers by canonical name.
        module_outputs: what each module returned last, where it is one tensor.
        equal: sizes that the forward compared and found equal.
        constants: tensors that no recorded operator made and that are neither inputs nor registered with a module.
        result: what the model returned.
    """

    calls: list[Call]
    inputs: list[Value]
    outputs: list[Value]
    tensors: dict[str, Value]
    module_outputs: dict[str, Value]
    constants: dict[Value, Tensor]
    equal: tuple[Equality, ...]
    result: Any


def tensors_in(result: Any) -> list[Tensor]:
    """The tensors of what a model returned, also those that an object of a user's own class holds (a dataclass)."""
    leaves = [leaf for found in tree_leaves(result) for leaf in _opened(found)]
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _opened(leaf: Any) -> list[Any]:
    if isinstance(leaf, Mapping):
        return tree_leaves(list(leaf.values()))
    if isinstance(leaf, Tensor | nn.Module):
        return [leaf]
    try:
        return tree_leaves(vars(leaf))
    except TypeError:  # a number, a string: nothing is inside
        return [leaf]


def canonical_names(model: nn.Module) -> dict[int, str]:
    """Maps id(tensor) to the first name of each parameter and buffer; tied ones share that name."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {id(tensor): name for name, tensor in reversed(named)}


def check_ready(model: nn.Module, inputs: Inputs) -> None:
    """Edits need the values of every tensor.

    Raises:
        TraceError: a parameter, buffer or input is lazy, sparse or on the meta device.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise TraceError(f"{name!r} has no size yet; run the model once on an example input, then trace it")
        _check_values(f"the model's tensor {name!r}", tensor)
    for tensor in tree_leaves(inputs):
        if isinstance(tensor, Tensor):
            _check_values("an example input", tensor)


def _check_values(what: str, tensor: Tensor) -> None:
    if tensor.is_meta:
        raise TraceError(f"{what} is on the meta device and has no values; trace a model with real weights and inputs")
    if tensor.layout != torch.strided:
        raise TraceError(f"{what} is sparse ({tensor.layout}); netmorph edits dense tensors, see Tensor.to_dense()")


def record(model: nn.Module, inputs: Inputs, *, training: bool = False) -> Recording:
    """Run `model(*inputs)` once in eval (or training) mode and record its operators.

    The model is left as it was: modes, gradients, buffers, attributes set by its forward, and all random states.

    Raises:
        TraceError: the forward raised; the message tells where.
    """
    try:
        return _record(model, inputs, training, provenance=True)
    except TraceError:
        # Some code asks whether a number is exactly an `int`; without provenance it can be recorded all the same.
        return _record(model, inputs, training, provenance=False)


def _record(model: nn.Module, inputs: Inputs, training: bool, provenance: bool) -> Recording:
    recorder = _Recorder(model)
    values = [recorder.enter(tensor) for tensor in tree_leaves(inputs) if isinstance(tensor, Tensor)]
    result = run(model, inputs, training=training, following=recorder.following(provenance))
    outputs = [recorder.value(tensor) for tensor in tensors_in(result)]
    if not outputs:
        raise TraceError(f"the model returned {type(result).__name__} without a tensor; nothing can be traced")
    return Recording(
        recorder.calls,
        values,
        outputs,
        recorder.tensors,
        recorder.module_outputs,
        recorder.constants,
        tuple(recorder.sizes.equal),
        result,
    )


def run(
    model: nn.Module,
    inputs: Inputs,
    *,
    training: bool = False,
    following: contextlib.AbstractContextManager[None] | None = None,
) -> Any:
    """What `model(*inputs)` returns in eval (or training) mode, without a trace of the call on the model.

    Args:
        following: entered around the forward alone.

    Raises:
        TraceError: the forward raised; the message tells where.
    """
    with untouched(model), no_fused_attention(), torch.inference_mode():
        _set_mode(model, training)
        try:
            with following or contextlib.nullcontext():
                return model(**inputs) if isinstance(inputs, dict) else model(*inputs)
        except Exception as error:
            raise TraceError(
                f"the model's forward failed on the example inputs ({_describe(inputs)}) "
                f"{'in training mode ' if training else ''}at {user_line(error)}: "
                f"{type(error).__name__}: {error}. Pass inputs that model(*inputs) accepts"
            ) from error


def _set_mode(model: nn.Module, training: bool) -> None:
    """Only the flags: a `train` of the user's own may do more, such as fold low-rank weights into others in place."""
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            module.train(training)
        else:
            module.training = training


class _Recorder(TorchDispatchMode):
    """Keeps every tensor it meets alive, so that an id stands for one tensor throughout."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self.tensors: dict[str, Value] = {}
        self.module_outputs: dict[str, Value] = {}
        self.constants: dict[Value, Tensor] = {}
        self._values: dict[int, Value] = {}
        self._alive: list[Tensor] = []
        self.sizes = Following(self.value)
        self._modules = dict(model.named_modules())
        self._paths = {id(module): path for path, module in reversed([*self._modules.items()])}
        self._stack: list[str] = [""]
        names = canonical_names(model)
        for tensor in (*model.parameters(), *model.buffers()):
            self.tensors[names[id(tensor)]] = self.enter(tensor, names[id(tensor)])

    def enter(self, tensor: Tensor, name: str | None = None) -> Value:
        value = Value(tuple(tensor.shape), tensor.dtype, name)
        self._values[id(tensor)] = value
        self._alive.append(tensor)
        return value

    def value(self, tensor: Tensor) -> Value:
        known = self._values.get(id(tensor))
        if known is None:
            known = self.enter(tensor)
            self.constants[known] = tensor.clone()  # the forward may go on changing it in place
        return known

    def __torch_dispatch__(self, func: torch._ops.OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        seen_args, seen_kwargs = self.sizes.followed(
            func, tree_map(lambda leaf: self.value(leaf) if isinstance(leaf, Tensor) else leaf, (args, kwargs))
        )
        result = func(*args, **kwargs)
        outputs = tuple(
            # An in-place operator returns its argument: a new value, except where that is a parameter or buffer.
            known if (known := self._values.get(id(leaf))) is not None and known.name is not None else self.enter(leaf)
            for leaf in tree_leaves(result)
            if isinstance(leaf, Tensor)
        )
        self.calls.append(Call(func, seen_args, seen_kwargs, outputs, self._stack[-1], source_line()))
        return result

    @contextlib.contextmanager
    def following(self, provenance: bool) -> Iterator[None]:
        """Record, and follow which module is running, without a hook on any module of the user's.

        Args:
            provenance: follow integers as well. The caller puts the attributes of modules back.
        """

        def enter(module: nn.Module, args: Any) -> None:
            self._stack.append(self._paths.get(id(module), self._stack[-1]))

        def leave(module: nn.Module, args: Any, result: Any) -> None:
            self._stack.pop()
            path = self._paths.get(id(module))
            if path is not None and isinstance(result, Tensor):
                self.module_outputs[path] = self.value(result)

        handles = [
            module_hooks.register_module_forward_pre_hook(enter),
            module_hooks.register_module_forward_hook(leave, always_call=True),
        ]
        try:
            with contextlib.ExitStack() as stack:
                stack.enter_context(self)
                if provenance:
                    self.sizes.hold(self._modules)
                    stack.enter_context(functions_open())
                    stack.enter_context(self.sizes)
                yield
        finally:
            for handle in handles:
                handle.remove()


@contextlib.contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put back whatever a forward may change: attributes, modes, buffers' contents, random states."""
    # Scripted modules keep their attributes in C++ and out of reach; of those only the mode is put back.
    modules = [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]
    scripted = [(module, module.training) for module in model.modules() if isinstance(module, torch.jit.ScriptModule)]
    attributes: list[dict[str, Any]] = [dict(vars(module)) for module in modules]
    containers = [
        (value, copy.copy(value)) for before in attributes for value in before.values() if isinstance(value, CONTAINERS)
    ]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=_cuda_devices(model)):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        for module, before in zip(modules, attributes, strict=True):
            vars(module).clear()
            vars(module).update(before)
        for container, entries in containers:
            container.clear()
            container.extend(entries) if isinstance(container, list | deque) else container.update(entries)
        for scripted_module, mode in scripted:
            scripted_module.train(mode)
        with torch.no_grad():
            for buffer, content in buffers:
                if not torch.equal(buffer, content):
                    buffer.copy_(content)


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Hold the garbage collector back: it would walk all objects of the program again for every few thousand calls."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def no_fused_attention() -> Iterator[None]:
    """Keep nn.MultiheadAttention from collapsing into one opaque inference kernel."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _cuda_devices(model: nn.Module) -> list[int]:
    return sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})


def user_line(error: BaseException) -> str:
    """Where in the user's own code an exception came from: file, line and the line's text."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith(NOT_USER)]
    frame = (own or frames)[-1]
    return f"{frame.filename}:{frame.lineno} ({(frame.line or '').strip()})"


def _describe(inputs: Inputs) -> str:
    leaves = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
    return ", ".join(f"{tuple(leaf.shape)} {leaf.dtype}" for leaf in leaves) or "no tensors"
