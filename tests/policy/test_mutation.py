import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import netmorph.policy.mutation
from netmorph import apply, narrow, residual, undo, widen, zoo
from netmorph.edit import Edit, rebuild
from netmorph.edit.together import Planned
from netmorph.errors import EditError, NetmorphError
from netmorph.graph import Graph, trace
from netmorph.policy import Mutation, Weighted, exact, mutate
from netmorph.policy.mutation import check_editable
from netmorph.policy.proposals import Deepen, ProposalError, Widen, found
from netmorph.zoo.transformer import Block

X = torch.linspace(-1, 1, 2 * 36).reshape(2, 1, 6, 6)


def graph() -> Graph:
    torch.manual_seed(0)
    return trace(zoo.build("mlp", (1, 6, 6), 3, width=0.25), X)


def mutated(seed: int, mutation: Mutation) -> Graph:
    return mutate(graph(), np.random.default_rng(seed), mutation)


def size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_one_to_so_many_edits_are_drawn() -> None:
    mutation = Mutation(edits=3, locality=0.9)
    assert {len(mutated(seed, mutation).journal) for seed in range(12)} == {1, 2, 3}


def test_deepen_decides_the_kind() -> None:
    for share, kind in ((0.0, "widen"), (1.0, "deepen")):
        journal = mutated(0, Mutation(proposals=exact(deepen=share), locality=0.9)).journal
        assert {entry.edit.kind for entry in journal} == {kind}


def test_without_activations_to_repeat_blocks_are_copied_and_put_behind_activations() -> None:
    mutation, made, copied = Mutation(edits=3, proposals=exact(deepen=1.0), locality=0.9), set(), set()
    for seed in range(6):
        torch.manual_seed(0)
        model = zoo.build("gpt", (6,), 5, depth=2, channels=8, heads=2)
        start = trace(model, zoo.example("gpt", (6,), 5))
        journal = mutate(start, np.random.default_rng(seed), mutation).journal
        edits = [entry.edit for entry in journal]
        made |= {edit.method for edit in edits}
        copied |= {edit.layer.split(".")[1] for edit in edits if edit.method == "copy"}
        copies = sum(edit.method == "copy" for edit in edits)
        assert sum(isinstance(module, Block) for module in model.modules()) == 2 + copies
    assert made >= {"copy", "residual"}
    assert copied >= {"0", "1"}


def test_growth_bounds_each_widening() -> None:
    for seed in range(10):
        for entry in mutated(seed, Mutation(proposals=exact(deepen=0.0, growth=1.5), locality=0.9)).journal:
            before, after = entry.edit.before, entry.edit.after
            assert before < after <= max(before + 1, round(1.5 * before))


def test_edits_of_different_places_are_one_step_and_the_journal_tells_each() -> None:
    start, x = graph(), X
    before, sizes, steps = start.model(x), [size(start.model)], list[int]()
    wide = Mutation(edits=2, locality=0.95, proposals=exact(0.0))
    seed = next(seed for seed in range(20) if _one_step(seed, wide))

    def note(edited: Graph, shares: Sequence[float]) -> None:
        steps.append(len(shares))
        sizes.append(size(edited.model))
        assert math.prod(1 - share for share in shares) == pytest.approx(sizes[-2] / sizes[-1])

    optimizer = torch.optim.SGD(start.model.parameters(), lr=0.1, momentum=0.9)
    made = mutate(start, np.random.default_rng(seed), wide, optimizer=optimizer, on_edits=note)
    assert steps == [2]
    assert torch.allclose(made.model(x), before, atol=1e-5)
    assert len({entry.edit.layer for entry in made.journal}) == 2
    again = rebuild(zoo.build("mlp", (1, 6, 6), 3, width=0.25), made.journal)
    assert {name: p.shape for name, p in again.named_parameters()} == {
        name: p.shape for name, p in made.model.named_parameters()
    }
    for _ in range(2):  # by their inverses, the last one first
        made = apply(made, undo(made), optimizer)
    assert made.journal == ()
    assert size(made.model) == sizes[0]
    assert torch.allclose(made.model(x), before, atol=1e-5)


def _one_step(seed: int, mutation: Mutation) -> bool:
    steps: list[int] = []
    mutate(graph(), np.random.default_rng(seed), mutation, on_edits=lambda graph, shares: steps.append(len(shares)))
    return steps == [2]


