"""Run a model as it is, and leave it as it was: modes, buffers, attributes and random states."""

from __future__ import annotations

import contextlib
import copy
import gc
import random
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from netmorph.errors import NetmorphError
from netmorph.graph.provenance import is_of_the_user
from netmorph.graph.state import Kept, Snapshot, blank

Inputs = tuple[Any, ...] | dict[str, Any]  # positional, or by keyword


class TraceError(NetmorphError):
    """A model could not be traced."""


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


def run(
    model: nn.Module,
    inputs: Inputs,
    *,
    training: bool = False,
    following: contextlib.AbstractContextManager[None] | None = None,
    kept: Sequence[Kept] = (),
) -> Any:
    """What `model(*inputs)` returns in eval (or training) mode, without a trace of the call on the model or the inputs.

    Args:
        following: entered around the forward alone.
        kept: what the forward keeps between calls; it runs as at its first one.

    Raises:
        TraceError: the forward raised; the message tells where.
    """
    # Not in inference mode: what a forward keeps for later calls must serve in training, too.
    with untouched(model), torch.no_grad():
        blank(dict(model.named_modules()), kept)
        return forward(model, copied(inputs), training, following)


def forward(
    model: nn.Module, inputs: Inputs, training: bool, following: contextlib.AbstractContextManager[None] | None
) -> Any:
    """The same as `run`, on the inputs themselves; what the call changes stays changed."""
    with no_fused_attention():
        _set_mode(model, training)
        try:
            with following or contextlib.nullcontext():
                return model(**inputs) if isinstance(inputs, dict) else model(*inputs)
        except Exception as error:
            raise TraceError(
                f"the model's forward failed on the example inputs ({_describe(inputs)}) "
                f"{'in training mode ' if training else ''}at {_user_line(error)}: "
                f"{type(error).__name__}: {error}. Pass inputs that model(*inputs) accepts"
            ) from error


def copied(inputs: Inputs) -> Any:
    """Inputs for a forward that may change them in place: copies, of a tensor that occurs twice the same one."""
    memo: dict[int, Any] = {}

    def of(leaf: Any) -> Any:
        if id(leaf) not in memo:
            memo[id(leaf)] = _copied(leaf)
        return memo[id(leaf)]

    return tree_map(of, inputs)


def _copied(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.detach().clone().requires_grad_(leaf.requires_grad)
    if isinstance(leaf, nn.Module) or not any(isinstance(entry, Tensor) for entry in tree_leaves(_attributes(leaf))):
        return leaf
    twin = copy.copy(leaf)  # an object of a user's class that holds tensors
    vars(twin).update(copied(dict(vars(leaf))))
    return twin


def _attributes(leaf: Any) -> dict[str, Any]:
    try:
        return dict(vars(leaf))
    except TypeError:  # a number, a string: nothing is inside
        return {}


def _set_mode(model: nn.Module, training: bool) -> None:
    """Only the flags: a `train` of the user's own may do more, such as fold low-rank weights into others in place."""
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            module.train(training)
        else:
            module.training = training


@contextlib.contextmanager
def untouched(model: nn.Module) -> Iterator[Snapshot]:
    """Put back whatever a forward may change: attributes, modes, tensors' contents, random states.

    Yields:
        What the model held, and in the end what was changed.
    """
    scripted = [(module, module.training) for module in model.modules() if isinstance(module, torch.jit.ScriptModule)]
    before = Snapshot.of(model)
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=_cuda_devices(model)):
            yield before
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        before.put_back()
        for scripted_module, mode in scripted:
            scripted_module.train(mode)


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


def _user_line(error: BaseException) -> str:
    """Where in the user's own code an exception came from: file, line and the line's text."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if is_of_the_user(f.filename)]
    frame = (own or frames)[-1]
    return f"{frame.filename}:{frame.lineno} ({(frame.line or '').strip()})"


def _describe(inputs: Inputs) -> str:
    leaves = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
    return ", ".join(f"{tuple(leaf.shape)} {leaf.dtype}" for leaf in leaves) or "no tensors"
