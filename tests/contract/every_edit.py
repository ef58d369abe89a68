"""Every edit that netmorph has, as a function of a graph that chooses where: what `check_edit` takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from torch import Tensor, nn

import netmorph
from netmorph import Allow, EditError, Graph, Samples
from netmorph.edit import FACTORINGS, Edit
from netmorph.graph.running import run
from netmorph.testing.rules import INEXACT, widths
from netmorph.widenings import WIDENINGS

T = TypeVar("T")
Choose = Callable[[list[Any]], Any]


class Nowhere(Exception):
    """The network has no place for such an edit."""


def somewhere(choose: Choose, candidates: Iterable[T], make: Callable[[T], Edit]) -> Edit:
    """At a chosen place; if the edit says that it is not possible there, at another one."""
    left = list(candidates)
    while left:
        one = choose(left)
        left.remove(one)
        try:
            return make(one)
        except EditError:
            continue
    raise Nowhere


def widen(graph: Graph, choose: Choose, name: str) -> Edit:
    if name in INEXACT:  # wherever a width can change
        group = choose(graph.editable() or nowhere())
        return netmorph.widen(graph, group.name, group.size + 2, WIDENINGS[name], seed=3)
    group = choose([group for group in graph.editable() if name in widths(group)] or nowhere())
    return netmorph.widen(graph, group.name, widths(group)[name], WIDENINGS[name], seed=3)


def widen_all(graph: Graph, choose: Choose) -> Edit:
    groups = graph.editable(Allow.UNIFORM) or nowhere()
    return netmorph.edit.widen_all(
        graph, {group.name: 2 * group.size for group in groups}, netmorph.widenings.unequal_split
    )


def narrow(graph: Graph, choose: Choose) -> Edit:
    group = choose([group for group in graph.editable() if group.size > 1] or nowhere())
    dropped = choose(list(range(group.size)))
    return netmorph.narrow(graph, group.name, [channel for channel in range(group.size) if channel != dropped])


def narrow_all(graph: Graph, choose: Choose) -> Any:
    groups = [group for group in graph.editable() if group.size > 1] or nowhere()
    return netmorph.edit.narrow_all(graph, {group.name: range(0, group.size, 2) for group in groups})


def reconstruct(graph: Graph, choose: Choose) -> Edit:
    return netmorph.reconstruct(narrow_all(graph, choose), Samples(graph, [graph.inputs]))


def with_norm(graph: Graph, path: str) -> Edit:
    if len(graph.inputs[0]) == 1:
        nowhere()  # a batch norm does not train on one sample, as PyTorch says when `apply` asks it
    return netmorph.identity(graph, path, norm=True)


def gradmax(graph: Graph, choose: Choose) -> Edit:
    def make(name: str) -> Edit:
        return netmorph.edit.gradmax(graph, name, graph.group(name).size + 1, [graph.inputs], loss)

    return somewhere(choose, [group.name for group in graph.editable(Allow.ANY)], make)


def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    return (model(*batch) - 1).square().mean()


def deepen(graph: Graph, choose: Choose, method: Callable[..., Edit]) -> Edit:
    return somewhere(choose, netmorph.edit.places(graph), partial(method, graph))


def keeping(graph: Graph, choose: Choose, method: Callable[..., Edit]) -> Edit:
    """At a module that keeps its input's shape."""
    return somewhere(choose, shape_keepers(graph), partial(method, graph))


def linear(graph: Graph, choose: Choose, method: Callable[[Graph, str], Edit]) -> Edit:
    """At a linear or convolution layer."""
    kinds = nn.Linear | nn.Conv1d | nn.Conv2d
    layers = [path for path, module in graph.modules.items() if isinstance(module, kinds)]
    return somewhere(choose, layers, partial(method, graph))


def factorize(graph: Graph, path: str, name: str, share: float) -> Edit:
    full = netmorph.factorize(graph, path, 1, FACTORINGS[name]).full
    return netmorph.factorize(graph, path, max(1, round(share * full)), FACTORINGS[name])


def merge(graph: Graph, choose: Choose) -> Edit:
    return somewhere(choose, [path for path in graph.modules if path], partial(netmorph.merge, graph))


def shape_keepers(graph: Graph) -> list[str]:
    found: dict[str, bool] = {}
    paths = {module: path for path, module in graph.modules.items() if path}

    def look(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        shapes = [getattr(held, "shape", None) for held in (*args, output)]
        found[paths[module]] = len(shapes) == 2 and shapes[0] == shapes[1] and found.get(paths[module], True)

    handles = [module.register_forward_hook(look) for module in paths]
    run(graph.model, graph.inputs)
    for handle in handles:
        handle.remove()
    return [path for path, keeps in found.items() if keeps]


def nowhere() -> Any:
    raise Nowhere


EDITS: dict[str, Callable[[Graph, Choose], Edit]] = {
    **{f"widen {name}": partial(widen, name=name) for name in WIDENINGS},
    "widen_all": widen_all,
    "shrink_and_perturb": lambda graph, choose: netmorph.edit.shrink_and_perturb(graph, seed=3),
    "narrow": narrow,
    "narrow_all": narrow_all,
    "reconstruct": reconstruct,
    "gradmax": gradmax,
    "residual": partial(deepen, method=netmorph.residual),
    "identity": partial(deepen, method=netmorph.identity),
    "identity with a norm": partial(deepen, method=with_norm),
    "copy_block": partial(keeping, method=netmorph.edit.copy_block),
    "stack": partial(keeping, method=netmorph.edit.stack),
    "shallow": partial(keeping, method=netmorph.shallow),
    "shallow with data": partial(keeping, method=lambda graph, path: netmorph.shallow(graph, path, [graph.inputs])),
    "linearize": partial(keeping, method=lambda graph, path: netmorph.edit.linearize(graph, path, [graph.inputs])),
    **{
        f"factorize {name} {told}": partial(linear, method=partial(factorize, name=name, share=share))
        for name in FACTORINGS
        for told, share in (("in full", 1.0), ("at half rank", 0.5))
    },
    "merge": merge,
}
# What `merge` needs first: two layers in a row.
PREPARED = {"merge": EDITS["factorize kernel_first in full"]}
