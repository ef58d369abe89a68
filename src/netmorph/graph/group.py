"""A model and example inputs -> its channel groups: the axes that must change width together."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_leaves, tree_map

from netmorph.errors import NetmorphError, suggest
from netmorph.graph import ops as _ops  # noqa: F401  (fills the table of rules)
from netmorph.graph.attributes import attributes_of, counted
from netmorph.graph.axis import Allow, Atom, Axis, Change, Limit, along, atoms, resolve
from netmorph.graph.bounds import Bound, Order, bounds, keep_pairs, least, most
from netmorph.graph.decided import decided
from netmorph.graph.elsewhere import elsewhere, freeze_beside, reached
from netmorph.graph.journal import Edits, Journal
from netmorph.graph.record import record
from netmorph.graph.recording import Recording
from netmorph.graph.root_scale import freeze_where_not_seen, freeze_where_nothing_folds
from netmorph.graph.couple import couple
from netmorph.graph.rules import Coupling
from netmorph.graph.uses import Attribute, Fill, Role, Use
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
from netmorph.graph.value import Value
from netmorph.graph.views import of_graph, of_group
from netmorph.lazy import check_sized
from netmorph.showing import Shows, View

ROLES = list(Role)  # writers first: they name a group


class UnknownGroup(NetmorphError):
    """No channel group has the given name."""


@dataclass(frozen=True)
class Site:
    """One dimension of one parameter or buffer that runs over a group's channels.

    Attributes:
        uses: what it is to the channels: one use, unless the weight is tied to another or used in several ways.
        all_uses: those of all channels that the dimension runs over.
    """

    tensor: str
    dim: int
    axis: Axis
    uses: tuple[Use, ...]
    all_uses: tuple[Use, ...]

    @property
    def use(self) -> Use:
        """The first use."""
        return self.uses[0]

    def use_of(self, atom: Atom) -> Use:
        """The first use of any of the channels that the dimension runs over."""
        return next(use for use in self.all_uses if use.is_of(atom))

    def change(self, tensor: Tensor, changes: Mapping[Atom, Change]) -> Tensor:
        """`tensor` with `changes[atom](part, dim)` applied wherever this dimension runs over an atom's channels."""
        return along(tensor, self.dim, self.axis, changes)


@dataclass(frozen=True, repr=False)
class Group(Shows):
    """Channels that change width together, under the name of the module that first writes them.

    Where one module writes several groups (heads and their width), the others have the name of the attribute that
    counts them (`blocks.0.attn.num_heads`), or a number (`conv#2`).

    Attributes:
        bounds: comparisons of the forward that ask something of this width.
    """

    name: str
    atom: Atom
    sites: tuple[Site, ...]
    attributes: tuple[Attribute, ...]
    bounds: tuple[Bound | Order, ...] = ()

    @functools.cached_property
    def least(self) -> int:
        """The smallest width for which the forward goes the same way, all other widths as they are."""
        return least(self.atom, self.bounds)

    @functools.cached_property
    def most(self) -> int | None:
        """The largest such width; None where there is no limit."""
        return most(self.atom, self.bounds)

    @property
    def size(self) -> int:
        """The number of channels."""
        return self.atom.size

    @property
    def allow(self) -> Allow:
        """Which changes of width are possible, and which can be exact."""
        return self.atom.allow

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why no more is allowed; empty when anything is."""
        return tuple(dict.fromkeys(limit.reason for limit in self.atom.limits if limit.allow == self.allow))

    def where(self, role: Role) -> tuple[Site, ...]:
        """The sites of one role."""
        return tuple(site for site in self.sites if site.use.role is role)

    def view(self) -> View:
        """Where the channels occur."""
        return of_group(self)

    def __str__(self) -> str:
        """One line: name, width, sites by role, and what limits the group."""
        counts = ", ".join(f"{len(self.where(role))} {role.value}s" for role in Role if self.where(role))
        limits = f"; {self.allow.name.lower()}: {self.reasons[0]}" if self.reasons else ""
        return f"{self.name}: {self.size} channels ({counts}){limits}"


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
        writes = [group for group in self.groups.values() if name in map(_module, group.where(Role.WRITE))]
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
        _groups(tensors, coupling, attributes, asked),
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


def _groups(
    tensors: dict[str, Value], coupling: Coupling, attributes: Sequence[Attribute], asked: Sequence[Bound | Order]
) -> dict[str, Group]:
    sites: dict[Atom, list[Site]] = {}
    used: dict[Atom, None] = {}  # an ordered set: by an operator that knows what the axis is for
    for name, value in tensors.items():
        for dim, axis in enumerate(value.axes):
            known = (*coupling.uses.get((name, dim), ()), Use(Role.CARRY, Fill.MEAN))
            for atom in dict.fromkeys(atoms(axis)):
                uses = tuple(use for use in known[:-1] if use.is_of(atom)) or known[-1:]
                site = Site(name, dim, resolve(axis), uses, known)
                if len({use.role is Role.READ for use in uses}) > 1:
                    atom.limits.append(
                        Limit(Allow.INEXACT, f"{name} both reads and writes these channels (tied weights)")
                    )
                sites.setdefault(atom, []).append(site)
                if (name, dim) in coupling.uses:
                    used[atom] = None
    counting: dict[Atom, list[Attribute]] = {}
    for attribute in attributes:
        for atom in {atom for axis in attribute.axes for atom in atoms(axis)}:
            counting.setdefault(atom, []).append(attribute)
    bounding: dict[Atom, list[Bound | Order]] = {}
    for bound in asked:
        for atom in bound.atoms():
            bounding.setdefault(atom, []).append(bound)
    met = {place: number for number, place in enumerate(coupling.uses)}  # in the order of the forward
    for found in sites.values():
        found.sort(key=lambda site: (ROLES.index(site.use.role), met.get((site.tensor, site.dim), len(met))))
    order = sorted(used, key=lambda atom: met.get((sites[atom][0].tensor, sites[atom][0].dim), len(met)))
    groups: dict[str, Group] = {}
    for atom in order:
        first, held = sites[atom][0], counting.get(atom, [])
        base = f"{_module(first)}.in" if first.use.role is Role.READ else _module(first)
        alone = [entry for entry in held if [*map(resolve, entry.axes)] == [(atom,)]]
        counted = [f"{entry.module}.{entry.name}".lstrip(".") for entry in alone]
        name = _name(groups, base, counted)
        groups[name] = Group(name, atom, tuple(sites[atom]), tuple(held), tuple(bounding.get(atom, ())))
    return groups


def _module(site: Site) -> str:
    """The module that holds a site's tensor; for a parameter of the model itself, the parameter."""
    return site.tensor.rpartition(".")[0] or site.tensor


def _name(taken: dict[str, Group], base: str, counted: Sequence[str]) -> str:
    """The base, for the first group of a module; for others the attribute that counts them (`attn.num_heads`).

    A module writes several groups where its output is a product: heads and their width, groups and what is in each.
    """
    numbered = (f"{base}#{count}" for count in itertools.count(2))
    return next(name for name in itertools.chain((base, *counted), numbered) if name not in taken)
