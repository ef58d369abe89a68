"""The problem of a bank and a data set, against networks that are put together by hand."""

from pathlib import Path

import pytest
import torch
from torch import nn

import netmorph
from netmorph import data
from netmorph.bank import Bank, BankError, CannotAttach, EntryError, Kind
from netmorph.chain import (
    AGENTS,
    REWARDS,
    SOLVED,
    Chain,
    ChainError,
    DetachedLayers,
    LocalSearch,
    MemoryLimit,
    Named,
    Seen,
    Trials,
    assembled,
    lineage,
    search,
)
from netmorph.data import Dataset
from netmorph.measure.cost import cost
from netmorph.train.evaluation import evaluate
from netmorph.train.inputs import examples
from tests.chain.small_bank import bank_of_digits, digits


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return digits()


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return bank_of_digits(tmp_path_factory.mktemp("bank"))


def problem_of(bank: Bank, dataset: Dataset, *, samples: int = 200, stitches: bool = False) -> DetachedLayers:
    return DetachedLayers(bank, dataset, longest=3, samples=samples, choice=100, stitches=stitches)


def home(bank: Bank) -> tuple[tuple[str, ...], str]:
    """The layers of the network in the bank, and its end."""
    *layers, end = bank.entries(network="net")
    return tuple(entry.id for entry in layers), end.id


def test_only_what_takes_the_features_is_allowed(bank: Bank, dataset: Dataset) -> None:
    problem = problem_of(bank, dataset)
    actions = problem.layers + problem.ends

    for prefix in ((), problem.layers[:1], home(bank)[0]):
        features = torch.zeros(2, *problem.signature(prefix).shape)
        for action, allowed in zip(actions, problem.allowed(prefix), strict=True):
            assert allowed == (action == SOLVED or takes(bank, action, features)), (prefix, action)
    assert not any(problem.allowed(problem.layers[:1] * 3)[: len(problem.layers)])  # the longest


def takes(bank: Bank, id: str, features: torch.Tensor) -> bool:
    try:
        bank.load(id)(features)
    except RuntimeError:
        return False
    return True


def test_a_network_of_the_bank_is_one_of_the_chains(bank: Bank, dataset: Dataset) -> None:
    problem = problem_of(bank, dataset)
    layers, end = home(bank)

    outcome = problem.judge(Chain(layers, end))
    network = assembled(problem, Chain(layers, end), dataset)

    inputs = examples(dataset, network, 16)
    with torch.no_grad():
        expected = bank.load(end)(bank.load(layers[1])(bank.load(layers[0])(inputs)))
        assert torch.equal(network(inputs), expected)
    assert outcome.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert outcome.flops == cost(network, inputs).flops
    assert [link.network for link in lineage(problem, Chain(layers, end))] == ["net"] * 3


def test_a_solved_chain_is_a_network_like_any_other(bank: Bank, dataset: Dataset, tmp_path: Path) -> None:
    problem = problem_of(bank, dataset, samples=len(dataset.train))
    random = next(entry.id for entry in bank.entries(kind=Kind.RANDOM))
    chain = Chain((problem.layers[0], random), SOLVED)

    outcome = problem.judge(chain)
    network = assembled(problem, chain, dataset)

    inputs = examples(dataset, network, 4)
    assert [name for name, _ in network.named_children()] == ["layer1", "layer2", "readout", "head"]
    assert outcome.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert outcome.flops == cost(network, inputs).flops
    numbers = evaluate(network, dataset.test, dataset).numbers
    assert numbers["accuracy"] > 0.9
    assert numbers["loss"] < 0.5  # its answers are logits, not 0 and 1
    graph = netmorph.trace(network, inputs)
    assert graph.editable()
    written = netmorph.export.write_code(graph, tmp_path / "chained.py")
    assert written.exists()


def test_a_stitch_leads_to_layers_of_another_shape(bank: Bank, dataset: Dataset) -> None:
    layers, _ = home(bank)
    chain = Chain((problem_of(bank, dataset).layers[0], layers[1]), SOLVED)

    with_stitches = problem_of(bank, dataset, stitches=True)

    assert not Trials(problem_of(bank, dataset), 1).fits(chain)
    assert Trials(with_stitches, 1).fits(chain)
    assert with_stitches.judge(chain).accuracy > 0.5
    network = assembled(with_stitches, chain, dataset)
    assert [link.is_stitched for link in lineage(with_stitches, chain)] == [False, True, False]
    assert network(examples(dataset, network, 2)).shape == (2, 10)
    assert with_stitches.attacher.fitting > 0


