"""Proposals: functions of a graph and a generator that draw one edit, or find none.

What can be set in a proposal is bound to it: the fields of a frozen dataclass, as here. All that is random must come
from the generator, so that the same seed makes the same network again.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from netmorph.edit import Edit, copy_block
from netmorph.edit.depth import identity, residual
from netmorph.edit.numbered import numbered
from netmorph.edit.shallow import shallow
from netmorph.edit.width import narrow, widen
from netmorph.errors import EditError, NetmorphError
from netmorph.graph import Allow, Graph
from netmorph.observe.samples import Samples
from netmorph.policy.places import behind_activations
from netmorph.scores import best, magnitude
from netmorph.widenings import Widening, r2r, unequal_split

Proposal = Callable[[Graph, np.random.Generator], Edit | None]


class ProposalError(NetmorphError):
    """A proposal cannot be used, or has not proposed an edit."""


class Weighted(NamedTuple):
    """A proposal, and how often it is asked beside others."""

    proposal: Proposal
    weight: float


@dataclass(frozen=True)
class Widen:
    """A random group, a random exact way that trains well from the first step, a random width.

    Attributes:
        growth: the widest factor by which a group is widened.
    """

    growth: float = 3.0

    def __post_init__(self) -> None:
        if not 1 < self.growth < math.inf:
            raise ProposalError(f"growth must be a factor above 1, got {self.growth}")

    def __call__(self, graph: Graph, generator: np.random.Generator) -> Edit | None:
        """See `Proposal`."""
        groups = [group for group in graph.groups.values() if group.allow >= Allow.UNIFORM]
        if not groups:
            return None
        group = groups[generator.integers(len(groups))]
        factor = generator.uniform(1, self.growth)
        to = max(group.size + 1, round(group.size * factor))
        method: Widening = (r2r, unequal_split)[generator.integers(2)]
        if group.allow == Allow.UNIFORM:  # only whole multiples are exact
            to, method = 2 * group.size, unequal_split
        if group.most is not None and to > group.most:  # the forward would go another way
            return None
        return widen(graph, group.name, to, method, seed=int(generator.integers(2**31)))


@dataclass(frozen=True)
class Deepen:
    """A random layer that passes its input on, behind a random activation.

    A residual block goes behind any activation; of one that is called as a function, behind the layer that feeds it.
    An identity layer goes where the activation changes nothing the second time (ReLU), and brings a second one; next to
    any other it would only be a product with its neighbour. Where the network is made of residual blocks around other
    activations (a transformer's GELU, say), half of the layers are a copy of a random block.
    """

    def __call__(self, graph: Graph, generator: np.random.Generator) -> Edit | None:
        """See `Proposal`."""
        places = behind_activations(graph)
        repeatable = [path for path, again in places.items() if again]
        if not repeatable and (not places or generator.integers(2)):
            copied = _copy(graph, generator)
            if copied is not None or not places:
                return copied
        after = [*places][generator.integers(len(places))]
        if places[after] and generator.integers(2):
            edit = identity(graph, after)
            if len(edit.spec.parts[-1].parts) > 1:  # with the activation: another reads the features, too, if without
                return edit
        return residual(graph, after, seed=int(generator.integers(2**31)))


@dataclass(frozen=True)
class Narrow:
    """A random group loses the channels with the smallest weights; not exact, and the journal tells by how much.

    Attributes:
        least: the smallest share of its width that a group keeps; below 1.
    """

    least: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.least < 1:
            raise ProposalError(f"least must be a share above 0 and below 1, got {self.least}")

    def __call__(self, graph: Graph, generator: np.random.Generator) -> Edit | None:
        """See `Proposal`."""
        groups = [group for group in graph.editable() if group.size > max(1, group.least or 1)]
        if not groups:
            return None
        group = groups[generator.integers(len(groups))]
        kept = min(group.size - 1, round(group.size * generator.uniform(self.least, 1)))
        kept = max(kept, group.least or 1)
        edit = narrow(graph, group.name, best(magnitude(group, Samples(graph)), kept))
        return replace(edit, method=magnitude.__name__)


@dataclass(frozen=True)
class Shallow:
    """A random layer or block that keeps its input's shape goes; not exact, unless it passes its input on."""

    def __call__(self, graph: Graph, generator: np.random.Generator) -> Edit | None:
        """See `Proposal`."""
        entries = [path for path in graph.modules if path and _may_go(graph, path)]
        return shallow(graph, entries[generator.integers(len(entries))]) if entries else None


def _may_go(graph: Graph, path: str) -> bool:
    """Whether an entry of a list learns something, and does not change the number of channels as a layer."""
    module = graph.modules[path]
    if numbered(graph.model, path) is None or all(weight.dim() < 2 for weight in module.parameters()):
        return False
    weight = module._parameters.get("weight")
    return weight is None or weight.shape[0] == weight.shape[1]


def shrinking(weight: float = 1.0, shallow: float = 0.25, least: float = 0.5) -> tuple[Weighted, ...]:
    """Proposals that take channels or layers away, the latter with a probability; none of weight 0.

    Args:
        weight: of both together.
        shallow: the probability that a layer goes.
        least: see `Narrow`.
    """
    if not 0 <= shallow <= 1:
        raise ProposalError(f"shallow must be a probability from 0 to 1, got {shallow}")
    both = Weighted(Narrow(least), weight * (1 - shallow)), Weighted(Shallow(), weight * shallow)
    return both if weight else ()


def ask(proposal: Proposal, graph: Graph, generator: np.random.Generator) -> Edit | None:
    """What a proposal draws. One that finds that its edit does not fit (an `EditError`) has found none.

    Raises:
        ProposalError: it failed, or returned neither an edit nor None.
    """
    name = getattr(proposal, "__qualname__", repr(proposal))  # a function's own repr differs between processes
    try:
        edit: object = proposal(graph, generator)
    except EditError:
        return None
    except Exception as error:  # a user's function can raise anything
        raise ProposalError(f"the proposal {name} failed: {type(error).__name__}: {error}") from error
    if edit is None or isinstance(edit, Edit):
        return edit
    raise ProposalError(f"the proposal {name} returned {type(edit).__name__}; a proposal returns an edit, or None")


def _copy(graph: Graph, generator: np.random.Generator) -> Edit | None:
    """A copy of a random residual block that passes its input on; of blocks in blocks, the innermost."""
    copies: dict[str, Edit] = {}
    for path in filter(None, graph.channels):
        with contextlib.suppress(EditError):
            copies[path] = copy_block(graph, path)
    innermost = [edit for path, edit in copies.items() if not any(other.startswith(f"{path}.") for other in copies)]
    return innermost[generator.integers(len(innermost))] if innermost else None


def exact(deepen: float = 0.25, growth: float = 3.0) -> tuple[Weighted, ...]:
    """Proposals that keep what the network computes: deepen with this probability, otherwise widen."""
    if not 0 <= deepen <= 1:
        raise ProposalError(f"deepen must be a probability from 0 to 1, got {deepen}")
    return Weighted(Deepen(), deepen), Weighted(Widen(growth), 1 - deepen)


# -- proposals as plain values ----------------------------------------------------------------------------------------

# A run folder names these and they are known; any other has to be given by the user again.
OWN: dict[str, Callable[..., Proposal]] = {"widen": Widen, "deepen": Deepen, "narrow": Narrow, "shallow": Shallow}


def as_json(proposal: Proposal) -> dict[str, Any]:
    """How a run folder tells of a proposal: its name, and its settings where it is a dataclass.

    Raises:
        ProposalError: worker processes could not find it by its name.
    """
    kind: Any = proposal
    settings: dict[str, Any] = {}
    if is_dataclass(kind) and not isinstance(kind, type):
        kind, settings = type(kind), {"settings": asdict(kind)}
    for name, own in OWN.items():
        if kind is own:
            return {"name": name, **settings}
    module, path = getattr(kind, "__module__", None), getattr(kind, "__qualname__", "<")
    if not module or "." in path or "<" in path:
        raise ProposalError(
            f"{proposal!r} is no proposal that worker processes can find by its name; give a function, or an object of "
            "a frozen dataclass, that is defined at the top of a module"
        )
    return {"name": f"{module}:{path}", **settings}


def from_json(told: dict[str, Any], given: Iterable[Proposal] = ()) -> Proposal:
    """The proposal that `as_json` told of: netmorph's own, or one of those given. Nothing is imported.

    Raises:
        ProposalError: it is none of these.
    """
    if told["name"] in OWN:
        return OWN[told["name"]](**told["settings"])
    for proposal in given:
        if as_json(proposal) == told:
            return proposal
    raise ProposalError(
        f"this run was begun with the proposal {told['name']} of your own, and a name in a file is never imported. "
        f"Give it again: --proposal {told['name']}, or proposals=[...] in Python"
    )


def found(name: str) -> Proposal:
    """Import the proposal that the user calls `module:function`; the current folder is searched last.

    Raises:
        ProposalError: there is none, or its module cannot be imported.
    """
    module, _, attribute = name.partition(":")
    if not (module and attribute):
        raise ProposalError(f"a proposal of your own is named module:function, got {name!r}")
    if os.getcwd() not in sys.path:  # the installed command does not search it
        sys.path.append(os.getcwd())
    try:
        proposal: Any = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # running a user's module can raise anything
        raise ProposalError(f"the proposal {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(proposal):
        raise ProposalError(f"{name} is {type(proposal).__name__}, not a function of a graph and a generator")
    return proposal  # type: ignore[no-any-return]
