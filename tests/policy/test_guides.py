import copy
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from netmorph import narrow, widen, zoo
from netmorph.edit import Edit
from netmorph.edit.shallow import shallow
from netmorph.errors import EditError
from netmorph.graph import Graph, trace
from netmorph.measure.cost import cost
from netmorph.observe.samples import Samples
from netmorph.policy import Menu, Mutation, exact, mutate, proposals, shrinking
from netmorph.policy.guides import Expected, Guide, Made, Rates, Tried, gradient, rank, trend, trend_of
from netmorph.policy.proposals import Deepen, Narrow, ProposalError, Shallow, Widen

X = torch.randn(32, 1, 6, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(32) % 3


def graph() -> Graph:
    torch.manual_seed(0)
    return trace(zoo.build("mlp", (1, 6, 6), 3, width=0.25), X[:2])


def samples(of: Graph) -> Samples:
    return Samples(of, [(X, Y)], lambda model, batch: cross_entropy(model(batch[0]), batch[1]))


START = graph()
WIDER = [widen(START, "fc1", 40), widen(START, "fc2", 36), widen(START, "fc1", 80)]
MENU = Menu(samples(START), WIDER)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@dataclass(frozen=True)
class NoEdit:
    """Of a kind that nothing else has, and of which no forward can be made."""

    def plan(self, graph: Graph) -> object:
        raise EditError("no")

    def describe(self) -> object:
        return shallow(START, "relu1").describe()


def test_kinds_take_turns_and_the_best_of_each_comes_first() -> None:
    menu = Menu(samples(START), [*WIDER, NoEdit()])  # type: ignore[list-item]
    assert menu.kind_by_kind([3, 0, 1, 2], [1.0, 3.0, 2.0, 0.0]) == [3, 1, 2, 0]
    assert menu.kind_by_kind([2, 3, 1, 0], [1.0, 3.0, 2.0, 9.0]) == [1, 2, 0, 3]
    assert menu.child(3) is None
    assert menu.sizes[3] is None
    order = gradient(menu, generator())
    assert sorted(order) == [0, 1, 2, 3]


def test_children_are_copies_with_an_edit() -> None:
    before = copy.deepcopy(START.model.state_dict())
    child = MENU.child(0)
    assert child is not None
    assert child.get_parameter("fc1.weight").shape[0] == 40
    torch.testing.assert_close(child(X), START.model(X))
    deeper = Menu(samples(START), [WIDER[0], *filter(None, [Deepen()(START, generator())])])
    for number, size in enumerate(deeper.sizes):
        made = deeper.child(number)
        assert made is not None
        price = cost(made, X)
        assert size == (price.parameters, price.flops)
    assert all(torch.equal(value, before[name]) for name, value in START.model.state_dict().items())


def test_a_slope_is_the_gradient_of_the_mean_loss() -> None:
    found = MENU.slope(START.model)
    model = copy.deepcopy(START.model).eval()
    loss = cross_entropy(model(X), Y)
    loss.backward()
    assert found.loss == pytest.approx(float(loss.detach()))
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert found.steepness == pytest.approx(math.fsum(float(gradient.square().sum()) for gradient in gradients))
    with pytest.raises(EditError, match="needs a loss"):
        Menu(Samples(START), WIDER).slope(START.model)


def test_gradients_choose_what_brings_most_for_each_parameter() -> None:
    before = MENU.slope(START.model)
    values = []
    for child in map(MENU.child, range(3)):
        assert child is not None
        after = MENU.slope(child)
        values.append((after.steepness - before.steepness) / (after.parameters - before.parameters))
    assert gradient(MENU, generator()) == sorted(range(3), key=lambda number: -values[number])


def test_ranks_widen_what_is_full_and_narrow_what_is_not() -> None:
    model = zoo.build("mlp", (1, 6, 6), 3, width=0.25)
    with torch.no_grad():
        weight = model.get_parameter("fc2.weight")
        weight[1:] = weight[:1]  # all channels are one
        model.get_parameter("fc2.bias").zero_()
    start = trace(model, X[:2])
    groups = {name: start.group(name) for name in ("fc1", "fc2")}
    wider = [widen(start, name, group.size + 8) for name, group in groups.items()]
    assert rank(Menu(samples(start), wider), generator()) == [0, 1]
    narrower = [Narrow()(trace(model, X[:2]), generator(seed)) for seed in range(8)]
    drawn = [edit for edit in narrower if edit is not None]
    order = rank(Menu(samples(start), drawn), generator())
    assert drawn[order[0]].describe().layer == "fc2"


def test_trends_widen_where_the_last_channels_are_asked_for_and_narrow_where_they_are_not() -> None:
    assert trend_of(torch.linspace(1.0, 0.0, 9, dtype=torch.float64)) == pytest.approx(-2)
    assert trend_of(torch.full((5,), 3.0, dtype=torch.float64)) == pytest.approx(0)
    assert trend_of(torch.zeros(5)) == trend_of(torch.ones(1)) == 0
    model = zoo.build("mlp", (1, 6, 6), 3, width=0.25)
    with torch.no_grad():  # what nobody reads has no gradient: the first half of fc1, and the last of fc2
        model.get_parameter("fc2.weight")[:, :15] = 0
        model.get_parameter("fc3.weight")[:, 10:] = 0
    start = trace(model, X[:2])
    wider = [widen(start, name, start.group(name).size + 8) for name in ("fc2", "fc1")]
    assert trend(Menu(samples(start), wider), generator()) == [1, 0]
    narrower = [narrow(start, name, range(8)) for name in ("fc2", "fc1")]
    assert trend(Menu(samples(start), narrower), generator()) == [0, 1]


def tried(place: str, score: float, flops: int, kind: str = "widen") -> Tried:
    return Tried((Made(kind, place, 4, 8),), 1, 2, score, flops, flops)


def test_a_bandit_learns_which_edits_made_what_nothing_had_beaten() -> None:
    lessons = [tried("fc1", 0.5 + 0.01 * step, 100) for step in range(30)]
    lessons += [tried("fc2", 0.4, 200) for _ in range(30)]
    learnt = Rates.of(lessons)
    assert learnt.made == {("widen", "fc1"): 30, ("widen", "fc2"): 30}
    assert learnt.paid == {("widen", "fc1"): 30, ("widen", "fc2"): 0}
    assert all(learnt(MENU, generator(seed))[-1] == 1 for seed in range(5))
    assert {Rates()(MENU, generator(seed))[0] for seed in range(20)} == {0, 1, 2}


def test_only_the_edits_that_made_a_network_from_its_parent_are_paid() -> None:
    one = Tried((Made("widen", "fc1", 4, 8), Made("deepen", "relu1", 1, 2)), 1, 2, 0.9, 10, 10)
    assert Rates.of([one]).made == {("deepen", "relu1"): 1}


def test_a_model_expects_most_of_where_scores_rose() -> None:
    lessons = [Tried((), 0, 1, 0.5, 3000, 1500)] * 2
    for step in range(1, 9):
        for place, gain in (("fc1", 0.04), ("fc2", 0.0)):
            count = step % 3 + 1
            edits = tuple(Made("widen", place, 10 * 2**number, 10 * 2 ** (number + 1)) for number in range(count))
            lessons.append(Tried(edits, 1, 2, 0.5 + gain * count, 3000 * 2**count, 1500 * 2**count))
    learnt = Expected.of(lessons)
    assert learnt.places == ("fc1", "fc2")
    assert len(learnt.features[0]) == 3 + 2 * 2
    deeper = Tried((Made("deepen", "relu1", 0, 84), Made("widen", "fc1", 4, 16)), 1, 2, 0.5, 1024, 512)
    assert Expected.of([deeper]).features == ((9.0, 10.0, 2.0, 2.0, 0.0, 0.0, 1.0),)
    menu = Menu(samples(START), [widen(START, "fc2", 60), widen(START, "fc1", 64)])
    assert all(learnt(menu, generator(seed)) == [1, 0] for seed in range(3))
    assert {tuple(Expected.of(lessons[:3])(menu, generator(seed))) for seed in range(9)} == {(0, 1), (1, 0)}


@pytest.mark.parametrize("guide", [gradient, Rates()])
def test_a_guided_mutation_is_repeated_by_its_seed(guide: Guide) -> None:
    mutation = Mutation(edits=1, proposals=(*exact(), *shrinking()))
    made = [mutate(graph(), generator(3), mutation, guide=guide, samples=samples).journal for _ in range(2)]
    assert [entry.edit for entry in made[0]] == [entry.edit for entry in made[1]]
    assert made[0]


def test_a_guide_is_obeyed() -> None:
    seen: list[Edit] = []

    def last(menu: Menu, generator: np.random.Generator) -> list[int]:
        seen.append(menu.edits[-1])
        return [*range(len(menu.edits))][::-1]

    made = mutate(graph(), generator(), Mutation(edits=1, locality=0.9, proposals=exact(0.0)), guide=last)
    assert made.journal[-1].edit == seen[-1].describe()


# -- proposals that take something away -------------------------------------------------------------------------------


def test_narrow_keeps_the_largest_and_at_least_its_share() -> None:
    for seed in range(6):
        edit = Narrow(0.7)(START, generator(seed))
        assert edit is not None
        told = edit.describe()
        assert (told.kind, told.method) == ("narrow", "magnitude")
        assert round(0.7 * told.before) <= told.after < told.before


def test_shallow_takes_a_layer_out_again_and_what_is_lost_is_told() -> None:
    deeper = mutate(graph(), generator(), Mutation(edits=1, locality=0.9, proposals=exact(1.0)))
    taken = mutate(deeper, generator(1), Mutation(edits=1, proposals=shrinking(shallow=1.0)))
    assert [entry.edit.kind for entry in taken.journal] == ["deepen", "shallow"]
    assert Shallow()(trace(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), X[:2]), generator()) is None
    narrowed = mutate(graph(), generator(), Mutation(edits=1, proposals=shrinking(shallow=0.0)))
    assert narrowed.journal[-1].error > 0


def test_proposals_that_shrink_are_told_and_bounded() -> None:
    assert shrinking(0.0) == ()
    for proposal, _ in shrinking():
        assert proposals.from_json(proposals.as_json(proposal)) == proposal
    for wrong in (0.0, 1.0):
        with pytest.raises(ProposalError, match="least must be a share"):
            Narrow(wrong)
    with pytest.raises(ProposalError, match="shallow must be a probability"):
        shrinking(shallow=1.5)
    assert Widen() not in [proposal for proposal, _ in shrinking()]