def test_one_bad_edit_does_not_undo_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*given: object) -> Graph:
        raise EditError("not together")

    wide = Mutation(edits=4, locality=0.99, proposals=exact(0.0))
    together = {seed: len(mutated(seed, wide).journal) for seed in range(4)}
    monkeypatch.setattr(netmorph.policy.mutation, "apply_together", failing)
    assert {seed: len(mutated(seed, wide).journal) for seed in range(4)} == together


def test_what_goes_with_what() -> None:
    start = graph()

    def planned(edit: Edit) -> Planned:
        return Planned(edit, edit.plan(start))

    first, second = (planned(widen(start, name, 2 * start.group(name).size)) for name in ("fc1", "fc2"))
    assert first.goes_with(start, second)  # they meet in one weight, in different dimensions
    assert not first.goes_with(start, planned(widen(start, "fc1", start.group("fc1").size + 1)))
    assert not first.goes_with(start, planned(narrow(start, "fc2", [0, 1])))  # its error and jump are its own
    assert not first.goes_with(start, planned(residual(start, "fc2")))


def test_on_edits_is_told_of_each_edit_and_what_is_new() -> None:
    start, sizes, shares = graph(), [size(graph().model)], []

    def note(edited: Graph, new: Sequence[float]) -> None:
        sizes.append(size(edited.model))
        shares.append(1 - math.prod(1 - share for share in new))
        assert len(new) > 0

    made = mutate(start, np.random.default_rng(1), Mutation(locality=0.9), on_edits=note)
    assert len(made.journal) >= len(shares)
    assert shares == pytest.approx([1 - before / after for before, after in itertools.pairwise(sizes)])


def test_the_optimizer_is_carried() -> None:
    start = graph()
    optimizer = torch.optim.SGD(start.model.parameters(), lr=0.1, momentum=0.9)
    new = mutate(start, np.random.default_rng(1), Mutation(locality=0.9), optimizer=optimizer)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in new.model.parameters()}


def test_nothing_is_made_where_nothing_fits() -> None:
    assert mutated(0, Mutation(locality=1e-6)).journal == ()


def test_a_network_without_a_free_group_or_layer_stays() -> None:
    linear = trace(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), X)
    generator = np.random.default_rng(0)
    assert Widen()(linear, generator) is None
    assert Deepen()(linear, generator) is None
    assert mutate(linear, generator, Mutation()) is linear


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("edits", (0, -1)),
        ("tries", (0,)),
        ("locality", (0.0, -0.1, 1.1, float("nan"))),
    ],
)
def test_values_out_of_range_are_refused(name: str, values: tuple[float, ...]) -> None:
    for value in values:
        with pytest.raises(NetmorphError, match=f"{name} must be .* got {value}"):
            replace(Mutation(), **{name: value})


@pytest.mark.parametrize(
    ("name", "values"), [("growth", (1.0, 0.5, float("inf"), float("nan"))), ("deepen", (-0.1, 1.1, float("nan")))]
)
def test_settings_of_the_exact_proposals_out_of_range_are_refused(name: str, values: tuple[float, ...]) -> None:
    for value in values:
        with pytest.raises(NetmorphError, match=f"{name} must be .* got {value}"):
            exact(**{name: value})


# -- proposals of one's own --------------------------------------------------------------------------------------------


def narrow_a_little(graph: Graph, generator: np.random.Generator) -> Edit | None:
    group = list(graph.groups.values())[generator.integers(len(graph.groups))]
    return narrow(graph, group.name, range(group.size - 1))


def nothing(graph: Graph, generator: np.random.Generator) -> Edit | None:
    return None


def no_edit(graph: Graph, generator: np.random.Generator) -> object:
    return "widen"


def test_proposals_are_drawn_as_often_as_they_weigh() -> None:
    mutation = Mutation().adding(narrow_a_little, 2.0).adding(nothing, 1.0)
    generator = np.random.default_rng(0)
    drawn = [mutation.draw(generator) for _ in range(4000)]
    for proposal, weight in mutation.proposals:
        assert drawn.count(proposal) / 4000 == pytest.approx(weight / 4, abs=0.025)
    assert sum(weight for _, weight in mutation.proposals) == 4


