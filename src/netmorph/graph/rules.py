"""How operators couple channels: the registry of op rules and what a rule may say.

A rule is a function of the operator's own arguments, tensors replaced by `Value`s whose `axes` are known. It returns
the axes of the output (a list of lists where there are several) and states on the way how the axes couple and which
changes of width pass. `ops/` is the table; users add entries with the same decorator:

    from netmorph.graph.ops.elementwise import pointwise

    @netmorph.rule(torch.ops.mylib.swish.default)
    def swish(couple: Coupling, x: Value) -> list[Axis]:
        return pointwise(couple, x)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from netmorph.errors import NetmorphError
from netmorph.graph.axis import Allow, Axis, Fixed, atoms, freeze, limit, size
from netmorph.graph.bounds import Order
from netmorph.graph.contraction import Contraction
from netmorph.graph.origins import FACTORS
from netmorph.graph.provenance import Size, plain
from netmorph.graph.recording import Call
from netmorph.graph.roots import Root, RootFactor
from netmorph.graph.sizes import Sizes
from netmorph.graph.sources import Lost, Written
from netmorph.graph.unify import unify
from netmorph.graph.uses import Attribute, Fill, Role, Use
from netmorph.graph.value import Value

Rule = Callable[..., Any]
RULES: dict[torch._ops.OpOverload, Rule] = {}
REARRANGING: set[torch._ops.OpOverload] = set()


@dataclass(frozen=True)
class Meeting:
    """Two weights are multiplied and summed over a dimension of each: one of them reads what the other holds."""

    left: Value
    dim: int
    right: Value
    place: int
    call: Call


def rule(*ops: torch._ops.OpOverload, rearranges: bool = False) -> Callable[[Rule], Rule]:
    """Register a function as the rule of one or several ATen operators.

    Args:
        rearranges: the result holds the elements of its first tensor as they are, so that what is said of a
            rearranged parameter is said of the parameter.
    """

    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(ops, function))
        if rearranges:
            REARRANGING.update(ops)
        return function

    return register


@dataclass
class Coupling:
    """What a rule states while it looks at one call; collects over all calls of a recording."""

    uses: dict[tuple[str, int], list[Use]] = field(default_factory=dict)
    attributes: dict[Attribute, None] = field(default_factory=dict)  # an ordered set
    orders: dict[Order, None] = field(default_factory=dict)
    sizes: Sizes = field(default_factory=Sizes)
    call: Call = field(init=False)
    read: Counter[Value] = field(default_factory=Counter)
    made: dict[Value, Call] = field(default_factory=dict)
    meetings: list[Meeting] = field(default_factory=list)

    @property
    def where(self) -> str:
        """The operator, module and source line of the current call, for messages."""
        return f"{op_name(self.call.op)} in {self.call.module or 'the model'} ({self.call.location})"

    @property
    def is_gradient(self) -> bool:
        """Whether the call is part of a gradient of known tensors.

        If an edit keeps a function, it keeps its gradient: what such calls multiply and sum limits nothing by itself.
        What does is stated where the gradient begins and where it is used, see `couple.py`.
        """
        return self.call.differentiates is not None

    def unify(self, left: Axis, right: Axis) -> None:
        """These axes always have the same channels in the same order."""
        if size(left) != size(right):
            raise NetmorphError(
                f"the rule of {self.where} equates axes of {size(left)} and {size(right)} channels; the rule is wrong"
            )
        unify(left, right, self.where)

    def follows(self, given: int | None, axis: Axis) -> None:
        """The integer given to the operator has to be the length of `axis`, also after an edit.

        What PyTorch works out by itself, and -1, which asks it to, need nothing.
        """
        if isinstance(given, Size) and plain(given) >= 0:
            self.sizes.equate(given.source, axis, self.where)

    def axis_of(self, given: int) -> Axis:
        """An axis as long as an integer given to the operator, of the channels that the integer counts."""
        if isinstance(given, Size):
            return self.sizes.axis(given.source, self.where)
        return (Fixed(given, f"a size that the forward works out: {self.where}"),)

    def is_read(self, value: Value) -> bool:
        """Whether any operator of the recording, or who called the model, gets this tensor."""
        return value in self.read

    def product_of(self, value: Value) -> Call | None:
        """Where a tensor is the product of two, and is read once, the call that made it."""
        call = self.made.get(value)
        return call if call is not None and call.op in FACTORS and self.read[value] == 1 else None

    def number(self, given: Any) -> None:
        """The operator computes with the value of a number that it was given: where that is a width, it stays."""
        if isinstance(given, Root):
            self.freeze(self.sizes.axis(given.source, self.where), "the operator computes with a root of this width")
        if isinstance(given, Size) and not isinstance(given.source, Written | Lost):
            counted = -given if given.is_backward else given  # `torch.linspace(-r, r, n)`
            self.freeze(self.axis_of(counted), f"the operator computes with this width, {plain(counted)}, as a number")

    def root(self, value: Value, axis: Axis, power: float) -> None:
        """The operator multiplies `value` by a power of a width, which the weights that make it may take up."""
        if any(atoms(axis)):
            self.call.roots.append(RootFactor(value, axis, power))

    def use(
        self,
        value: Value | None,
        dim: int,
        role: Role,
        fill: Fill | float = Fill.RANDOM,
        factors: Axis | None = None,
    ) -> None:
        """A parameter, or a rearrangement of one, writes, carries or reads the channels of its dimension `dim`.

        Args:
            factors: only these factors of the dimension, where others are used in another way.
        """
        origin = value.origins[dim] if value is not None and value.origins else None
        if origin is None or self.is_gradient:
            return
        scaled = origin.places if origin.scaled is None else origin.scaled
        first, other = (scaled, origin.places) if role is Role.READ else (origin.places, scaled)
        for place in first:
            self._used(place, Use(role, fill, factors))
        for place in other:
            if place not in first:  # a direction whose length takes the share, or a length beside a new direction
                self._used(place, Use(Role.CARRY, Fill.RANDOM if role is Role.READ else Fill.MEAN, factors))

    def _used(self, place: tuple[str, int], use: Use) -> None:
        uses = self.uses.setdefault(place, [])
        if use not in uses:
            uses.append(use)

    def reads(self, weight: Value, dim: int, factors: Axis | None = None) -> None:
        """A weight is multiplied and summed over the channels of its dimension: copies share what it reads.

        Where it is computed, each share goes to the parameters that multiply it; where none do, no change is exact.
        """
        origin = weight.origins[dim] if weight.origins else None
        if origin is None or origin.scaled is None:
            reason = "the weight that reads these channels is no parameter but computed"
            self.limit(weight.axes[dim] if factors is None else factors, Allow.INEXACT, reason)
        self.use(weight, dim, Role.READ, factors=factors)

    def meet_weights(self, left: Value, dim: int, right: Value, place: int) -> None:
        """Two weights are multiplied and summed over a dimension of each; who of them reads, other calls tell."""
        self.meetings.append(Meeting(left, dim, right, place, self.call))

    def settle(self) -> None:
        """Say of each two weights that meet which of them reads: the one whose channels nobody is said to write.

        Where neither is used otherwise, the second one writes for the first (`B` reads what `A` writes in `B A`).
        """
        for met in self.meetings:
            self.call = met.call
            ends = [(met.left, met.dim), (met.right, met.place)]
            roles = [self._roles(*end) for end in ends]
            if not any(roles):
                self.use(*ends[1], Role.WRITE)
            is_right = bool(roles[0] - {Role.READ}) or roles[1] == {Role.READ}
            reader, other = reversed(ends) if is_right else ends
            if self._roles(*reader) <= {Role.READ} and Role.READ not in self._roles(*other):
                self.reads(*reader)
                self.use(*other, Role.CARRY, Fill.MEAN)
            else:
                reason = "two weights that are used otherwise are multiplied and summed over these channels"
                self.limit(met.left.axes[met.dim], Allow.INEXACT, reason)
        self.meetings.clear()

    def _roles(self, value: Value, dim: int) -> set[Role]:
        origin = value.origins[dim] if value.origins else None
        places = origin.places if origin is not None else ()
        return {use.role for place in places for use in self.uses.get(place, ())}

    def contract(self, contraction: Contraction) -> None:
        """The operator multiplies and sums this."""
        if self.is_gradient:  # it costs, but it is no layer
            contraction = replace(contraction, input=None, bias=None, read=(), write=())
        self.call.contractions.append(contraction)

    def scale(self, *values: Value | None) -> None:
        """The result is zero where all of these are: the weight and the bias of a layer or norm."""
        self.call.scales.extend(value for value in values if value is not None)

    def freeze(self, axis: Axis, reason: str) -> None:
        """The width of this axis cannot change."""
        freeze(axis, f"{reason}: {self.where}")

    def not_channels(self, axis: Axis, reason: str) -> None:
        """This axis of a parameter holds no channels at all (a kernel's height, say)."""
        for atom in atoms(axis):
            atom.becomes = (Fixed(atom.size, reason),)

    def limit(self, axis: Axis, allow: Allow, reason: str) -> None:
        """Only some changes of width pass."""
        if not self.is_gradient or allow is Allow.FROZEN:
            limit(axis, allow, f"{reason}: {self.where}")

    def shorter(self, axis: Axis, than: Axis, reason: str) -> None:
        """This axis always has to be shorter than another one."""
        self.orders[Order(axis, than, f"{reason}: {self.where}")] = None

    def attribute(self, name: str, *axes: Axis) -> None:
        """The calling module may hold the length of these axes in its attribute `name`.

        So may the modules whose parameters the call uses: attention reads the weights of layers that it never calls.
        """
        owners = [value.name.rpartition(".")[0] for value in self.call.values if value.name]
        for module in dict.fromkeys((self.call.module, *owners)):
            self.attributes[Attribute(module, name, axes)] = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the call's first output."""
        return self.call.outputs[0].shape

    def fixed(self, dim: int, reason: str = "a size that comes from the input") -> Axis:
        """A fixed axis as long as dimension `dim` of the output."""
        return (Fixed(self.shape[dim], f"{reason}: {self.where}"),)

    def broadcast(self, *values: Value) -> list[Axis]:
        """The axes of an element-wise result; what meets is unified."""
        return self.broadcast_axes([value.axes for value in values])

    def broadcast_axes(self, tensors: Sequence[Sequence[Axis]]) -> list[Axis]:
        """The same for tensors that are known by their axes."""
        rank = max(map(len, tensors), default=0)
        return [self.meet([axes[dim] for axes in tensors if len(axes) >= -dim]) for dim in range(-rank, 0)]

    def meet(self, meeting: Sequence[Axis]) -> Axis:
        """The axis that dimensions share by broadcasting: the long ones are unified, a single one has to stay so."""
        lengths = {size(axis) for axis in meeting}
        length = max(lengths) if min(lengths) else 0  # nothing beside one is nothing
        wide = _richest([axis for axis in meeting if size(axis) == length])
        for axis in meeting:
            if size(axis) == length:
                unify(wide, axis, self.where)
            else:
                self.freeze(axis, "a single channel is broadcast")
        return wide


def _richest(axes: Sequence[Axis]) -> Axis:
    """An axis that has atoms, if any has: beside a channel axis of one channel, a fixed 1 is only padding."""
    return next((axis for axis in axes if any(not isinstance(f, Fixed) for f in axis)), axes[0])


def op_name(op: torch._ops.OpOverload) -> str:
    """`aten.conv2d` for the op's message."""
    return str(op).removesuffix(".default")
