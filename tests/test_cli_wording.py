"""What Python's messages say, in the words of the command line."""

import sys

import pytest

from netmorph.cli.wording import in_options
from tests.program import Program


@pytest.mark.parametrize(
    ("python", "typed"),
    [
        ("batch_size must be at least 1, got 0", "--batch-size must be at least 1, got 0"),
        ("epochs must be at least 1", "--epochs must be at least 1"),
        ("Raise batch_size, lower accumulate, or take", "Raise --batch-size, lower --accumulate, or take"),
        ("Try accumulate=4 (the same), bf16, a lower width", "Try --accumulate 4 (the same), --bf16, a lower --width"),
        ("to read it as text, take task='text'", "to read it as text, take --task text"),
        ("resized to the median, size=(12, 16). Give", "resized to the median, --resize 12x16. Give"),
        ("leave compile out, or see", "leave --compile out, or see"),
        ("missing='mean' puts it", "--missing mean puts it"),
        ("take task='text' (--task text)", "take --task text"),
        ("the column 'batch_size' of /data/train_size/x.csv", "the column 'batch_size' of /data/train_size/x.csv"),
        ("train the data with a task of your own", "train the data with a task of your own"),
        ("--task text; my.batch_size", "--task text; my.batch_size"),
    ],
)
def test_options_have_the_names_that_are_typed(python: str, typed: str) -> None:
    assert in_options(python) == typed


def test_the_spelling_that_was_used_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ("--lr", "--learning-rate"):
        monkeypatch.setattr(sys, "argv", ["netmorph", "train", f"{given}=0"])
        assert in_options("learning_rate must be above 0") == f"{given} must be above 0"


def test_options_of_other_commands_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for command, told in (("groups", "--input"), ("evolve", "input_shape"), ("report", "input_shape")):
        monkeypatch.setattr(sys, "argv", ["netmorph", command])
        assert in_options("its input_shape is wrong") == f"its {told} is wrong"


def test_options_of_a_command_of_commands_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, told in ((["ranks", "study"], "--train-size"), (["show", "study"], "train_size")):
        monkeypatch.setattr(sys, "argv", ["netmorph", *given])
        assert in_options("its train_size is wrong") == f"its {told} is wrong"


def test_the_program_tells_it(netmorph: Program) -> None:
    assert netmorph("train", "--lr", "0").err.startswith("Error: --lr must be above 0")


def test_commands_are_listed_in_the_order_of_a_days_work(netmorph: Program) -> None:
    text = netmorph("-h").out.partition("Commands")[2]
    commands = ["groups", "lr-find", "train", "evolve", "show", "report", "export", "ranks", "reproduce"]
    listed = [
        word for line in text.splitlines() if (words := line.strip("│ ").split()) and (word := words[0]) in commands
    ]
    assert listed == commands