def test_the_exact_ones_alone_draw_what_they_drew_before_there_were_others() -> None:
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    kinds = [type(Mutation().draw(one)) for _ in range(200)]
    assert kinds == [Deepen if other.random() < 0.25 else Widen for _ in range(200)]


def test_an_own_proposal_is_applied_and_one_that_does_not_fit_is_passed_over() -> None:
    alone = Mutation(proposals=(Weighted(narrow_a_little, 1.0),), edits=2)
    assert {entry.edit.kind for seed in range(4) for entry in mutated(seed, alone).journal} == {"narrow"}
    # A group of one channel cannot be narrowed: narrow raises an EditError.
    thin = trace(nn.Sequential(nn.Flatten(), nn.Linear(36, 1), nn.ReLU(), nn.Linear(1, 3)), X)
    assert mutate(thin, np.random.default_rng(0), alone) is thin


def too_few(graph: Graph) -> None:
    return None


def test_what_is_no_edit_is_refused() -> None:
    for proposal, message in (
        (no_edit, "the proposal no_edit returned str; a proposal returns an edit, or None"),
        (too_few, r"the proposal too_few failed: TypeError: too_few\(\) takes 1 positional argument"),
    ):
        with pytest.raises(ProposalError, match=message):
            mutated(0, Mutation(proposals=(Weighted(proposal, 1.0),)))


@pytest.mark.parametrize("weights", [(), (0.0,), (1.0, -1.0), (float("nan"),), (float("inf"),)])
def test_weights_that_cannot_be_drawn_by_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(NetmorphError, match="weights of proposals must be 0 or more, and one of them above 0"):
        Mutation(proposals=tuple(Weighted(nothing, weight) for weight in weights))


@dataclass(frozen=True)
class Narrow:
    count: int

    def __call__(self, graph: Graph, generator: np.random.Generator) -> Edit | None:
        return None


def test_a_mutation_comes_back_from_json_with_what_is_given_again() -> None:
    own = (narrow_a_little, Narrow(2))
    mutation = Mutation(edits=3, proposals=exact(growth=2.0)).adding(own[0], 0.5).adding(own[1])
    told = json.loads(json.dumps(mutation.as_json()))
    assert [entry["name"].rpartition(":")[2] for entry in told["proposals"]] == [
        "deepen", "widen", "narrow_a_little", "Narrow",
    ]  # fmt: skip
    assert Mutation.from_json(told, own) == mutation
    for given in ((), own[:1], (own[0], Narrow(3))):
        with pytest.raises(ProposalError, match=r"never imported\. Give it again: --proposal .*test_mutation:"):
            Mutation.from_json(told, given)


def test_the_mutation_of_a_run_of_before_there_were_proposals() -> None:
    told = {"edits": 5, "locality": 0.1, "growth": 1.5, "deepen": 0.0, "tries": 3}
    assert Mutation.from_json(told) == Mutation(5, 0.1, exact(deepen=0.0, growth=1.5), 3)


def test_what_workers_cannot_find_is_refused() -> None:
    for proposal in (lambda graph, generator: None, partial(Widen(), growth=3.0)):
        with pytest.raises(ProposalError, match="worker processes can find by its name"):
            Mutation().adding(proposal).as_json()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("widen", "is named module:function, got 'widen'"),
        ("nowhere:widen", "No module named 'nowhere'"),
        ("math:widen", "has no attribute 'widen'"),
        ("math:pi", "is float, not a function"),
    ],
)
def test_a_name_that_leads_nowhere_is_explained(name: str, message: str) -> None:
    with pytest.raises(ProposalError, match=message):
        found(name)
    assert found("math:sqrt") is math.sqrt


def test_a_network_of_which_no_child_would_differ_is_refused_with_the_reasons() -> None:
    linear = trace(nn.Linear(3, 2), torch.ones(2, 3))
    with pytest.raises(NetmorphError, match=r"nothing in Linear can be edited.*all its 2 groups .* the model's output"):
        check_editable(linear, np.random.default_rng(0), Mutation())
    with pytest.raises(NetmorphError, match=r"2 of its 4 groups may change, but no edit fits \(locality 1e-09\)"):
        check_editable(graph(), np.random.default_rng(0), Mutation(locality=1e-9))
    check_editable(graph(), np.random.default_rng(0), Mutation())
