import numpy as np
import torch

import netmorph
from netmorph.policy import Network, Wiring, of_blocks, of_cells, of_network
from netmorph.policy.wiring import stacked


def same(one: Wiring, other: Wiring) -> bool:
    return np.array_equal(one.nodes, other.nodes) and np.array_equal(one.edges, other.edges)


def test_blocks_that_are_not_there_are_no_nodes() -> None:
    wiring = of_blocks((0, 1, 2))

    assert wiring.nodes.tolist() == [[0, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 1]]
    assert np.argwhere(wiring.edges).tolist() == [[0, 1], [1, 2]]


def test_operations_that_nobody_reads_are_no_part_of_a_cell() -> None:
    nothing = (0, 0, 0, 0, 0, 0)

    assert len(of_cells(nothing).nodes) == 2
    assert not of_cells(nothing).edges.any()
    # What comes to node 2 is read by nobody where its last edge is none; nothing comes to it in the last one.
    assert same(of_cells((1, 3, 4, 2, 3, 0)), of_cells((1, 0, 0, 2, 3, 0)))
    assert same(of_cells((1, 0, 0, 2, 3, 4)), of_cells((1, 0, 0, 2, 3, 0)))
    assert np.argwhere(of_cells((1, 0, 0, 2, 3, 0)).edges).tolist() == [[0, 1], [0, 2], [1, 3], [2, 4], [3, 4]]


def test_channel_groups_of_a_network_are_wired_as_its_layers_are() -> None:
    model = netmorph.zoo.build("mlp", (1, 4, 4), 3, hidden=(8, 4))
    wiring = of_network(Network(netmorph.trace(model, torch.randn(2, 1, 4, 4))))

    assert wiring.nodes.shape == (4, 5)
    assert sorted(wiring.nodes[:, 4]) == [0, 0, 1, 1]
    assert sorted(wiring.edges.sum(1)) == [0, 1, 1, 1]


def test_a_batch_has_as_many_nodes_as_its_largest() -> None:
    nodes, edges = stacked([of_blocks((1, 0, 2)), of_blocks((0, 0, 0))])

    assert (nodes.shape, edges.shape) == ((2, 3, 5), (2, 3, 3))
    assert not nodes[1, 1:].any()
    assert not edges[1].any()
