"""From a chain to a network like any other, and where each of its layers is from."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from netmorph.chain.detached import DetachedLayers
from netmorph.chain.features import BATCH
from netmorph.chain.heads import sharpened, solved_head
from netmorph.chain.values import SOLVED, Chain
from netmorph.data import Dataset
from netmorph.solve import as_linear
from netmorph.train.inputs import prepare


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
        name = f"layer{place + 1}" if place < len(chain.layers) else "head"
        links.append(Link(name, id, entry.origin.network, entry.origin.path, entry.parent, told.is_stitched))
    return (*links, Link("head", SOLVED)) if chain.end == SOLVED else tuple(links)


def assembled(problem: DetachedLayers, chain: Chain, dataset: Dataset) -> nn.Sequential:
    """A chain as a network, in eval mode, its weights copies of the bank's.

    A solved head is solved anew, on all of the train part, and sharpened; a stitch stays as it was fitted.

    Returns:
        `layer1`, `layer2`, ... (each a layer, or a stitch and a layer), then `head`, or `readout` and `head`.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for place, module in enumerate(problem.modules(chain.layers)):
        parts[f"layer{place + 1}"] = copy.deepcopy(module)
    signature = problem.signature(chain.layers)
    if chain.end != SOLVED:
        module = problem.attacher.module(chain.layers, chain.end, signature, problem.cache.of(chain.layers))
        parts["head"] = copy.deepcopy(module)
        return nn.Sequential(parts).eval().requires_grad_(True)
    parts["readout"] = problem.readout(signature)
    body = nn.Sequential(parts).eval()
    like = next(iter(body.parameters()), torch.empty(0))

    @torch.no_grad()
    def rows() -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, labels in dataset.train.cut(BATCH):
            yield body(prepare(inputs, dataset, like)), labels.to(like.device)

    head = sharpened(solved_head(rows(), dataset.outputs), *problem.held_out(chain.layers))
    parts["head"] = as_linear(head)
    return nn.Sequential(parts).eval().requires_grad_(True)
