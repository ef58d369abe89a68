"""One shape for all commands: names of options, folders of any kind, JSON as documented, exit codes, Ctrl-C."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from netmorph.cli import networks
from netmorph.cli.app import app
from netmorph.cli.ending import ExitCode
from netmorph.kinds import VIEWS
from netmorph.run.folders import Kind, kind_of
from tests.documented import check_documented
from tests.made_folders import MAKERS
from tests.program import Program

# What is spelled alike wherever it is.
COMMON = ("data", "model", "budget", "seed", "device", "threads", "workers", "output", "resume")
WITHOUT_JSON = ("demo", "watch")  # a tour, and a page: they find nothing out


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if not isinstance(command, typer.core.TyperGroup):
        yield " ".join(words), command
        return
    for name, inner in command.commands.items():
        yield from leaves(inner, (*words, name))


COMMANDS = dict(leaves(typer.main.get_command(app)))


@pytest.fixture(name="folder")
def folder_(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    MAKERS[request.param](tmp_path / "run")
    return Path("run")


every_kind = pytest.mark.parametrize("folder", [*Kind], indirect=True)


def test_options_have_the_same_names() -> None:
    for name, command in COMMANDS.items():
        options = {option.name: option for option in command.params if option.param_type_name == "option"}
        assert all(options[common].opts[0] == f"--{common}" for common in COMMON if common in options), name
        assert ("as_json" in options) == (name not in WITHOUT_JSON), name


def test_every_kind_has_its_view() -> None:
    assert VIEWS.keys() == MAKERS.keys() == {*Kind}


@every_kind
def test_a_folder_of_any_kind_is_shown(folder: Path, netmorph: Program) -> None:
    kind = kind_of(folder)
    assert kind is not None

    shown = netmorph("show", str(folder))
    told = netmorph("show", str(folder), "--json")

    assert (shown.code, shown.err, told.code, told.err) == (0, "", 0, "")
    assert f"run: {json.loads(told.out)['status']}" in shown.out
    check_documented(json.loads(told.out))
    assert json.loads(told.out)["kind"] == kind


@pytest.mark.parametrize("folder", [Kind.TRAIN], ids=str, indirect=True)
def test_one_network_of_a_run_is_told(folder: Path, netmorph: Program) -> None:
    told = netmorph("show", f"{folder}:1", "--json")

    assert told.code == 0, told.err
    check_documented(json.loads(told.out))


@every_kind
def test_other_commands_say_what_to_do_with_a_folder(folder: Path, netmorph: Program) -> None:
    kind = kind_of(folder)
    assert kind is not None
    other = "train" if kind is not Kind.TRAIN else "shrink"

    refused = netmorph(other, "--resume", str(folder))
    assert refused.code == ExitCode.FAILED
    goes_on = f"{kind.command} run" if kind is Kind.EXTENSION else f"{kind.command} --resume run"
    assert goes_on in refused.err


@pytest.mark.parametrize("folder", [Kind.SHRINK], ids=str, indirect=True)
def test_what_is_for_evolutions_alone(folder: Path, netmorph: Program) -> None:
    listed = netmorph("show", str(folder), "--all")
    watched = netmorph("watch", str(folder))
    served = netmorph("watch", str(folder), "--port", "8000")
    taken = netmorph("reproduce", "cnn-tutorial", "--output", str(folder))

    assert (watched.code, watched.err, watched.out.count("run: finished")) == (0, "", 1)
    assert (served.code, "--port cannot be given with run: it is shown" in served.err) == (ExitCode.WRONG_USE, True)
    goes_on = "run is not an empty folder; go on with netmorph shrink --resume run, or choose another"
    assert (taken.code, goes_on in taken.err) == (ExitCode.FAILED, True)
    assert (listed.code, "run is of netmorph shrink" in listed.err) == (ExitCode.WRONG_USE, True)


@pytest.mark.parametrize("folder", [Kind.EXTENSION], ids=str, indirect=True)
def test_a_page_is_written_again(folder: Path, netmorph: Program) -> None:
    written = netmorph("report", str(folder), "--output", "again.html", "--json")

    assert (written.code, "Report: again.html" in written.err) == (0, True)
    assert json.loads(written.out)["report"] == "again.html"
    check_documented(json.loads(written.out))
    assert "<table" in Path("again.html").read_text()


@pytest.mark.parametrize("folder", [Kind.NEIGHBOURS, Kind.CHAIN, Kind.RANKS, Kind.REPRODUCE], ids=str, indirect=True)
def test_where_there_is_no_page_yet_it_is_told_how_to_get_one(folder: Path, netmorph: Program) -> None:
    kind = kind_of(folder)
    assert kind is not None

    refused = netmorph("report", str(folder))

    assert refused.code == ExitCode.FAILED
    assert f"go on with {kind.command} --resume run, or see netmorph show run" in refused.err


@pytest.mark.parametrize("folder", [Kind.NEIGHBOURS, Kind.EXTENSION], ids=str, indirect=True)
def test_a_folder_without_curves_says_so(folder: Path, netmorph: Program) -> None:
    refused = netmorph("plot", str(folder))

    assert (refused.code, "and has no curves; netmorph report run" in refused.err) == (ExitCode.FAILED, True)


def test_json_is_as_documented(netmorph: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    done = netmorph(*"look filters mlp --layer fc1 --input 1x2x2 --json".split())

    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["schema"] == 1
    check_documented(told)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("nothing", ExitCode.WRONG_USE),
        ("bank list --no-such-option", ExitCode.WRONG_USE),
        ("evolve --budget 10", ExitCode.WRONG_USE),
        ("evolve --weights borrowed", ExitCode.WRONG_USE),
        ("train --task mine:own", ExitCode.WRONG_USE),
        ("train --data nowhere.csv", ExitCode.FAILED),
        ("train --resize -8x8", ExitCode.WRONG_USE),
        ("train --train-size 0", ExitCode.WRONG_USE),
        ("train --grow wider", ExitCode.WRONG_USE),
        ("evolve --max-flops -4", ExitCode.WRONG_USE),
        ("groups lenet6", ExitCode.FAILED),
        ("shrink", ExitCode.WRONG_USE),
        ("shrink mlp --to 50", ExitCode.WRONG_USE),
        ("shrink mlp --data digits --by rank --device abacus", ExitCode.FAILED),
        ("shrink --resume nowhere", ExitCode.FAILED),
        ("neighbours", ExitCode.WRONG_USE),
        ("neighbours mlp --data digits --device abacus", ExitCode.FAILED),
        ("chain --data digits --budget 200", ExitCode.WRONG_USE),
        ("chain --data digits --agent three", ExitCode.WRONG_USE),
        ("chain --data digits --device abacus", ExitCode.FAILED),
        ("chain --data nowhere.csv --extend nowhere", ExitCode.FAILED),
        ("ranks study --networks 2", ExitCode.WRONG_USE),
        ("ranks study --resume nowhere", ExitCode.FAILED),
        ("reproduce", ExitCode.WRONG_USE),
        ("reproduce --resume nowhere", ExitCode.FAILED),
        ("groups lenet5 --option width", ExitCode.WRONG_USE),
        ("draw mlp --against mlp --edit 1", ExitCode.WRONG_USE),
        ("draw mlp --output mlp.gif", ExitCode.WRONG_USE),
        ("look filters mlp --output mlp.png", ExitCode.WRONG_USE),
        ("export mlp", ExitCode.WRONG_USE),
        ("look saliency mlp", ExitCode.WRONG_USE),
        ("look classes mlp --data nowhere", ExitCode.FAILED),
        ("bank show", ExitCode.WRONG_USE),
        ("show nowhere", ExitCode.FAILED),
        ("report nowhere", ExitCode.FAILED),
        ("plot run --list --x flops", ExitCode.WRONG_USE),
        ("demo nowhere", ExitCode.WRONG_USE),
    ],
)
def test_exit_codes(
    line: str, code: ExitCode, netmorph: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    done = netmorph(*line.split())

    assert (done.code, done.out) == (code, ""), done.err
    assert done.err
    assert not list(tmp_path.iterdir())


def test_an_interrupt_ends_any_command(netmorph: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(networks, "_traced", interrupted)

    done = netmorph("groups", "lenet5")

    assert (done.code, done.out, done.err) == (ExitCode.INTERRUPTED, "", "\nInterrupted.\n")
