from dataclasses import replace
from functools import partial

import pytest
from synthetic import START, Run

from netmorph.report import lineage
from netmorph.report.figures import svg
from netmorph.report.lineage import place
from netmorph.run.ranking import best
from netmorph.run.rows import NetworkRecord
from netmorph.tasks.criterion import ACCURACY


def lines(networks: list[NetworkRecord], rows: dict[int, int]) -> list[tuple[int, int, int]]:
    """The horizontal stretches of the tree as (row, from, to), in half rounds, one for each network."""
    last = {network.id: network.round for network in networks}
    for network in networks:
        if network.parent is not None:
            last[network.parent] = max(last[network.parent], network.round)
    return [(rows[n.id], 2 * n.round, max(2 * n.round, 2 * last[n.id] - 1)) for n in networks]


@pytest.mark.parametrize("seed", range(8))
def test_no_line_of_the_tree_meets_another(seed: int) -> None:
    run = Run(seed)
    run.evolve(rounds=12, children=6, keep=3)
    networks = run.networks
    champion = best(networks)
    assert champion is not None
    rows = place(networks, champion.id)
    assert rows.keys() == {network.id for network in networks}
    assert min(rows.values()) == 0

    taken: dict[tuple[int, int], int] = {}
    for owner, (row, start, end) in zip(networks, lines(networks, rows), strict=True):
        for x in range(start, end + 1):
            assert taken.setdefault((x, row), owner.id) == owner.id
    for network in networks:  # from its parent's line up or down to its own
        if network.parent is not None:
            low, high = sorted((rows[network.parent], rows[network.id]))
            for row in range(low, high + 1):
                assert taken.get((2 * network.round - 1, row), network.parent) == network.parent


def test_the_tree_stays_low() -> None:
    run = Run()
    run.evolve(rounds=20, children=8, keep=4)
    champion = best(run.networks)
    assert champion is not None
    assert len(run.networks) == 161
    assert max(place(run.networks, champion.id).values()) < 40


def test_a_chain_is_one_line() -> None:
    networks = [replace(START, id=i, parent=i - 1 if i else None, round=i) for i in range(5)]
    assert set(place(networks, best=4).values()) == {0}


def test_several_start_networks() -> None:
    networks = [replace(START, id=i) for i in range(3)]
    assert sorted(place(networks, best=0).values()) == [0, 1, 2]


def test_nodes_lead_to_what_differs_from_their_parents() -> None:
    child = replace(START, id=1, parent=0, round=1, score=0.5)
    networks = [replace(START, score=0.25), child]
    draw = partial(lineage.lineage, networks=networks, best=1, criterion=ACCURACY, linked={1})
    page = svg(draw, "lineage", "", 200)

    assert 'href="#lineage-step1"' in page
    assert "step0" not in page
