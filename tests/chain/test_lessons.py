"""Layers that learn: copies do, the bank stays, what is found is found again, and memory is kept."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import nn

from netmorph.bank import Bank, Kind
from netmorph.chain import (
    AGENTS,
    EMPTY,
    MODES,
    REWARDS,
    SOLVED,
    Chain,
    ChainError,
    DetachedLayers,
    Lesson,
    MemoryLimit,
    Record,
    Steps,
    Trials,
    assembled,
    in_turn,
    lineage,
    looking,
    search,
    seen_in,
    teaching,
)
from netmorph.chain.lessons import taught
from netmorph.data import Dataset
from netmorph.solve import one_hot
from tests.chain.small_bank import bank_of_digits, digits
from tests.chain.toy_chains import Planted

FEW = Steps(3, 32)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return digits()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return bank_of_digits(tmp_path_factory.mktemp("bank"))


@pytest.fixture
def bank(filled: Bank) -> Iterator[Bank]:
    """As it was filled; what a test puts in is taken out."""
    ids = {entry.id for entry in filled.entries()}
    yield filled
    assert ids <= {entry.id for entry in filled.entries()}
    for entry in filled.entries():
        if entry.id not in ids:
            filled.remove(entry.id)


def problem_of(bank: Bank, dataset: Dataset, *, memory: int = 2**28, empty: int = 9) -> DetachedLayers:
    sizes = {"samples": 200, "choice": 100, "memory": memory, "empty": empty}
    return DetachedLayers(bank, dataset, entries=bank.entries()[:8], longest=3, stitches=True, **sizes)


def of_two(problem: DetachedLayers) -> Record:
    """A way in and a random layer behind it, judged."""
    random = next(id for id, entry in problem.entries.items() if entry.kind is Kind.RANDOM)
    chain = Chain((problem.layers[0], random), SOLVED)
    return Record(chain, problem.judge(chain), problem.spent)


def test_copies_learn_and_what_they_are_copied_from_stays(bank: Bank, dataset: Dataset) -> None:
    problem = problem_of(bank, dataset)
    record = of_two(problem)
    ids, before = record.chain.layers, problem.spent

    learnt = taught(problem, record, FEW)

    for id, piece in zip(ids, learnt.pieces, strict=True):
        kept, own = bank.load(id).state_dict(), problem.attacher.piece(id).state_dict()
        assert all(torch.equal(kept[name], own[name]) for name in kept)
        assert any(not torch.equal(kept[name], tensor) for name, tensor in piece.state_dict().items())
    assert problem.spent - before >= 3 * 3 * 32 * record.outcome.flops


def test_the_first_look_sees_the_gradient_of_the_chain(bank: Bank, dataset: Dataset) -> None:
    problem = problem_of(bank, dataset)
    record = of_two(problem)
    everything = Steps(1, batch=len(problem.labelled[0]))

    seen = taught(problem, record, everything).gradients

    pieces = [bank.load(id).requires_grad_(True) for id in record.chain.layers]
    inputs, labels = problem.labelled
    answers = nn.Sequential(*pieces, problem.answering(record.chain))(inputs)
    (answers - one_hot(labels, 10).float()).square().sum(1).mean().backward()
    for piece, one in zip(pieces, seen, strict=True):
        for name, weight in piece.named_parameters():
            torch.testing.assert_close(one.slope[name], weight.grad)
            torch.testing.assert_close(one.importance[name], (weight * weight.grad).abs())


def test_a_lesson_lowers_the_loss_of_what_it_learnt_on(bank: Bank, dataset: Dataset) -> None:
    problem = problem_of(bank, dataset)
    record = of_two(problem)

    pieces = taught(problem, record, Steps(40)).pieces

    inputs, labels = problem.labelled
    answering = problem.answering(record.chain)
    wanted = one_hot(labels, 10).float()
    with torch.no_grad():
        before, after = (
            float((nn.Sequential(*layers, answering)(inputs) - wanted).square().sum(1).mean())
            for layers in (list(problem.modules(record.chain.layers)), pieces)
        )
    assert after < 0.97 * before


def test_a_step_keeps_to_the_memory(bank: Bank, dataset: Dataset) -> None:
    problem = problem_of(bank, dataset)
    record = of_two(problem)
    taught(problem, record, FEW)
    enough = 300 * 4 * 64 * 4 * 2  # the features of two layers

    small = problem_of(bank, dataset, memory=enough)
    taught(small, record, FEW)

    assert small.cache.counts.most <= enough
    with pytest.raises(MemoryLimit, match=r"a step of gradients on 64000 samples through 2 layers takes .* give more"):
        taught(small, record, Steps(1, 64000))


def test_lessons_make_new_layers_that_remember_their_parents(bank: Bank, dataset: Dataset) -> None:
    problem = problem_of(bank, dataset)
    trials = Trials(problem, 9, study=in_turn(looking(problem, FEW), teaching(problem, 2, FEW)))

    records = search(AGENTS["local"](REWARDS["end"]), trials)

    assert len(records) == 9
    assert [number for number, record in enumerate(records, 1) if record.lesson] == [3, 6]
    for number, record in enumerate(records):
        if record.lesson is None:
            continue
        assert records[number + 1].chain == record.lesson.copies  # judged at once
        best = max(records[: number + 1], key=lambda one: -one.outcome.loss)
        assert record.lesson.chain == best.chain
        for id, copy in zip(record.lesson.chain.layers, record.lesson.copies.layers, strict=True):
            assert bank.entry(copy).parent == id
            assert copy in problem.layers
    seen = [record for record in records if record.gradients]
    assert all(len(record.gradients) == len(record.chain.layers) for record in seen)
    assert problem.descriptions[problem.layers.index(seen[-1].chain.layers[0]), -4] == 1
    by_index = seen_in(problem, seen[-1:], FEW)
    assert list(by_index) == [(id, place) for place, id in enumerate(seen[-1].chain.layers)]


def test_a_search_with_lessons_goes_on_where_it_was(bank: Bank, dataset: Dataset) -> None:
    whole = searched(bank, dataset, ())
    entries = bank.entries()

    again = searched(bank, dataset, whole[:4])

    assert [replace(record, spent=0) for record in again] == [replace(record, spent=0) for record in whole]
    assert bank.entries() == entries


def searched(bank: Bank, dataset: Dataset, known: tuple[Record, ...] | list[Record]) -> list[Record]:
    problem = problem_of(bank, dataset)
    study = in_turn(looking(problem, FEW), teaching(problem, 2, FEW))
    read = [Record.from_json(record.as_json()) for record in known]
    return search(AGENTS["tree"](REWARDS["end"]), Trials(problem, 9, known=read, study=study), seed=1)


CHANGED = {
    "never": set(),
    "after": {"layer1", "layer2", "head"},
    "after-stitches": {"layer2", "head"},
    "searching": set(),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode(bank: Bank, dataset: Dataset, name: str) -> None:
    mode = MODES[name]
    problem = problem_of(bank, dataset, empty=mode.empty(3))
    records = search(AGENTS["random"](REWARDS["end"]), Trials(problem, 4, study=mode.study(problem)))
    layers = problem_of(bank, dataset).layers
    chain = Chain((layers[0], layers[3]), SOLVED)  # of another shape: behind a stitch
    network, links = assembled(problem, chain, dataset), lineage(problem, chain)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}

    flops = mode.finish(network, links, dataset)

    assert len(records) == 4
    assert any(record.lesson for record in records) == (name == "searching")
    changed = {
        key.partition(".")[0] for key, tensor in network.state_dict().items() if not torch.equal(tensor, before[key])
    }
    assert changed == CHANGED[name]
    piece = [torch.equal(tensor, before[f"layer2.1.{key}"]) for key, tensor in network.layer2[1].state_dict().items()]
    assert all(piece) == (name != "after")
    assert (flops > 0) == name.startswith("after")
    assert flops == mode.flops(network, links, dataset)
    assert not any(module.training for module in network.modules())
    assert all(weight.requires_grad for weight in network.parameters())


def test_there_are_only_so_many_places(bank: Bank, dataset: Dataset) -> None:
    problem = problem_of(bank, dataset, empty=1)
    trials = Trials(problem, 9, study=teaching(problem, 4, Steps(1, 16)))

    with pytest.raises(ChainError, match="there is no empty place"):
        search(AGENTS["random"](REWARDS["end"]), trials)


class Growing(Planted):
    """One place is empty; who fills it makes the best layer there is."""

    def __init__(self) -> None:
        super().__init__(planted=("new", "down", "b1"))
        self.layers = (EMPTY, *self.layers[1:])

    def allowed(self, prefix: tuple[str, ...]) -> tuple[bool, ...]:
        fits = super().allowed(prefix)
        return (len(prefix) < self.longest and "down" not in prefix and EMPTY not in self.layers, *fits[1:])

    def note(self, record: Record) -> None:
        if record.lesson is not None:
            self.layers = ("new", *self.layers[1:])


def one_lesson(trials: Trials, record: Record) -> Record:
    if len(trials.records) != 20:
        return record
    return replace(record, lesson=Lesson(record.chain, Chain(("new",), SOLVED)))


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "ppo")) for name in AGENTS])
def test_every_agent_takes_layers_that_come_while_it_searches(name: str) -> None:
    if name == "ppo":
        pytest.importorskip("sb3_contrib")
    trials = Trials(Growing(), 120, study=one_lesson)

    records = search(AGENTS[name](REWARDS["end"]), trials, seed=2)

    chains = [record.chain for record in records]
    assert len(set(chains)) == len(chains)
    assert chains[21] == Chain(("new",), SOLVED)
    assert any("new" in chain.layers for chain in chains[22:])
