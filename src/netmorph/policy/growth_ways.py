"""How a network grows: functions `(graph, optimizer, seed) -> graph` for a `Growth`.

Depth puts blocks into a list of repeated blocks, in a `Way`: where they stand, and what they start as. Width takes all
groups of channels that can be widened exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from netmorph.draws import Draw, layer_spread
from netmorph.edit import Edit, WidthEdit, copy_block, gradmax, redraw, stack
from netmorph.edit.apply import apply
from netmorph.edit.blocks import Residual
from netmorph.edit.depth import residual
from netmorph.edit.numbered import Place, numbered
from netmorph.edit.trial import listed_behind
from netmorph.edit.width import widen
from netmorph.errors import EditError, suggest
from netmorph.graph import Allow, Graph
from netmorph.graph.axis import Atom, Axis, Sum, atoms, resolve
from netmorph.observe.samples import BatchLoss
from netmorph.policy.growth import Grow, GrowthError, Optimizers
from netmorph.widenings import Widening
from netmorph.wording import listed


@dataclass(frozen=True)
class Way:
    """How new blocks come into a list.

    Attributes:
        order: of the number of blocks and the wanted one: for each of the wanted blocks, in their order, the number of
            the one that it stems from. The first that stems from a block is that block itself.
        block: of the graph, the path of the block that a new one stems from, the path of that behind which it comes to
            stand, and a seed: the edit.
    """

    order: Callable[[int, int], Sequence[int]]
    block: Callable[[Graph, str, str, int], Edit]


def interleaved(blocks: int, wanted: int) -> list[int]:
    """Each new block behind the one that it stems from, evenly: `[0 0 1 1 2 2]` (B. Chang et al., arXiv 1710.10348)."""
    return [place * blocks // wanted for place in range(wanted)]


def stacked(blocks: int, wanted: int) -> list[int]:
    """All new blocks at the end, in the order of the old ones: `[0 1 2 0 1 2]` (L. Gong et al., ICML 2019)."""
    return [place % blocks for place in range(wanted)]


def _zero(graph: Graph, block: str, after: str, seed: int) -> Edit:
    return copy_block(graph, block, after)


def _r2r(graph: Graph, block: str, after: str, seed: int) -> Edit:
    return residual(graph, after, seed=seed)


def _copied(graph: Graph, block: str, after: str, seed: int) -> Edit:
    return stack(graph, block, after)


def drawn(draw: Callable[[nn.Module], None]) -> Way:
    """New blocks at the end whose weights a function sets, see `netmorph.edit.redraw`."""
    return Way(stacked, lambda graph, block, after, seed: redraw(graph, block, after, draw, seed))


# The first two are exact.
ZERO = Way(interleaved, _zero)
R2R = Way(interleaved, _r2r)
COPIED = Way(interleaved, _copied)
STACKED = Way(stacked, _copied)
RANDOM = Way(stacked, lambda graph, block, after, seed: redraw(graph, block, after, seed=seed))
WAYS: dict[str, Way] = {"zero": ZERO, "r2r": R2R, "copied": COPIED, "stacked": STACKED, "random": RANDOM}


def to_depth(depth: int, way: Way = ZERO, of: str | None = None) -> Grow:
    """Put blocks into a list of blocks until there are so many.

    Args:
        depth: the blocks in the end.
        way: of `WAYS`: `ZERO` copies with zero outputs and `R2R` blocks `x + W2 relu(W1 x)` keep what the network
            computes; `COPIED` puts each copy behind its block, `STACKED` all of them at the end, `RANDOM` blocks with
            weights as their layers draw them there; or one of your own.
        of: the path of the list (`nn.ModuleList`, `nn.Sequential`); the only one with repeated blocks if not given.

    Raises:
        GrowthError: the depth is no positive whole number; when it grows: there is no such list, or several, or it has
            as many blocks already.
        EditError: when it grows: a block cannot be copied like this, or the forward does not run one more of them.
    """
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 2:
        raise GrowthError(f"a depth is a whole number of blocks, at least 2, got {depth!r}")

    def grow(graph: Graph, optimizer: Optimizers, seed: int) -> Graph:
        first = _list_of(graph.model, of)
        held = [*graph.model.get_submodule(first.container)._modules.values()]
        if len(held) >= depth:
            raise GrowthError(
                f"{first.container or 'the network'} has {len(held)} blocks already, so it does not grow to {depth}; "
                "give a larger depth, or leave this growth out"
            )
        if listed_behind(graph, first.moved(len(held) - 1).path, is_copy=True) is None:
            raise EditError(
                f"the forward does not run one more block of {first.container!r}: it names its entries by fixed "
                "numbers, say. Loop over the list"
            )
        others = _leading(held)
        place, now = first.moved(others), list(range(len(held) - others))  # what each entry stems from
        order = list(way.order(len(now), depth - others))
        if len(order) != depth - others or list(dict.fromkeys(order)) != now:
            raise GrowthError(
                f"an order of {len(now)} blocks among {depth - others} starts each block with itself, and goes on with "
                f"the next one or with blocks before; this way gave {order}"
            )
        for number, stem in enumerate(order):
            if now[number : number + 1] == [stem] and stem not in now[:number]:
                continue  # the block itself
            source, after = place.moved(now.index(stem)).path, place.moved(number - 1).path
            graph = apply(graph, way.block(graph, source, after, seed + number), optimizer)
            now.insert(number, stem)
        return graph

    return grow


def by_width(
    factor: float,
    method: Widening | None = None,
    groups: Iterable[str] | None = None,
    draw: Draw = layer_spread,
) -> Grow:
    """Widen all groups of channels that some method widens exactly, in one edit.

    Of groups that are multiplied in one tensor (the heads of attention and their width), the first one changes.

    Args:
        factor: above 1; each width is rounded.
        method: of `netmorph.widenings`. A group on which it cannot keep what it promises gets one that is exact there,
            as all do without a method (see `widen`). `random_pad` and `rms_pad` promise nothing, and go everywhere.
        groups: their names, in place of all.
        draw: how large new weights are: one of `netmorph.draws.DRAWS`, or any function of that kind.

    Raises:
        GrowthError: the factor is not above 1; when it grows: no group can be widened exactly.
        EditError: when it grows: the groups cannot be widened together.
    """
    _check_factor(factor)
    names = None if groups is None else list(groups)

    def grow(graph: Graph, optimizer: Optimizers, seed: int) -> Graph:
        edits = [_widened(graph, name, to, method, seed, draw) for name, to in _widths(graph, factor, names).items()]
        methods = dict.fromkeys(edit.method for edit in edits)
        changes = {name: channels for edit in edits for name, channels in edit.changes.items()}
        return apply(graph, WidthEdit(changes, " and ".join(methods), seed, draw=draw), optimizer)

    return grow


def by_gradient(factor: float, data: Iterable[Any], loss: BatchLoss, groups: Iterable[str] | None = None) -> Grow:
    """Widen group after group by the channels whose gradients are largest, see `netmorph.edit.gradmax`.

    Groups that it is not made for (of several producers, say) get a method that is exact on them.

    Args:
        factor: as for `by_width`.
        data: batches, gone through several times: a list.
        loss: `(model, batch) -> scalar`.
        groups: as for `by_width`.
    """
    _check_factor(factor)
    names = None if groups is None else list(groups)

    def grow(graph: Graph, optimizer: Optimizers, seed: int) -> Graph:
        for name, to in _widths(graph, factor, names).items():
            try:
                edit = gradmax(graph, name, to, data, loss)
            except EditError:
                edit = widen(graph, name, to, seed=seed)
            graph = apply(graph, edit, optimizer)
        return graph

    return grow


def together(*grows: Grow) -> Grow:
    """Several ways to grow, one after the other, at one moment."""

    def grow(graph: Graph, optimizer: Optimizers, seed: int) -> Graph:
        for each in grows:
            graph = each(graph, optimizer, seed)
        return graph

    return grow


def _check_factor(factor: float) -> None:
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1 < factor < math.inf:
        raise GrowthError(f"a network is widened by a factor above 1, got {factor!r}")


def _widened(graph: Graph, name: str, to: int, method: Widening | None, seed: int, draw: Draw) -> WidthEdit:
    try:
        return widen(graph, name, to, method, seed, draw)
    except EditError:
        if method is None:
            raise
    return widen(graph, name, to, seed=seed, draw=draw)


def _widths(graph: Graph, factor: float, names: Sequence[str] | None) -> dict[str, int]:
    """The groups to widen, with their new widths."""
    widths: dict[str, int] = {}
    taken: set[Atom] = set()
    refused: list[str] = []
    for group in graph.groups.values() if names is None else map(graph.group, names):
        to = max(group.size + 1, round(group.size * factor))
        if names is None and (group.allow == Allow.FROZEN or group.atom in taken):
            continue
        try:
            widen(graph, group.name, to)
        except EditError as error:
            if names is not None:
                raise
            refused.append(str(error))
            continue
        if group.most is not None and to > group.most and names is None:
            continue
        widths[group.name] = to
        taken.update(atom for site in group.sites for atom in _factors_beside(group.atom, site.axis))
    if not widths:
        raise GrowthError(
            f"no group of channels of {type(graph.model).__name__} can be widened exactly"
            + (f" ({listed(refused, '; ', 3)})" if refused else "")
            + "; `netmorph groups` lists them all"
        )
    return widths


def _factors_beside(atom: Atom, axis: Axis) -> Iterator[Atom]:
    """The atoms that a product in an axis multiplies one by."""
    for factor in resolve(axis):
        if isinstance(factor, Sum):
            for segment in factor.segments:
                yield from _factors_beside(atom, segment)
    parts = [set(atoms((factor,))) for factor in resolve(axis)]
    if any(atom in part for part in parts):
        yield from (other for part in parts if atom not in part for other in part)


def _list_of(model: nn.Module, of: str | None) -> Place:
    """The place of the first entry of the list of blocks that grows."""
    found = {place.container: place for place in _lists(model)}
    if of is not None:
        known = {path: module for path, module in model.named_modules() if module._modules}
        if of not in known:
            raise GrowthError(f"there is no list {of!r} to put blocks into{suggest(of, known)}")
        first = next(iter(known[of]._modules))
        place = numbered(model, f"{of}.{first}".lstrip("."))
        if place is None:
            raise GrowthError(
                f"{of!r} ({type(known[of]).__name__}) is no list whose entries have numbers (nn.ModuleList, "
                f"nn.Sequential){_told(found)}"
            )
        return place
    repeated = [path for path in found if len(model.get_submodule(path)._modules) > 1] or [*found]
    if not repeated:
        raise GrowthError(
            f"{type(model).__name__} has no list (nn.ModuleList, nn.Sequential) of blocks that are alike, so its depth "
            "is not a number; put layers in by edits of your own (netmorph.residual, netmorph.identity)"
        )
    if len(repeated) > 1:
        raise GrowthError(
            f"{type(model).__name__} has several lists of blocks ({listed(repeated)}); say which one grows: "
            f"to_depth(..., of={repeated[0]!r}), or 'depth N of {repeated[0]}'"
        )
    return found[repeated[0]]


def _told(found: Iterable[str]) -> str:
    return f"; there is {listed([*found], ' and ')}" if found else ""


def _lists(model: nn.Module) -> Iterator[Place]:
    """The first entries of the lists of blocks of one type, which have parts; of lists in blocks, the outer ones."""
    outer: list[str] = []
    for path, module in model.named_modules():
        kinds = {type(block) for block in module._modules.values()} - {Residual}  # that R2R has put in
        if len(kinds) != 1 or any(f"{path}.".startswith(f"{other}.") for other in outer):
            continue
        place = numbered(model, f"{path}.{next(iter(module._modules))}".lstrip("."))
        if place is not None and all(block is not None and block._modules for block in module._modules.values()):
            outer.append(path)
            yield place


def _leading(blocks: Sequence[nn.Module | None]) -> int:
    """How many blocks stand before those that are all alike: at the start of a stage, one that makes images smaller."""
    last = [form for form in map(_form, blocks) if form is not None][-1:]
    unlike = [number for number, form in enumerate(map(_form, blocks)) if form is not None and [form] != last]
    return max(unlike, default=-1) + 1


def _form(block: nn.Module | None) -> list[Any] | None:
    """What blocks that can be repeated have in common; None of those that R2R has put in."""
    if block is None or isinstance(block, Residual):
        return None
    return [type(block), *((name, tensor.shape) for name, tensor in block.state_dict().items())]
