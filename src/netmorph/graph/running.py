"""Run a model as it is, and leave it as it was: modes, buffers, attributes and random states."""

from __future__ import annotations

import contextlib
import copy
import gc
import os
import random
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from netmorph.errors import NetmorphError
from netmorph.graph.lines import is_of_the_user
from netmorph.graph.slots import Kept, blank
from netmorph.graph.state import Snapshot, attributes
from netmorph.lazy import check_sized

Inputs = tuple[Any, ...] | dict[str, Any]  # positional, or by keyword


_LOCK = threading.RLock()
os.register_at_fork(after_in_child=lambda: _renew_lock())


def _renew_lock() -> None:
    """In a process that was forked: the thread that held the lock is not there."""
    global _LOCK
    _LOCK = threading.RLock()


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """One thread at a time: modules and what all threads share are changed while a model runs, and put back then.

    Held by whole traces and edits, so that a thread never sees what another one has not finished.
    """
    with _LOCK:
        yield


class TraceError(NetmorphError):
    """A model could not be traced."""


def check_default_device(error: type[NetmorphError]) -> None:
    """Refuse to work where every new tensor is one without values (`with torch.device("meta")`).

    Raises:
        NetmorphError: as the error that is given.
    """
    if torch.get_default_device().type == "meta":
        raise error(
            "the default device is meta, on which tensors have no values; leave the block `with torch.device('meta')` "
            "(or call torch.set_default_device('cpu')) before the network is traced or edited"
        )


def check_ready(model: nn.Module, inputs: Inputs) -> None:
    """Edits need the values of every tensor.

    Raises:
        TraceError: a parameter, buffer or input is lazy, sparse or on the meta device.
    """
    check_sized(model, TraceError)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        _check_values(f"the model's tensor {name!r}", tensor)
    for tensor in tree_leaves(inputs):
        if isinstance(tensor, Tensor):
            _check_values("an example input", tensor)


def _check_values(what: str, tensor: Tensor) -> None:
    """Edits copy and compare tensors."""
    if tensor.is_meta:
        raise TraceError(f"{what} is on the meta device and has no values; trace a model with real weights and inputs")
    if tensor.layout != torch.strided:
        raise TraceError(f"{what} is sparse ({tensor.layout}); netmorph edits dense tensors, see Tensor.to_dense()")
    try:
        first = tensor.detach().reshape(-1)[:1]
        torch.equal(first.clone(), first)
    except NotImplementedError as error:
        raise TraceError(f"{what} is of {tensor.dtype}, which PyTorch cannot copy and compare; convert it") from error


def run(
    model: nn.Module,
    inputs: Inputs,
    *,
    training: bool = False,
    following: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    kept: Sequence[Kept] = (),
) -> Any:
    """What `model(*inputs)` returns in eval (or training) mode, without a trace of the call on the model or the inputs.

    Args:
        following: makes what is entered around the forward alone.
        kept: what the forward keeps between calls; it runs as at its first one.

    Raises:
        TraceError: the forward raised; the message tells where.
    """
    # Not in inference mode: what a forward keeps outside of the model, for later calls, must serve in training, too.
    with untouched(model):
        blank(dict(model.named_modules()), kept)
        return forward(model, copied(inputs), training, following(), no_gradients())


