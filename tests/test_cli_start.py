"""The program answers questions about itself before it imports what takes seconds."""

import subprocess
import sys

import pytest
import typer

import netmorph
from netmorph.cli.app import app

COMMANDS = [*typer.main.get_command(app).commands, "ranks study"]

ASK = """
import sys
from netmorph import cli

sys.argv = ["netmorph", *sys.argv[1:]]
try:
    cli.main()
finally:
    slow = sorted({"torch", "numpy", "matplotlib", "pyarrow", "sklearn"} & sys.modules.keys())
    assert not slow, f"imported {slow}"
"""


def asked(*words: str) -> subprocess.CompletedProcess[str]:
    """What the program answers, if nothing slow was imported."""
    return subprocess.run([sys.executable, "-c", ASK, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words", [["--help"], ["-h"], *([*command.split(), "--help"] for command in COMMANDS)], ids=" ".join
)
def test_help_is_told_without_pytorch(words: list[str]) -> None:
    answer = asked(*words)

    assert (answer.returncode, answer.stderr) == (0, "")
    assert "Usage" in answer.stdout


def test_the_version_is_told_without_pytorch() -> None:
    answer = asked("--version")

    assert (answer.returncode, answer.stderr, answer.stdout) == (0, "", f"netmorph {netmorph.__version__}\n")


def test_a_misspelt_option_is_told_without_pytorch() -> None:
    answer = asked("evolve", "--populaton", "3")

    assert answer.returncode == 2
    assert "No such option" in answer.stderr
    assert "imported" not in answer.stderr


def test_it_runs_as_a_module() -> None:
    answer = subprocess.run([sys.executable, "-m", "netmorph", "--version"], capture_output=True, text=True, check=True)

    assert answer.stdout.startswith("netmorph ")
