"""From a chain to a network like any other, and where each of its layers is from."""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from netmorph.chain.detached import DetachedLayers
from netmorph.chain.learnt import HEAD, Learnt
from netmorph.chain.values import SOLVED, Chain
from netmorph.data import Dataset
from netmorph.solve import as_linear


@dataclass(frozen=True)
class Link:
    """Where a layer of a chain is from.

    Attributes:
        name: in the network.
        id: of the bank's entry; `SOLVED` of a solved head.
        network, path: where it was cut out.
        parent: the entry of which it is a copy with other weights.
        is_stitched: whether a stitch stands in front of it.
    """

    name: str
    id: str
    network: str = ""
    path: str = ""
    parent: str | None = None
    is_stitched: bool = False

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def lineage(problem: DetachedLayers, chain: Chain) -> tuple[Link, ...]:
    """Where each layer of a chain is from, in order."""
    links = []
    ids = chain.layers if chain.end == SOLVED else (*chain.layers, chain.end)
    for place, id in enumerate(ids):
        told = problem.attacher.told(problem.signature(ids[:place]), id)
        entry = problem.entries[id]
        name = f"layer{place + 1}" if place < len(chain.layers) else HEAD
        links.append(Link(name, id, entry.origin.network, entry.origin.path, entry.parent, told.is_stitched))
    return (*links, Link(HEAD, SOLVED)) if chain.end == SOLVED else tuple(links)


def assembled(problem: DetachedLayers, chain: Chain, dataset: Dataset) -> nn.Sequential:
    """A chain as a network, in eval mode, its weights copies of the bank's.

    A solved head is solved anew, on all of the train part; a stitch stays as it was fitted.

    Returns:
        `layer1`, `layer2`, ... (each a layer, or a stitch and a layer), then `head`, or `readout` and `head`.
    """
    return assembled_and_learnt(problem, chain, dataset)[0]


def assembled_and_learnt(
    problem: DetachedLayers, chain: Chain, dataset: Dataset
) -> tuple[nn.Sequential, Learnt | None]:
    """The network that `assembled` gives, and what its head was solved from; None of a head that was not solved."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for place, module in enumerate(problem.modules(chain.layers)):
        parts[f"layer{place + 1}"] = copy.deepcopy(module)
    signature = problem.signature(chain.layers)
    if chain.end != SOLVED:
        module = problem.attacher.module(chain.layers, chain.end, signature, problem.cache.of(chain.layers))
        parts[HEAD] = copy.deepcopy(module)
        return nn.Sequential(parts).eval().requires_grad_(True), None
    parts["readout"] = problem.readout(signature)
    learnt = Learnt.of(nn.Sequential(parts).eval(), dataset, *problem.held_out(chain.layers))
    parts[HEAD] = as_linear(learnt.head())
    return nn.Sequential(parts).eval().requires_grad_(True), learnt