def forward(
    model: nn.Module,
    inputs: Inputs,
    training: bool,
    following: contextlib.AbstractContextManager[None],
    mode: contextlib.AbstractContextManager[None],
) -> Any:
    """What `model(*inputs)` returns, in one way to run it; what the call changes stays changed.

    Args:
        following: entered around the forward alone.
        mode: inference mode or another one.

    Raises:
        TraceError: the forward raised; the message tells where.
    """
    with no_fused_attention(), mode:
        set_mode(model, training)
        try:
            with following:
                return model(**inputs) if isinstance(inputs, dict) else model(*inputs)
        except Exception as error:
            raise TraceError(
                f"the model's forward failed on the example inputs ({_describe(inputs)}) "
                f"{'in training mode ' if training else ''}{_where(model, error)}: "
                f"{type(error).__name__}: {error}. Give inputs that the forward takes, or mend it"
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
    held = attributes(leaf)
    if isinstance(leaf, nn.Module) or not any(isinstance(entry, Tensor) for entry in tree_leaves(held)):
        return leaf
    twin = copy.copy(leaf)  # an object of a user's class that holds tensors
    vars(twin).update(copied(dict(vars(leaf))))
    return twin


class _Whole(TorchFunctionMode):
    """Wherever gradients are off, operators are called below autograd: there composite ones arrive whole."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See `TorchFunctionMode`."""
        if torch.is_grad_enabled():
            return func(*args, **(kwargs or {}))
        with torch._C._AutoDispatchBelowAutograd():
            return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def no_gradients() -> Iterator[None]:
    """None but where the forward turns them on."""
    with torch.inference_mode(False), torch.no_grad():
        yield


@contextlib.contextmanager
def gradients_where_asked() -> Iterator[None]:
    """The same, and whoever follows operators gets composite ones whole where there are none."""
    with no_gradients(), _Whole():
        yield


def set_mode(model: nn.Module, training: bool) -> None:
    """Only the flags: a `train` of the user's own may do more, such as fold low-rank weights into others in place."""
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            module.train(training)
        else:
            module.training = training


@dataclass(frozen=True)
class Streams:
    """Where the random numbers stand that any forward may draw: PyTorch's, NumPy's and Python's own."""

    torch: Tensor
    cuda: dict[int, Tensor]
    numpy: dict[str, Any] | tuple[Any, ...]
    python: tuple[Any, ...]

    @staticmethod
    def on(devices: Iterable[int]) -> Streams:
        """Where they stand now, on the CPU and on CUDA devices."""
        cuda = {device: torch.cuda.get_rng_state(device) for device in devices}
        return Streams(torch.get_rng_state(), cuda, np.random.get_state(), random.getstate())  # noqa: NPY002

    def put_back(self) -> None:
        """Let what comes now draw the same numbers again."""
        torch.set_rng_state(self.torch)
        for device, state in self.cuda.items():
            torch.cuda.set_rng_state(state, device)
        np.random.set_state(self.numpy)  # noqa: NPY002
        random.setstate(self.python)


@contextlib.contextmanager
def drawing_from(streams: Streams) -> Iterator[None]:
    """Draw the numbers again that were drawn then, and go on afterwards as if nothing had been drawn."""
    now = Streams.on(streams.cuda)
    streams.put_back()
    try:
        yield
    finally:
        now.put_back()


@contextlib.contextmanager
def untouched(model: nn.Module) -> Iterator[Snapshot]:
    """Put back whatever a forward may change: attributes, modes, tensors' contents, random states.

    One thread at a time: two that run the same model would put back each other's changes.

    Yields:
        What the model held, and in the end what was changed.

    Raises:
        NetmorphError: it has lazy layers, which become others at their first call.
    """
    check_sized(model)
    with one_at_a_time(), _put_back(model) as before:
        yield before


@contextlib.contextmanager
def _put_back(model: nn.Module) -> Iterator[Snapshot]:
    scripted = [(module, module.training) for module in model.modules() if isinstance(module, torch.jit.ScriptModule)]
    before, streams = Snapshot.of(model), Streams.on(cuda_devices(model))
    try:
        yield before
    finally:
        streams.put_back()
        before.put_back()
        for scripted_module, mode in scripted:
            scripted_module.train(mode)


def generators(arguments: Mapping[str, Any]) -> list[torch.Generator]:
    """The streams of random numbers that an operator with these arguments may draw from."""
    given = arguments.get("generator")
    if given is not None:
        return [given]
    return [torch.default_generator, *(torch.cuda.default_generators if torch.cuda.is_initialized() else ())]


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


class _Followed(TorchFunctionMode):
    """Follows PyTorch's functions, and lets each do what it does."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """See `TorchFunctionMode`."""
        return func(*args, **(kwargs or {}))


def no_fused_attention() -> contextlib.AbstractContextManager[Any]:
    """Keep PyTorch's own layers from collapsing into one opaque inference kernel, as nn.MultiheadAttention does.

    They compute step by step where anyone follows their functions. PyTorch's switch (`torch.backends.mha`) would do so
    in all threads.
    """
    return _Followed()


def cuda_devices(model: nn.Module) -> list[int]:
    """Those that parameters of a model lie on."""
    return sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})


def _where(model: nn.Module, error: BaseException) -> str:
    """Where a forward failed: file, line and text in the user's own code, or else in which of PyTorch's layers."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if is_of_the_user(frame.filename)]
    if own:
        return f"at {own[-1].filename}:{own[-1].lineno} ({(own[-1].line or '').strip()})"
    paths = {id(module): path for path, module in model.named_modules()}
    called = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = [layer for layer in called if id(layer) in paths]
    layer = inside[-1] if inside else model
    path = paths.get(id(layer))
    return f"in {repr(path) if path else 'the model'} ({type(layer).__name__})"


def _describe(inputs: Inputs) -> str:
    leaves = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
    return ", ".join(f"{tuple(leaf.shape)} {leaf.dtype}" for leaf in leaves) or "no tensors"
