"""A proposal of the user's own, from its module to the records of an evolution, through worker processes."""

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from netmorph import session
from netmorph.errors import NetmorphError
from netmorph.policy import Mutation, Proposal, Weighted, exact
from netmorph.policy.proposals import ProposalError
from netmorph.run.budget import Budget
from netmorph.run.config import EvolveConfig
from netmorph.run.records import Records
from tests.train.tiny import CONFIG

MINE = """
from pathlib import Path

import netmorph

Path(__file__).with_name("imported").touch()


def narrow_somewhere(graph, generator):
    group = list(graph.groups.values())[generator.integers(len(graph.groups))]
    return netmorph.narrow(graph, group.name, range(group.size - 1))


def broken(graph, generator):
    return "widen"
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of the user's, importable until the test ends."""
    (tmp_path / "my_proposals.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_proposals", None)


def own(name: str = "narrow_somewhere") -> Proposal:
    proposal: Proposal = getattr(importlib.import_module("my_proposals"), name)
    return proposal


def config(*proposals: Weighted) -> EvolveConfig:
    mutation = Mutation(proposals=(*exact(), *proposals))
    return replace(CONFIG, founders=1, budget=Budget(rounds=1), mutation=mutation)


def test_an_own_proposal_reaches_the_workers_and_a_run_goes_on_when_it_is_given_again(mine: Path) -> None:
    folder = session.create(mine / "run", config(Weighted(own(), 5.0)), "")
    (mine / "imported").unlink()
    del sys.modules["my_proposals"]

    with pytest.raises(ProposalError, match=r"my_proposals:narrow_somewhere of your own, .*never imported"):
        session.evolve(folder, 1, lambda progress: None)
    assert not (mine / "imported").exists()

    session.evolve(folder, 1, lambda progress: None, proposals=[own()])
    with Records.open(folder) as records:
        edits = [edit for network in records.networks() for edit in network.edits]
        assert not any(network.failure for network in records.networks())
    assert "narrow keep" in {edit.kind for edit in edits}
    assert all(edit.after == edit.before - 1 for edit in edits if edit.kind == "narrow keep")

    session.extend(folder, Budget(rounds=2), [own()])
    assert session.begun_with(folder, EvolveConfig, [own()]).budget == Budget(rounds=2)


@pytest.mark.usefixtures("mine")
def test_what_cannot_be_proposed_leaves_no_folder(tmp_path: Path) -> None:
    for proposal, message in (
        (own("broken"), "returned str; a proposal returns an edit"),
        (lambda graph, generator: None, "worker processes can find by its name"),
    ):
        with pytest.raises(NetmorphError, match=message):
            session.create(tmp_path / "run", config(Weighted(proposal, 1.0)), "")
        assert not (tmp_path / "run").exists()
