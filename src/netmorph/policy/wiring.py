"""Networks as small directed graphs with numbers at their nodes: what an embedding is learnt from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from netmorph.graph import Allow, Group, Role
from netmorph.policy.network_space import Network
from netmorph.policy.table import Row

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # of a cell of NAS-Bench-201, in the order of its digits


@dataclass(frozen=True)
class Wiring:
    """What is in a network, and what goes into what.

    Attributes:
        nodes: numbers of each node, `[nodes, numbers]`; as many numbers in all wirings that are compared.
        edges: whether what node i gives goes into node j, bool `[nodes, nodes]`.
    """

    nodes: NDArray[np.float64]
    edges: NDArray[np.bool_]


def of_blocks(row: Row) -> Wiring:
    """A network of NAS-Bench-Macro: an input and the blocks that are there, each behind the last.

    A node is told by its place, one of all, and whether it is wide.
    """
    present = [(place, choice) for place, choice in enumerate(row) if choice]
    nodes = np.zeros((len(present) + 1, len(row) + 2))
    nodes[0, -2] = 1.0
    for node, (place, choice) in enumerate(present, start=1):
        nodes[node, place] = 1.0
        nodes[node, -1] = float(choice == 2)
    return Wiring(nodes, np.eye(len(nodes), k=1, dtype=bool))


def of_cells(row: Row) -> Wiring:
    """A cell of NAS-Bench-201: its input, its output, and the operations on a way from one to the other.

    Operations that nothing comes to or that nobody reads are left out, so cells that compute the same in spite of them
    are the same. A node is told by its operation, one of all.
    """
    present = [edge for edge, choice in zip(EDGES, row, strict=True) if choice]
    fed, read = {0}, {3}
    for source, target in present:  # edges are in the order of their targets
        fed |= {target} if source in fed else set()
    for source, target in sorted(present, reverse=True):
        read |= {source} if target in read else set()
    alive = [edge for edge in present if edge[0] in fed and edge[1] in read]
    ends = [(-1, 0), *alive, (3, 4)]
    nodes = np.zeros((len(ends), 6))
    nodes[[0, -1], [0, 5]] = 1.0
    for node, edge in enumerate(alive, start=1):
        nodes[node, row[EDGES.index(edge)]] = 1.0
    return Wiring(nodes, np.array([[first[1] == then[0] for then in ends] for first in ends]))


def of_network(network: Network) -> Wiring:
    """A traced network: a node is a channel group, and goes into those that modules write which read it.

    A node is told by the logarithm of its width, how many modules write, act on and read it, and whether it is free to
    change.
    """
    groups = [*network.graph.groups.values()]
    writers, readers = ([_modules(group, role) for group in groups] for role in (Role.WRITE, Role.READ))
    nodes = [
        [
            math.log2(group.size),
            *(len(_modules(group, role)) for role in (Role.WRITE, Role.CARRY, Role.READ)),
            float(group.allow != Allow.FROZEN),
        ]
        for group in groups
    ]
    edges = [[bool(reads & writes) for writes in writers] for reads in readers]
    return Wiring(np.array(nodes, dtype=np.float64), np.array(edges, dtype=bool))


def stacked(wirings: Sequence[Wiring]) -> tuple[Tensor, Tensor]:
    """All as one batch, smaller ones with nodes of zeros behind: nodes `[wirings, most, numbers]`, edges
    `[wirings, most, most]`, both float32.
    """
    most = max(len(wiring.nodes) for wiring in wirings)
    nodes = np.zeros((len(wirings), most, wirings[0].nodes.shape[1]), dtype=np.float32)
    edges = np.zeros((len(wirings), most, most), dtype=np.float32)
    for number, wiring in enumerate(wirings):
        count = len(wiring.nodes)
        nodes[number, :count], edges[number, :count, :count] = wiring.nodes, wiring.edges
    return torch.from_numpy(nodes), torch.from_numpy(edges)


def _modules(group: Group, role: Role) -> set[str]:
    return {site.tensor.rpartition(".")[0] for site in group.where(role)}
