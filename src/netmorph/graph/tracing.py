"""A model and example inputs -> its graph: run once, coupled, its channel groups collected."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_leaves, tree_map

from netmorph.errors import NetmorphError, suggest
from netmorph.graph import ops as _ops  # noqa: F401  (fills the table of rules)
from netmorph.graph.attributes import attributes_of, counted
from netmorph.graph.axis import Allow, Atom, Axis
from netmorph.graph.bounds import Bound, Order, bounds, keep_pairs
from netmorph.graph.couple import couple
from netmorph.graph.decided import decided
from netmorph.graph.elsewhere import elsewhere, freeze_beside, reached
from netmorph.graph.group import Group, groups_of, module_of
from netmorph.graph.journal import Edits, Journal
from netmorph.graph.record import record
from netmorph.graph.recording import Recording
from netmorph.graph.root_scale import freeze_where_not_seen, freeze_where_nothing_folds
from netmorph.graph.rules import Coupling
from netmorph.graph.running import (
    Inputs,
    TraceError,
    check_default_device,
    check_ready,
    collector_paused,
    one_at_a_time,
)
from netmorph.graph.slots import Kept
from netmorph.graph.unwrap import unwrap
from netmorph.graph.uses import Role
from netmorph.graph.value import Value
from netmorph.graph.views import of_graph
from netmorph.lazy import check_sized
from netmorph.showing import Shows, View


class UnknownGroup(NetmorphError):
    """No channel group has the given name."""


_ONE_GRAPH = (
    "a graph belongs to its model and is neither copied nor pickled; copy or save the model "
    "(copy.deepcopy(graph.model), netmorph.save(path, graph.model, graph.journal)) and trace that: "
    "trace(model, inputs, graph.journal)"
)


@dataclass(frozen=True, repr=False)
class Graph(Shows):
    """A traced model: a snapshot of its structure. `apply` returns the next one.

    Attributes:
        model: the traced module itself, not a copy.
        inputs: the example inputs.
        groups: all channel groups by name, in the order in which the forward meets them.
        channels: for each module that returns one tensor, the axes of its (last) output.
        shapes: of all parameters and buffers when the model was traced.
        modules: the modules by path when the model was traced.
        recording: the forward in eval mode, call by call; its values carry their axes.
        journal: the records of the edits made since the base network, see `netmorph.graph.journal`.
        auxiliary: whether training mode was looked at as well, see `trace`.
        wrapper: the data-parallel wrapper in which the model was given, if any.
        copies: networks of the same structure that get the same edits, see `trace`.
        bounds: what comparisons, and operators, ask of widths: an edit has to keep it.
        unreached: parameters that no forward used, in neither mode, nor on other inputs where data decides.
    """

    model: nn.Module
    inputs: Inputs
    groups: dict[str, Group]
    channels: dict[str, list[Axis]]
    shapes: dict[str, tuple[int, ...]]
    modules: dict[str, nn.Module]
    recording: Recording
    journal: Journal = ()
    auxiliary: bool = True
    wrapper: DistributedDataParallel | None = None
    copies: tuple[nn.Module, ...] = ()
    bounds: tuple[Bound | Order, ...] = ()
    unreached: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "journal", Edits(self.journal))

    def view(self) -> View:
        """The groups in the order in which the forward meets them, as `netmorph groups` tells them."""
        return of_graph(self)

    def group(self, name: str) -> Group:
        """The group of this name, or the one whose channels the module of this name writes.

        Raises:
            UnknownGroup: there is none, or there are several; the message names the closest.
        """
        if name in self.groups:
            return self.groups[name]
        writes = [group for group in self.groups.values() if name in map(module_of, group.where(Role.WRITE))]
        if len(writes) == 1:
            return writes[0]
        known = [group.name for group in writes] or self.groups
        raise UnknownGroup(
            f"no channel group {name!r}{suggest(name, known)}; groups are named after the first module that writes "
            f"them: {', '.join(known) or 'none'}"
        )

    def __copy__(self) -> Graph:
        """Refused: two graphs of one model would not know of each other's edits."""
        raise TraceError(_ONE_GRAPH)

    def __deepcopy__(self, memo: dict[int, Any]) -> Graph:
        """Refused, see `__copy__`."""
        raise TraceError(_ONE_GRAPH)

    def __reduce_ex__(self, protocol: Any) -> str:
        """Refused, see `__copy__`."""
        raise TraceError(_ONE_GRAPH)

    @property
    def made_by_forward(self) -> set[str]:
        """The names of buffers that the forward makes itself, and that no edit changes."""
        slots = [entry.slot for entry in self.recording.kept if entry.slot.steps[0] == "_buffers"]
        return {f"{slot.module}.{slot.steps[-1]}".lstrip(".") for slot in slots}

    def editable(self, allow: Allow = Allow.INEXACT) -> list[Group]:
        """The groups that allow at least this much."""
        return [group for group in self.groups.values() if group.allow >= allow]


