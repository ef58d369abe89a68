"""Which networks stand around a network, and how one gets there."""

import copy
import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from netmorph import trace, zoo
from netmorph.graph import Graph
from netmorph.measure.cost import cost
from netmorph.measure.prediction import predict_flops
from netmorph.neighbours import Neighbour, NeighbourError, neighbours
from netmorph.neighbours.drawing import Reach, _moves, deeper, narrower, trade
from netmorph.neighbours.layers import less, more
from netmorph.neighbours.room import FARTHEST, Room
from netmorph.neighbours.steps import OUT, WIDTHS, fresh, inherited, walk
from netmorph.neighbours.values import Step

COUNT, TOLERANCE = 7, 0.05


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 24), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(24, 10))


def inputs() -> Tensor:
    return torch.randn(16, 20, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", name="graph")
def graph_() -> Graph:
    return trace(network(), inputs())


@pytest.fixture(scope="module", name="found")
def found_(graph: Graph) -> tuple[Neighbour, ...]:
    return neighbours(graph, COUNT, TOLERANCE, np.random.default_rng(0))


def test_neighbours_are_distinct_in_both_directions_and_cost_about_the_same(
    graph: Graph, found: tuple[Neighbour, ...]
) -> None:
    assert [each.number for each in found] == list(range(COUNT + 1))
    assert {each.kind for each in found} == {"itself", "trade", "deeper", "shallower", "wider", "narrower"}
    assert len({each.name for each in found}) == COUNT + 1
    for each in found[1:]:
        share = each.flops / found[0].flops
        if each.kind in ("wider", "narrower"):
            assert (share > 1) is (each.kind == "wider")
        else:
            assert abs(share - 1) <= TOLERANCE
    assert cost(graph.model, graph.inputs).flops == found[0].flops  # it was not touched


def test_the_same_generator_draws_the_same(graph: Graph, found: tuple[Neighbour, ...]) -> None:
    assert neighbours(graph, 1, TOLERANCE, np.random.default_rng(0)) == found[:2]


def test_several_moves_go_further(graph: Graph) -> None:
    for draw in (trade, deeper):
        made, steps = _moves(graph, draw, Reach(predict_flops(graph).at(), TOLERANCE, 1.5), np.random.default_rng(1), 2)
        assert made is not None
        assert abs(predict_flops(made).at() / predict_flops(graph).at() - 1) <= TOLERANCE
        kinds = [step.kind for step in steps]
        assert kinds == [WIDTHS] if draw is trade else len([kind for kind in kinds if kind != WIDTHS]) == 2
        before = {name: step.before[name] for step in steps[:1] for name in step.widths}
        assert before == {name: graph.groups[name].size for name in before}


def test_neighbours_go_through_json(found: tuple[Neighbour, ...]) -> None:
    assert [Neighbour.from_json(json.loads(json.dumps(asdict(each)))) for each in found] == [*found]


def test_both_starts_build_what_was_drawn(found: tuple[Neighbour, ...]) -> None:
    for each in found[:4]:
        for start in (inherited, fresh):
            made = start(trace(network(), inputs()), each.steps, [inputs()], 3)
            price = cost(made.model, inputs())
            assert (price.flops, price.parameters) == (each.flops, each.parameters)


@pytest.mark.slow
def test_an_inception_resnet_has_neighbours_of_all_kinds() -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 3, 8, 8)

    def made() -> Graph:
        torch.manual_seed(0)
        return trace(zoo.inception_resnet_small((3, 8, 8), 4, width=0.125, stride=1), images)

    found = neighbours(made(), COUNT, TOLERANCE, np.random.default_rng(0))
    assert {each.kind for each in found} == {"itself", "trade", "deeper", "shallower", "wider", "narrower"}
    for each in found:
        if each.kind not in ("wider", "narrower"):
            assert abs(each.flops / found[0].flops - 1) <= TOLERANCE
        for start in (inherited, fresh):
            price = cost(start(made(), each.steps, [images], 3).model, images)
            assert (price.flops, price.parameters) == (each.flops, each.parameters)


def test_what_only_grows_inherits_the_function() -> None:
    steps = [Step("identity", "1"), Step(WIDTHS, widths={"3": 36})]
    made = inherited(trace(network(), inputs()), steps, [inputs()], 0)

    torch.testing.assert_close(made.model(inputs()), network()(inputs()), atol=1e-5, rtol=1e-4)


def test_fresh_weights_depend_on_the_seed_alone() -> None:
    taught = network()
    for parameter in taught.parameters():
        nn.init.zeros_(parameter)
    steps = [Step(WIDTHS, widths={"0": 44})]
    one, other, third = (
        fresh(trace(copy.deepcopy(model), inputs()), steps, [], seed).model(inputs())
        for model, seed in ((network(), 5), (taught, 5), (network(), 6))
    )

    assert torch.equal(one, other)
    assert not torch.equal(one, third)


def test_a_layer_goes_out_once_its_input_has_the_width_of_its_output(graph: Graph) -> None:
    out = less(graph)
    assert [[step.kind for step in steps] for steps in out] == [[WIDTHS, OUT]] * 2
    assert out[0] == [Step(WIDTHS, widths={"0": 30}, before={"0": 40}), Step(OUT, "2")]
    made = walk(trace(network(), inputs()), out[0])
    assert made.model(inputs()).shape == (16, 10)
    assert [*more(graph)] == ["identity", "residual"]


def test_widths_make_up_for_a_cost(graph: Graph) -> None:
    whole = Room(graph, 1, 0.0).flops({})
    generator = np.random.default_rng(0)
    for share in (0.7, 1.3):
        room = Room(graph, round(share * whole), 0.02)
        widths = room.scaled(generator)
        assert widths is not None
        assert room.fits(widths)
        assert all((width < graph.groups[name].size) is (share < 1) for name, width in widths.items())
    assert Room(graph, 10 * whole, 0.05).scaled(generator) is None
    both = Room(graph, whole, 0.05).balanced({"0": 50}, generator, down=True)
    assert both is not None
    assert all(1 / FARTHEST <= width / graph.groups[name].size <= FARTHEST for name, width in both.items())


def test_a_network_without_neighbours_is_an_error_that_says_why() -> None:
    alone = trace(nn.Sequential(nn.Linear(5, 3)), torch.randn(4, 5))
    for draw in (trade, narrower):
        assert draw(alone, Reach(100, 0.05, 1.5), np.random.default_rng(0)) is None
    with pytest.raises(NeighbourError, match=r"no neighbour: 0 of its .* groups"):
        neighbours(alone, 3, 0.05, np.random.default_rng(0))