def test_a_stitch_is_refined_toward_penultimate_features(bank: Bank, dataset: Dataset) -> None:
    layers, _ = home(bank)
    chain = Chain((problem_of(bank, dataset).layers[0], layers[0], layers[1]), SOLVED)  # of another number of channels
    missed, fitting = [], []
    for refining in (0, 20):
        sizes = {"longest": 3, "samples": 200, "choice": 100}
        problem = DetachedLayers(bank, dataset, stitches=True, refining=refining, **sizes)
        inputs = problem.labelled[0]
        pieces = [bank.load(id) for id in layers]
        first, stitched, _ = problem.modules(chain.layers)
        with torch.no_grad():
            wanted = pieces[1](pieces[0](inputs))
            missed.append(float((pieces[1](stitched(first(inputs))) - wanted).square().mean()))
        fitting.append(problem.attacher.fitting)
        assert not any(weight.requires_grad for weight in stitched.parameters())

    assert missed[1] < missed[0]
    assert fitting[1] > fitting[0] + 3 * 20 * 200 * bank.entry(layers[1]).cost.flops


def test_the_cache_changes_nothing_but_the_work(bank: Bank, dataset: Dataset) -> None:
    worths, spent, most = [], [], []
    small = 300 * 4 * 64 * 4 * 2  # the features of two layers
    for memory in (2**30, small):
        problem = DetachedLayers(bank, dataset, longest=3, samples=200, choice=100, memory=memory)
        trials = Trials(problem, 25)
        search(LocalSearch(), trials)
        worths.append([record.outcome for record in trials.records])
        spent.append(problem.spent)
        most.append(problem.cache.counts.most)

    assert worths[0] == worths[1]
    assert spent[0] < spent[1]
    assert most[1] <= small < most[0]


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_runs_on_a_bank(bank: Bank, dataset: Dataset, name: str) -> None:
    if name == "ppo":
        pytest.importorskip("sb3_contrib")
    problem = problem_of(bank, dataset)

    records = search(AGENTS[name](REWARDS["layer"]), Trials(problem, 8))

    assert len(records) == 8
    assert [record.spent for record in records] == sorted({record.spent for record in records})


def test_states_have_one_length(bank: Bank, dataset: Dataset) -> None:
    layers, _ = home(bank)
    for state in (Seen(), Named()):
        problem = DetachedLayers(bank, dataset, longest=3, samples=100, choice=50, state=state)
        states = [problem.state(prefix) for prefix in ((), problem.layers[:1], layers)]

        assert len({len(one) for one in states}) == 1
        assert not torch.equal(states[0], states[1])
        assert all(one.isfinite().all() for one in states)
    assert problem.cache.counts.layers == 0  # by name nothing has to be run


def test_what_is_wrong_is_said(bank: Bank, dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(BankError, match="there is no bank"):
        DetachedLayers(Bank(tmp_path / "nothing"), dataset)
    with pytest.raises(BankError, match="the bank is empty"):
        DetachedLayers(bank, dataset, entries=[])
    with pytest.raises(CannotAttach, match="Bring the data to one of these shapes"):
        DetachedLayers(bank, data.load("diabetes", task="classification", target="sex"))
    with pytest.raises(ChainError, match="choose data whose samples have one class each"):
        DetachedLayers(bank, data.load("diabetes"))
    with pytest.raises(ChainError, match="longest must be at least 1, got 0"):
        DetachedLayers(bank, dataset, longest=0)
    with pytest.raises(ChainError, match="the budget is a number of distinct chains"):
        Trials(problem_of(bank, dataset), 0)
    with pytest.raises(ChainError, match="does not fit where it stands"):
        Trials(problem_of(bank, dataset), 9).worth(Chain(problem_of(bank, dataset).layers[:2], SOLVED))
    problem = DetachedLayers(bank, dataset, samples=200, choice=100, memory=10_000)
    with pytest.raises(MemoryLimit, match=r"0\.3 MiB .* the limit is 0\.0 MiB; give more memory .*, or fewer samples"):
        problem.judge(Chain(problem.layers[:1], SOLVED))


def test_a_file_that_is_gone_is_named(dataset: Dataset, tmp_path: Path) -> None:
    bank = bank_of_digits(tmp_path / "bank")
    problem = problem_of(bank, dataset)
    next((tmp_path / "bank" / "pieces").glob(f"{problem.layers[0]}*")).unlink()

    with pytest.raises(EntryError, match="is gone"):
        problem.judge(Chain(problem.layers[:1], SOLVED))


def test_a_chain_whose_features_tell_nothing_is_the_worst(dataset: Dataset, tmp_path: Path) -> None:
    bank = Bank(tmp_path / "bank")
    broken = nn.Conv2d(1, 2, 1)
    for number in (0.0, 1e30):
        nn.init.constant_(broken.weight, number)
        nn.init.constant_(broken.bias, number)
        bank.add_whole(broken, torch.randn(2, 1, 8, 8), f"broken {number}")
    problem = problem_of(bank, dataset)

    outcomes = [problem.judge(Chain((layer,), SOLVED)) for layer in problem.layers]

    assert [outcome.accuracy for outcome in outcomes] == [0, 0]
    assert all(outcome.failure for outcome in outcomes)
