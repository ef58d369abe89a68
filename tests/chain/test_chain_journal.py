"""What a search keeps, line by line."""

from pathlib import Path

import pytest
import torch

from netmorph.chain import Chain, ChainError, Outcome, Record, TreeSearch, Trials, search
from netmorph.chain.journal import Journal
from tests.chain.toy_chains import Planted


def searched(journal: Journal, budget: int) -> tuple[list[Record], Planted]:
    problem = Planted()
    trials = Trials(
        problem,
        budget,
        known=list(journal.records),
        states=journal.states,
        on_record=journal.add_record,
        on_state=journal.add_state,
    )
    return search(TreeSearch(), trials), problem


def test_a_search_goes_on_from_its_file(tmp_path: Path) -> None:
    whole, _ = searched(Journal(tmp_path / "whole.jsonl"), 40)
    searched(Journal(tmp_path / "killed.jsonl"), 25)
    with (tmp_path / "killed.jsonl").open("ab") as file:
        file.write(b'{"chain": {"layers": ["a')  # what a killed process leaves

    journal = Journal(tmp_path / "killed.jsonl")
    again, problem = searched(journal, 40)

    assert again == whole
    assert len(problem.judged) == 15
    read = Journal(tmp_path / "killed.jsonl")
    assert read.records == whole
    assert all(torch.equal(state, Planted().state(prefix)) for prefix, state in read.states.items())


def test_a_damaged_line_is_told(tmp_path: Path) -> None:
    file = tmp_path / "tree.jsonl"
    Journal(file).add_record(Record(Chain((), "solved"), Outcome(0.5, 0.5, 1, 1), 1))
    file.write_text(file.read_text() + '{"chain": 3}\n')

    with pytest.raises(ChainError, match="damaged in line 2"):
        Journal(file)
