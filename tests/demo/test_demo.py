"""The tour: what is shown is what runs."""

import sys
import textwrap
from pathlib import Path

import pytest
from rich.console import Console

from netmorph import demo
from netmorph.errors import MissingExtra, NetmorphError
from tests.program import Program

SCRIPT = '''"""A title

What it is about.
"""

# %% First there is
# a number.
number = 6

# %% Then a file.

from pathlib import Path

Path("made.txt").write_text(str(number * 7))
print("answered")
'''


def written(folder: Path, script: str = SCRIPT) -> demo.Chapter:
    (folder / "own.py").write_text(script)
    return demo.read(folder / "own.py")


def test_a_script_is_cut_into_steps_with_the_lines_that_they_have_in_it(tmp_path: Path) -> None:
    chapter = written(tmp_path)

    assert (chapter.name, chapter.title) == ("own", "A title")
    first, second = chapter.steps
    assert (first.text, first.code) == ("First there is a number.", "number = 6")
    assert second.text == "Then a file."
    for step in chapter.steps:
        assert SCRIPT.splitlines()[step.line - 1 :][: step.code.count("\n") + 1] == step.code.splitlines()


def test_what_is_shown_runs_in_a_folder_that_keeps_the_script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path.cwd()

    demo.tell(written(tmp_path), tmp_path / "tour", Console(width=80))

    told = capsys.readouterr().out
    assert (tmp_path / "tour/made.txt").read_text() == "42"
    assert (tmp_path / "tour/own.py").read_text() == SCRIPT
    words = ("A title", "a number.", "number = 6", "Then a file.", "answered\n", "made.txt, own.py")
    places = [told.index(word) for word in words]
    assert places == sorted(places)
    assert Path.cwd() == before


def test_an_error_tells_the_line_of_the_script(tmp_path: Path) -> None:
    chapter = written(tmp_path, SCRIPT.replace("str(number * 7)", "str(1 / 0)"))

    with pytest.raises(ZeroDivisionError) as raised:
        demo.tell(chapter, tmp_path / "tour", Console(quiet=True))

    (line,) = [entry.lineno for entry in raised.traceback if str(entry.path).endswith("own.py")]
    assert "1 / 0" in (tmp_path / "own.py").read_text().splitlines()[line]  # counted from 0


def test_a_folder_with_files_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "tour").mkdir()
    (tmp_path / "tour/mine.txt").touch()

    with pytest.raises(NetmorphError, match="is not an empty folder; choose another folder"):
        demo.tell(written(tmp_path), tmp_path / "tour", Console(quiet=True))


def test_a_command_that_fails_ends_the_chapter() -> None:
    with pytest.raises(demo.CommandFailed, match="`netmorph --nothing` ended with status 2"):
        demo.shell("netmorph --nothing")


@pytest.mark.parametrize("name", demo.CHAPTERS)
def test_every_chapter_says_what_to_read_and_fits_a_terminal(name: str) -> None:
    chapter = demo.chapter(name)
    documents = [word.strip(".,") for word in chapter.text.split() if word.startswith("docs/")]

    assert documents
    assert all((Path(__file__).parents[2] / document).exists() for document in documents)
    assert all(step.text and step.code for step in chapter.steps)
    assert max(map(len, textwrap.dedent(chapter.file.read_text()).splitlines())) <= 76


def test_the_program_tells_the_chapter_on_surgery(netmorph: Program, tmp_path: Path) -> None:
    done = netmorph("demo", "surgery", "--output", str(tmp_path / "tour"))

    assert (done.code, done.err) == (0, "")
    assert "outputs moved by" in done.out
    assert {path.name for path in (tmp_path / "tour/surgery").iterdir()} >= {
        "surgery.py",
        "plain.py",
        "difference.html",
    }


def test_a_chapter_that_is_not_there_is_told_with_those_that_are(netmorph: Program) -> None:
    done = netmorph("demo", "surgry")

    assert done.code == 2
    assert "no chapter 'surgry' (did you mean 'surgery'?)" in done.err


def test_a_chapter_asks_only_for_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [*demo.NEEDS] == [*demo.CHAPTERS]
    monkeypatch.setitem(sys.modules, "moocore", None)  # as if it were not installed
    demo.check_extras(name for name in demo.CHAPTERS if name != "evolution")
    with pytest.raises(MissingExtra, match=r"needs the package 'moocore'.*'netmorph\[evolve\]'"):
        demo.check_extras(demo.CHAPTERS)


def test_chapters_are_listed(netmorph: Program) -> None:
    done = netmorph("demo", "--list")

    assert [line.split()[0] for line in done.out.splitlines()] == list(demo.CHAPTERS)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in demo.CHAPTERS if name != "surgery"])
def test_the_program_tells_every_chapter(netmorph: Program, tmp_path: Path, name: str) -> None:
    done = netmorph("demo", name, "--output", str(tmp_path))

    assert done.code == 0