def trace(
    model: nn.Module,
    example_inputs: Any,
    journal: Journal = (),
    *,
    copies: Sequence[nn.Module] = (),
    auxiliary: bool = True,
    strict: bool = False,
) -> Graph:
    """Find the channel groups of a model by running it once on example inputs.

    The forward runs in eval mode. Where some parameters are not reached (auxiliary heads, for instance), it runs in
    training mode as well, so that they are coupled too. The model is left as it was.

    Args:
        model: any `nn.Module`; of a compiled or a data-parallel one, the module behind it is traced.
        example_inputs: what `model` takes: one tensor, a tuple of positional or a dict of keyword arguments. Where
            nothing in them varies (zeros, ones), random ones take their place, on which edits can be checked.
        journal: the edits that made this model from its base, where there were some.
        copies: copies of the model with weights of their own (a moving average, `AveragedModel`). Every edit of the
            graph is made on them, too, in place; where it is exact, it is checked on each.
        auxiliary: look at training mode where it uses more parameters. Turn it off for a model whose training forward
            takes other inputs: heads that only training uses then do not follow edits.
        strict: raise where an operator has no rule. Otherwise the channels that meet it are frozen, and the rest of the
            network stays editable.

    Raises:
        TraceError: the forward failed, or it returned no tensor; or a tensor has no values (lazy, meta) or is sparse;
            or `copies` are no modules, each of them once.
        UnknownOp: where `strict`, an operator has no rule.
    """
    if not isinstance(model, nn.Module):
        raise TraceError(f"trace needs an nn.Module, not {type(model).__name__}; did you pass a class or a state_dict?")
    if isinstance(copies, nn.Module) or not all(isinstance(copy, nn.Module) for copy in copies):
        raise TraceError("copies= takes a list of modules that are copies of the model")
    if len({id(copy) for copy in copies}) < len(copies):
        raise TraceError("copies= takes each of the model's copies once")
    for copy in copies:
        check_sized(copy, TraceError)
    check_default_device(TraceError)
    return traced(model, example_inputs, journal, copies, auxiliary, strict)


@one_at_a_time()
@collector_paused()
def traced(
    model: nn.Module,
    example_inputs: Any,
    journal: Journal = (),
    copies: Sequence[nn.Module] = (),
    auxiliary: bool = True,
    strict: bool = False,
    kept: Sequence[Kept] = (),
    unreached: Set[str] = frozenset(),
) -> Graph:
    """`trace` of a model of which something is known: that of a graph before.

    Args:
        kept: what its forward keeps between calls, see `kept.py`.
        unreached: parameters that were looked for on other inputs in vain.
    """
    model, wrapper = unwrap(model)
    given = example_inputs if isinstance(example_inputs, tuple | dict) else (example_inputs,)
    check_ready(model, given)
    inputs = _varied(given)
    coupling = Coupling()
    modules = dict(model.named_modules())
    run = record(model, inputs, kept=kept)
    tensors = _start(run)
    couple(run, coupling, strict=strict)
    compared = run.compared
    freeze_where_nothing_folds(run)
    parameters = {name for name, _ in model.named_parameters()}
    seen = reached(run)
    if auxiliary and parameters - seen:
        try:
            training = record(model, _two_samples(inputs), training=True, kept=run.kept)
        except TraceError as error:
            raise TraceError(
                f"{error}. Training mode was tried because eval mode leaves parameters unused "
                "(an auxiliary head?); if they do not matter, trace with auxiliary=False"
            ) from error
        _start(training, tensors)
        couple(training, coupling, strict=strict, training=True)
        compared += training.compared
        freeze_where_not_seen(training, run)
        seen |= reached(training)
        for other in elsewhere(model, inputs, run, parameters - seen - unreached):
            _start(other, tensors)
            couple(other, coupling, strict=strict)
            compared += other.compared
            freeze_where_not_seen(other, run)
            seen |= reached(other)
        if decided(run, run.calls).start is not None:
            freeze_beside(tensors, parameters - seen)
    attributes = attributes_of(modules, coupling, tensors)
    switches = bounds(compared, counted(attributes))
    keep_pairs(switches)
    asked: tuple[Bound | Order, ...] = (*switches, *coupling.orders)
    return Graph(
        model,
        inputs,
        groups_of(tensors, coupling, attributes, asked),
        {path: value.axes for path, value in run.module_outputs.items() if value.axes},
        {name: value.shape for name, value in run.tensors.items()},
        modules,
        run,
        journal,
        auxiliary,
        wrapper,
        tuple(copies),
        asked,
        frozenset(parameters - seen),
    )


def _varied(inputs: Inputs) -> Any:
    """The inputs, or random ones of their shapes where nothing in them varies."""
    tensors = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
    floating = [leaf for leaf in tensors if leaf.is_floating_point() or leaf.is_complex()]
    if any(leaf.numel() > 1 and bool((leaf != leaf.flatten()[0]).any()) for leaf in floating):
        return inputs
    many = {id(leaf) for leaf in floating if leaf.numel() > 1}
    if not many:
        return inputs
    generator = torch.Generator().manual_seed(0)
    return tree_map(lambda leaf: _random_like(leaf, generator) if id(leaf) in many else leaf, inputs)


def _random_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    drawn = torch.complex64 if tensor.is_complex() else torch.float32
    return torch.randn(tensor.shape, generator=generator, dtype=drawn).to(tensor)


def _start(run: Recording, known: dict[str, Value] | None = None) -> dict[str, Value]:
    """Give every dimension of every parameter and buffer an atom; a second recording shares those of the first."""
    for name, value in run.tensors.items():
        value.axes = known[name].axes if known else [(Atom(length),) for length in value.shape]
    return run.tensors


def _two_samples(inputs: Inputs) -> Any:
    """The inputs with the batch doubled: batch norm refuses to train on a single value per channel."""
    return tree_map(lambda leaf: torch.cat([leaf, leaf]) if isinstance(leaf, Tensor) and leaf.dim() else leaf, inputs)
