"""Run a model once and record every operator with its arguments, module and source line.

The recorder sits below autograd, in inference mode, where PyTorch hands it composite operators (`linear`, `conv2d`,
`batch_norm`) whole. It runs on real tensors, so data-dependent branches, `.item()` and NumPy round trips are followed
as they happen: a model that runs can be recorded.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from netmorph.graph.code import stores
from netmorph.graph.following import READS, Following, functions_open
from netmorph.graph.kept import Attempt, as_at_first_call, is_blank
from netmorph.graph.leaks import Globals, clean
from netmorph.graph.lines import source_line
from netmorph.graph.outside import Place, places_of
from netmorph.graph.recording import Call, Recording
from netmorph.graph.running import (
    Inputs,
    Streams,
    TraceError,
    copied,
    cuda_devices,
    forward,
    generators,
    gradients_where_asked,
    untouched,
)
from netmorph.graph.slots import Kept, Slot, blank, plain
from netmorph.graph.value import Value

aten = torch.ops.aten
# What gives back what it got in eval mode, and something else in training mode.
DROPOUTS = {aten.dropout, aten.feature_dropout, aten.alpha_dropout, aten.feature_alpha_dropout}
Watch = contextlib.AbstractContextManager[Any]  # around a forward that is recorded


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


def record(
    model: nn.Module,
    inputs: Inputs,
    *,
    training: bool = False,
    watching: Callable[[Recorder], Watch] | None = None,
    kept: Sequence[Kept] = (),
) -> Recording:
    """Run `model(*inputs)` in eval (or training) mode as at its first call, and record its operators.

    The model is left as it was: modes, gradients, buffers, attributes set by its forward, and all random states. So are
    the caches of the user's process, but that those of `functools.lru_cache` that were used may be empty.

    Args:
        watching: makes something that is entered around the forward, from who records it; perhaps several times. The
            recording that is returned has the list of calls of its recorder.
        kept: what the forward is known to keep between calls, see `kept.py`.

    Raises:
        TraceError: the forward raised; the message tells where.
    """
    importlib.import_module("torch._dynamo")  # PyTorch does so at a recorder's first operator, amid the user's forward
    modules = dict(model.named_modules())
    watching = watching or (lambda _: contextlib.nullcontext())

    def recorded(provenance: bool, gradients: bool, tentative: bool) -> Recording | None:
        once = functools.partial(_record, model, inputs, training, watching, provenance, gradients)
        found = as_at_first_call(modules, once, kept, tentative)
        return None if found is None else replace(found[0], kept=tuple(found[1]))

    ways = [*itertools.product((True, False), (False, True))]
    # Some code asks whether a number is exactly an `int`; without provenance it can be recorded all the same. Some
    # takes gradients, which inference mode has none of.
    found = (recorded(*way, tentative=way is not ways[-1]) for way in ways)
    return next(recording for recording in found if recording is not None)


def _record(
    model: nn.Module,
    inputs: Inputs,
    training: bool,
    watching: Callable[[Recorder], Watch],
    provenance: bool,
    gradients: bool,
    kept: Sequence[Kept],
    apart: frozenset[CodeType],
    away: Mapping[Place, Any],
    tentative: bool,
) -> Attempt[Recording] | None:
    """One recording; None where it was tentative, and the forward failed."""
    inputs = copied(inputs)
    with contextlib.ExitStack() as stack:
        for place, value in away.items():
            stack.enter_context(place.set(value))
        if kept:
            stack.enter_context(untouched(model))
            blank(dict(model.named_modules()), kept)
        before, streams = Globals(model), Streams.on(cuda_devices(model))
        recorder = Recorder(model, apart)
        facts = recorder.sizes.facts
        values = [recorder.enter(tensor) for tensor in tree_leaves(inputs) if isinstance(tensor, Tensor)]
        returned: list[Any] = []
        try:
            with untouched(model) as state:
                returned.append(state.changes)
                following = recorder.following(provenance, watching(recorder))
                mode = gradients_where_asked() if gradients else torch.inference_mode()
                returned.append(forward(model, inputs, training, following, mode))
                mixed = frozenset(facts.mixed)
            outputs = [recorder.value(tensor) for tensor in tensors_in(returned[-1])]
            refilled = [place for place in away if not is_blank(place.value())]
            found = state.holding(recorder.met)
        except TraceError:
            if not tentative:
                raise
        finally:
            clean(facts.handed or [], recorder.made(), returned, before)
            facts.forget()
        if len(returned) < 2:
            return None
        outside = places_of(recorder.met, state.ids(), before.spaces)
    result = returned[-1]
    if not outputs and tentative:
        return None
    if not outputs:
        raise TraceError(f"the model returned {type(result).__name__} without a tensor; nothing can be traced")
    recording = Recording(
        recorder.calls,
        values,
        outputs,
        recorder.tensors,
        recorder.module_outputs,
        recorder.constants,
        tuple(facts.equal),
        tuple(facts.compared),
        tree_map(plain, result),
        streams,
        frozenset(recorder.sizes.of_sizes),
        tuple(recorder.sizes.read),
        first_outputs=recorder.first_outputs,
    )
    found += _renewed_buffers(model, recorder)
    return Attempt(recording, tensors_in(result), state.changes, found, outside, refilled, mixed)


def _renewed_buffers(model: nn.Module, recorder: Recorder) -> list[Slot]:
    """The buffers outside of the state that the forward reads, where code of their module sets them."""
    read = {value.name for call in recorder.calls for value in call.values}
    buffers = [
        Slot(path, ("_buffers", name))
        for path, module in model.named_modules()
        for name in module._non_persistent_buffers_set
        if f"{path}.{name}".lstrip(".") in read
    ]
    stored = set().union(*stores(dict(model.named_modules()))) if buffers else set()
    return [slot for slot in buffers if slot.steps[-1] in stored]


class Recorder(TorchDispatchMode):
    """Records operators. Keeps every tensor it meets alive, so that an id stands for one tensor throughout."""

    def __init__(self, model: nn.Module, apart: frozenset[CodeType] = frozenset()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self.tensors: dict[str, Value] = {}
        self.module_outputs: dict[str, Value] = {}
        self.first_outputs: dict[str, Value] = {}
        self.constants: dict[Value, Tensor] = {}
        self._values: dict[int, Value] = {}
        self._alive: list[Tensor] = []
        self._made: dict[int, Tensor] = {}  # by operators, by id
        self.met: dict[int, Tensor] = {}  # tensors that no operator made, by id
        self.sizes = Following(self.value, apart)
        self._modules = dict(model.named_modules())
        self._paths = {id(module): path for path, module in reversed([*self._modules.items()])}
        self._stack: list[str] = [""]
        self._running: list[tuple[tuple[str, int], ...]] = [()]
        self._numbers = itertools.count()
        names = canonical_names(model)
        for tensor in (*model.parameters(), *model.buffers()):
            self.tensors[names[id(tensor)]] = self.enter(tensor, names[id(tensor)])

    def enter(self, tensor: Tensor, name: str | None = None) -> Value:
        """A new value for a tensor."""
        value = Value.of(tensor, name)
        self._values[id(tensor)] = value
        self._alive.append(tensor)
        return value

    def made(self) -> dict[int, Tensor]:
        """The tensors that exist for this recording alone, by id; from now on it holds none."""
        made, self._made = self._made, {}
        self._alive.clear()
        return made

    def value(self, tensor: Tensor) -> Value:
        """The value of a tensor; one that nothing made yet is a constant."""
        known = self._values.get(id(tensor))
        if known is None:
            known = self.enter(tensor)
            self.constants[known] = tensor.clone()  # the forward may go on changing it in place
            self.met[id(tensor)] = tensor
            self.sizes.met(known, tensor)
        return known

    @property
    def module(self) -> str:
        """The path of the module that is running."""
        return self._stack[-1]

    def __torch_dispatch__(self, func: torch._ops.OpOverload, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called for every operator that the forward runs."""
        kwargs = kwargs or {}
        seen_args, seen_kwargs = self.sizes.followed(
            func, tree_map(lambda leaf: self.value(leaf) if isinstance(leaf, Tensor) else leaf, (args, kwargs))
        )
        watched = generators(kwargs) if torch.Tag.nondeterministic_seeded in func.tags else []
        states = [generator.get_state() for generator in watched]
        result = func(*args, **kwargs)
        draws = any(not torch.equal(state, g.get_state()) for state, g in zip(states, watched, strict=True))
        if func in READS:
            self.sizes.read_number(result, seen_args[0])
        if func.overloadpacket in DROPOUTS and id(result) in self._values:
            result = aten.alias.default(result)  # as it is in training mode: another tensor than what it got
        leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self._made.update((id(leaf), leaf) for leaf in leaves if id(leaf) not in self._values)
        outputs = tuple(
            # An in-place operator returns its argument: a new value, except where that is a parameter or buffer.
            known if (known := self._values.get(id(leaf))) is not None and known.name is not None else self.enter(leaf)
            for leaf in leaves
        )
        if func is aten.lift_fresh.default:
            self.met.pop(id(args[0]), None)  # the forward makes it in this call: `torch.tensor(1.0)`
        self.sizes.made(
            func, [leaf for leaf in tree_leaves((seen_args, seen_kwargs)) if isinstance(leaf, Value)], outputs
        )
        is_backward = torch._C._current_autograd_node() is not None
        self.calls.append(
            Call(
                func,
                seen_args,
                seen_kwargs,
                outputs,
                self._stack[-1],
                source_line(),
                draws=draws,
                differentiates=self.sizes.differentiated if is_backward else None,
                grad=torch.is_grad_enabled() or not is_backward,
                running=self._running[-1],
            )
        )
        return result

    @contextlib.contextmanager
    def following(self, provenance: bool, watch: Watch) -> Iterator[None]:
        """Record, and follow which module is running, without a hook on any module of the user's.

        Args:
            provenance: follow integers as well.
            watch: entered last.
        """

        mine = threading.get_ident()  # modules that other threads run meanwhile are none of ours

        def enter(module: nn.Module, args: Any) -> None:
            if threading.get_ident() != mine:
                return
            path = self._paths.get(id(module))
            self._stack.append(self._stack[-1] if path is None else path)
            number = next(self._numbers)
            self._running.append(self._running[-1] + (((path, number),) if path else ()))

        def leave(module: nn.Module, args: Any, result: Any) -> None:
            if threading.get_ident() != mine:
                return
            self._stack.pop()
            self._running.pop()
            path = self._paths.get(id(module))
            if path is not None and isinstance(result, Tensor):
                self.module_outputs[path] = self.value(result)
            elif path is not None and isinstance(result, tuple | list) and result and isinstance(result[0], Tensor):
                self.first_outputs[path] = self.value(result[0])

        with contextlib.ExitStack() as stack:
            for register, hook, how in (
                (module_hooks.register_module_forward_pre_hook, enter, {}),
                (module_hooks.register_module_forward_hook, leave, {"always_call": True}),
            ):
                stack.callback(register(hook, **how).remove)
            stack.enter_context(self)
            if provenance:
                stack.enter_context(self.sizes.held(self._modules))
                stack.enter_context(functions_open())
                stack.enter_context(self.sizes)
            stack.enter_context(watch)
            yield
