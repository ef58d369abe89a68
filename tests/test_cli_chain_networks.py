"""What becomes of a chain that was found: further classes, and whatever other networks are good for."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import netmorph as nm
from netmorph import chaining
from netmorph.chain import SOLVED, Chain, Kept, assembled_and_learnt
from netmorph.chain.learnt import KEPT
from netmorph.cli.given import check_same_chain, start
from netmorph.data import Dataset
from netmorph.edit import Base
from netmorph.errors import NetmorphError
from netmorph.run.budget import Budget
from netmorph.run.config import DataConfig
from netmorph.run.records import Records
from tests.chain.small_bank import bank_of_digits, digits
from tests.program import Program
from tests.train import tiny


def written(path: Path, dataset: Dataset, labels: range) -> str:
    """The digits of these classes as a file; labels stay what they are."""
    arrays = {}
    for end, part in (("", dataset.train), ("_validation", dataset.validation), ("_test", dataset.test)):
        kept = torch.isin(part.targets, torch.tensor(list(labels)))
        arrays[f"x{end}"], arrays[f"y{end}"] = part.inputs[kept].numpy(), part.targets[kept].numpy()
    np.savez(path, **arrays)
    return str(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two halves of the digits, a bank, and a chain for the first half."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("chains")
    bank_of_digits(folder / "bank")
    low = DataConfig(written(folder / "low.npz", digits(), range(5)))
    written(folder / "high.npz", digits(), range(5, 10))
    dataset = low.load()
    config = chaining.ChainConfig(bank=str(folder / "bank"), data=low, longest=2, samples=120, choice=60)
    problem = chaining.problem_of(chaining.create(folder / "low", config, dataset), dataset)
    network, learnt = assembled_and_learnt(problem, Chain(problem.layers[:1], SOLVED), dataset)
    Kept.of(network, dataset, learnt).save(folder / "low" / KEPT)  # as `chaining.run` does, without a search and a page
    return folder


@pytest.fixture
def ask(root: Path, netmorph: Program, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """What a command prints that goes well, or why it does not."""
    monkeypatch.chdir(root)

    def asked(line: str) -> str:
        done = netmorph(*line.split())
        assert (done.code == 0) == (not done.err), (done.code, done.err)
        return " ".join((done.err or done.out).split())

    return asked


def test_a_chain_learns_further_classes(root: Path, ask: Callable[[str], str]) -> None:
    told = ask("chain --extend low --data high.npz --output both --threads 1")

    assert "New classes: 5, 6, 7, 8, 9; 10 in all" in told
    found = json.loads((root / "both" / "result.json").read_text())
    assert found["test_accuracy"] > 0.9
    assert [test["data"] for test in found["tests"]] == ["low.npz", "high.npz"]
    assert all(test["accuracy"] > 0.9 for test in found["tests"])
    assert "head 10 2 no" in ask("groups both")

    again = ask("chain --extend both --data high.npz --seed 1")
    assert "was solved from the data high.npz already" in again, "another split would learn samples of the test"
    (root / "low.npz").rename(root / "elsewhere.npz")
    told = ask("chain --extend both --data digits --output more --threads 1")
    (root / "elsewhere.npz").rename(root / "low.npz")
    assert "New classes: none; 10 in all" in told
    assert "Not tested on" in told
    assert "low.npz" in told


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--extend low", "give --data"),
        ("--extend nothing --data digits", "nothing keeps no chain"),
        ("--extend low --data digits --resize 6x6", "takes inputs of shape 1x8x8, and those of digits are 1x6x6"),
        ("--extend low --data diabetes", "choose data whose samples have one class each"),
        ("--extend low --data high.npz --output low", "low is not an empty folder"),
        ("--extend low --data high.npz --agent tree", "--agent cannot be given with --extend"),
        ("--extend old --data high.npz", "there is no chain.safetensors; give the folder of a search that came to its"),
    ],
)
def test_what_cannot_be_extended_is_told(root: Path, ask: Callable[[str], str], line: str, reason: str) -> None:
    (root / "old").mkdir(exist_ok=True)  # of a search that goes on, or of an earlier version
    (root / "old" / "chain.json").write_text((root / "low" / "chain.json").read_text())

    assert reason in ask(f"chain {line}")


def test_a_run_goes_on_with_its_own_chain(root: Path, tmp_path: Path) -> None:
    (tmp_path / KEPT).write_bytes((root / "low" / KEPT).read_bytes())
    _, arguments = start(str(root / "low"), {})

    check_same_chain(str(root / "low"), arguments)
    check_same_chain(None, arguments)
    with pytest.raises(NetmorphError, match=f"goes on with it; got {tmp_path}"):
        check_same_chain(str(tmp_path), arguments)


def test_its_network_is_edited_saved_exported_and_evolves(
    root: Path, ask: Callable[[str], str], tmp_path: Path
) -> None:
    name, arguments = start(str(root / "low"), {})
    assert name is not None
    dataset = DataConfig(str(root / "low.npz")).load()
    base = Base(name, {"input_shape": list(dataset.input_shape), "classes": dataset.outputs, **arguments})
    inputs = dataset.preparation(dataset.test.head(20), torch.zeros(()))

    # edited: wider, narrower
    graph = nm.trace(base.build().eval(), inputs)
    before = graph.model(inputs)
    group = graph.groups[graph.editable()[0].name]
    graph = nm.apply(graph, nm.widen(graph, group.name, to=group.size + 3))
    assert (graph.model(inputs) - before).abs().max() < 1e-4
    graph = nm.apply(graph, nm.narrow(graph, group.name, range(group.size)))
    assert graph.groups[group.name].size == group.size
    graph = nm.apply(graph, nm.widen(graph, group.name, to=group.size + 2))

    # saved, and read by those who name the function that builds it
    nm.save(tmp_path / "edited.safetensors", graph.model, graph.journal, base)
    again, _ = nm.load(tmp_path / "edited.safetensors", base.build)
    assert torch.equal(again.eval()(inputs), graph.model(inputs))
    assert f"{group.name} {group.size + 2}" in ask(f"groups {tmp_path / 'edited.safetensors'} --base low")

    # exported, and in a bank
    assert "import load from it" in ask(f"export {tmp_path / 'edited.safetensors'} --base low --code edited.py")
    assert "layers in the bank again" in ask("bank add low --bank again")

    # a member of an evolution's population, whose best go into a bank
    config = replace(
        tiny.CONFIG, data=DataConfig(str(root / "low.npz")), model=name, options=arguments, budget=Budget(rounds=1)
    )
    tiny.run(tmp_path / "evolved", replace(config, founders=1, children=2, population=1))
    with Records.open(tmp_path / "evolved") as records:
        evolved = [network for network in records.networks("evolve") if network.score is not None]
    assert evolved[0].score > 0.8  # the founder, in an epoch or two
    assert len(evolved) > 1
    best = max(evolved, key=lambda network: network.score)
    told = ask(f"bank add {tmp_path / 'evolved'} --name population --best 1 --base low --bank best")
    assert f"population:{best.id}: layer1" in told
    assert "networks; 99 were asked for" in ask(f"bank add {tmp_path / 'evolved'} --best 99 --base low --bank best")
    assert "--best chooses among the networks of a run" in ask("bank add lenet5 --best 2 --bank best")
