"""What an edit wants to change, before anything is changed: the one contract between edits and `apply`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from netmorph.graph import Graph
from netmorph.graph.axis import Atom
from netmorph.graph.journal import Description, Entry
from netmorph.showing import Shows, View

MomentMap = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Plan:
    """The new parts of a network.

    Attributes:
        exact: the edited network computes the same function in eval mode, up to rounding.
        tensors: parameters and buffers that change shape, by canonical name. What is given as a `Parameter` comes back
            itself; an optimizer carries no state on to it.
        moments: for each changed parameter, how an optimizer's moment of it changes: `(moment, power) -> moment`, where
            power is 1 for moments linear in the gradient, 2 for quadratic ones.
        attributes: `(module, name, value)`: attributes of modules that hold sizes, or epsilons of norms.
        sizes: where the edit changes widths: the atoms that change, with their new sizes. The edited forward must have
            the shapes that follow.
        numbers: what the forward computes with another number for: old ones with the new ones.
        modules: modules that take the place of others, by path.
        inserted: modules that become entries of a container whose children are numbered, by path: what had that number
            and what stands behind moves on by one. Attributes have the paths of afterwards; tensors do not change. Of
            several in one container, the first comes first.
        removed: the paths of entries that such containers lose; of several in one container, the last comes first.
        specs: how to build these modules again, for the journal: by path, `Spec.as_json()`.
        inverse: how the edit is taken back once it was trained, for the journal: plain values, of a `kind` that
            `netmorph.edit.undo.INVERSES` knows. None if it has no inverse.
        undoes: the entry of the edit that is taken back; it leaves the journal.
    """

    exact: bool
    tensors: dict[str, Tensor] = field(default_factory=dict)
    moments: dict[str, MomentMap] = field(default_factory=dict)
    attributes: list[tuple[str, str, int | float | tuple[int, ...]]] = field(default_factory=list)
    sizes: dict[Atom, int] = field(default_factory=dict)
    numbers: dict[float, float] = field(default_factory=dict)
    modules: dict[str, nn.Module] = field(default_factory=dict)
    inserted: dict[str, nn.Module] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    specs: dict[str, dict[str, Any]] = field(default_factory=dict)
    inverse: dict[str, Any] | None = None
    undoes: Entry | None = None

    @property
    def new_modules(self) -> dict[str, nn.Module]:
        """Those that the plan puts in, wherever."""
        return self.modules | self.inserted


class Described(Shows):
    """An edit that shows itself by its description."""

    @abstractmethod
    def describe(self) -> Description:
        """See `Edit`."""

    def view(self) -> View:
        """What it would do."""
        return self.describe().view()


@runtime_checkable
class Edit(Protocol):
    """A value that says how one network becomes another. It holds no tensors of the network, only choices."""

    def plan(self, graph: Graph) -> Plan:
        """The new parts, computed without touching the network.

        Raises:
            EditError: the edit does not fit this network.
        """
        ...

    def describe(self) -> Description:
        """The edit for people and the journal."""
        ...
