"""Traces of the documents' figures: what counts as a figure, as traced, and as older than its code."""

import subprocess
from pathlib import Path

import pytest

from benchmarks._code_age import History, HistoryError
from benchmarks._definitions import LOOSE
from benchmarks._definitions import read as definitions
from benchmarks._traces import TraceError, sections, untraced
from benchmarks.traced import ROOT, older, read, without_trace

PAGE = """# Page

Python 3.11, `--share 20%`, [so much of it](x.md#20%), two of 100: none of these is a figure.

| option | default |
|---|---|
| `--epochs` | `3` |

    20% in code

## Fast

<!-- measured: python -m benchmarks.fast
     at: {commit} 2026-11-30
     code: src/fast.py -->

| | |
|---|---|
| fast | 0.25 |

### In short

It takes 3 s, a quarter less.

## Again

<!-- quoted: page.md#fast -->

It takes 3 s, 0.3 times as long.

## Wrong

It takes 4 s.
"""


def test_figures_are_what_somebody_measured() -> None:
    found = sections("page.md", PAGE)
    figures = {section.title: [figure.number for figure in section.figures] for section in found if section.figures}
    assert figures == {"Fast": ["0.25"], "In short": ["3"], "Again": ["3", "0.3"], "Wrong": ["4"]}
    assert [section.line for section in found] == [1, 1, 11, 21, 25, 31]


def test_a_trace_holds_for_its_section_and_those_below() -> None:
    found = sections("page.md", PAGE)
    assert [section.title for section in found if untraced(section, found)] == ["Wrong"]
    [line] = without_trace(found, found)
    assert line == "page.md:31: Wrong: 1 figures without a trace: 4 (line 33)"


def test_what_is_quoted_stands_there_rounded_or_not() -> None:
    found = sections("page.md", PAGE.replace("0.3 times", "0.4 times"))
    wrong = next(without_trace(found, found))
    assert wrong == "page.md:25: Again: 1 figures not where it is quoted from: 0.4 (line 29)"
    found = sections("page.md", PAGE.replace("page.md#fast", "page.md#slow"))
    with pytest.raises(TraceError, match="there is no page"):
        list(without_trace(found, found))


@pytest.mark.parametrize("wrong", ["measured: x -->", "measured: x\nat: y\ncode: z\nby: w -->", "quoted: x\nat: y -->"])
def test_a_trace_says_all_that_it_must_and_no_more(wrong: str) -> None:
    with pytest.raises(TraceError, match=r"page.md:1: [\w ]+ has the further lines"):
        sections("page.md", f"<!-- {wrong}")


CODE = 'def f(x):\n    """Says."""\n    if not x:\n        raise ValueError("none")\n    return x + 1\n'


def test_code_is_what_it_does() -> None:
    told = CODE.replace("Says", "Tells").replace('"none"', 'f"no {x}"').replace("x + 1", "x + 1  # one more")
    same = (
        told,
        told.replace("    ", "  "),
        told.replace("def f(x)", "def _f(x: int) -> int"),
        f"if TYPE_CHECKING:\n    A\n{CODE}",
    )
    assert all(definitions(code) == definitions(CODE) for code in same)
    different = (CODE.replace("1", "2"), CODE.replace("ValueError", "TypeError"), CODE.replace("not x", "x"))
    assert len({definitions(code).does["f"] for code in (CODE, *different)}) == 4


def test_the_names_of_a_program() -> None:
    found = definitions(
        "import torch\nfrom a import b\nA: int = 1\n_B = b\nprint(A)\n"
        "class C:\n    x = 1\n    def f(self): ...\nclass D(C):\n    def f(self): ...\n"
        "@rule(A)\ndef g(): ...\n@functools.cache\ndef h(): ..."
    )
    assert set(found.does) == {"A", "B", LOOSE, "C", "C.f", "D", "D.f", "g", "h"}
    assert found.imports == {"b": ("a", "b")}
    assert set(found.acts) == {"g", LOOSE}
    more = "class C:\n    x = 1\n    def f(self): ...\n    def g(self): ..."
    assert definitions(more).does["C"] == found.does["C"], "whoever calls a new method has changed"
    assert definitions(more.replace("def g", "def __len__")).does["C"] != found.does["C"]
    assert definitions("class D(C):\n    def g(self): ...").does["D"] != found.does["D"], "it may stand in for another"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits: between them a comment changed, a constant, and files and definitions moved."""
    files = {"src/fast.py": CODE, "src/slow.py": CODE + "A = 1\n", "src/old/there.py": "B = 1\n", "costs.csv": "1\n"}
    (tmp_path / "src/old").mkdir(parents=True)
    _git(tmp_path, "init")
    _commit(tmp_path, files)
    _git(tmp_path, "mv", "src/old", "src/new")
    _commit(tmp_path, {"src/fast.py": f"# faster\n{CODE}", "src/slow.py": CODE + "A = 2\n"})
    return tmp_path


def test_the_age_of_code(repository: Path) -> None:
    history = History(repository)
    assert history.changed(["HEAD~1"], ["src/fast.py", "costs.csv", "src/new/there.py", "src/new"]) == {}
    assert history.changed(["HEAD~1"], ["src"]) == {"src/slow.py": ["A"]}
    assert history.changed(["HEAD"], ["src"]) == history.changed(["HEAD~1", "HEAD"], ["src"]) == {}
    with pytest.raises(HistoryError, match=r"there is no src/old"):
        history.changed(["HEAD~1"], ["src/old"])
    with pytest.raises(HistoryError, match=r"is the whole history there"):
        history.changed(["0123abc"], ["src"])


MOVED = {"src/slow.py": "from src.apart import f\nA = 2\ng = f\n", "src/apart.py": CODE.replace("f(x)", "_f(x)")}


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        (MOVED, {}),
        (MOVED | {"src/apart.py": CODE + "C = 3\n"}, {}),
        (MOVED | {"src/apart.py": CODE.replace("+ 1", "+ 2")}, {"src/slow.py": ["f"], "src/apart.py": ["f"]}),
        ({"src/slow.py": "from src.fast import g as f\nA = 2\n"}, {"src/slow.py": ["f"]}),
        (
            {"src/slow.py": "A = 2\n", "src/fast.py": CODE.replace("+ 1", "+ 2")},
            {"src/slow.py": ["f"], "src/fast.py": ["f"]},
        ),
        ({"src/slow.py": CODE + "A = 2\nprint(A)\n"}, {"src/slow.py": [LOOSE]}),
        ({"src/more.py": "C = 1\n"}, {}),
        ({"src/more.py": "@rule\ndef g(): ...\n"}, {"src/more.py": ["g"]}),
    ],
)
def test_what_moved_has_not_changed(repository: Path, now: dict[str, str], changed: dict[str, list[str]]) -> None:
    _commit(repository, now)
    assert History(repository).changed(["HEAD~1"], ["src"]) == changed


def test_what_moved_is_followed_behind_an_accepted_commit(repository: Path) -> None:
    _commit(repository, MOVED)
    _commit(repository, {"src/apart.py": CODE.replace("+ 1", "+ 2")})
    changed = {"src/slow.py": ["f"]}
    assert History(repository).changed(["HEAD~2", "HEAD~1"], ["src/slow.py"]) == changed
    assert History(repository).changed(["HEAD~2", "HEAD"], ["src/slow.py"]) == {}
    assert History(repository).changed(["HEAD~2"], ["src/slow.py"]) == changed


def test_a_figure_that_is_older_than_its_code_is_told(repository: Path) -> None:
    commit = _git(repository, "rev-parse", "--short", "HEAD~1")
    found = sections("page.md", PAGE.format(commit=commit))
    assert list(older(found, History(repository))) == []
    found = sections("page.md", PAGE.format(commit=commit).replace("fast.py", "slow.py"))
    [line] = older(found, History(repository))
    assert line.startswith(f"page.md:13: Fast: measured at {commit} 2026-11-30, older than src/slow.py (")
    assert line.endswith(": A)")
    read_since = PAGE.format(commit=commit).replace("src/fast.py", "src/slow.py\n     accepted: HEAD nothing uses A")
    assert list(older(sections("page.md", read_since), History(repository))) == []
    [line] = older(sections("page.md", PAGE.format(commit="0123abc")), History(repository))
    assert "commit 0123abc is not part of this history" in line


def test_each_figure_of_the_documents_has_a_trace_whose_code_is_there() -> None:
    found = read(ROOT)
    assert list(without_trace(found, found)) == []
    measured = [trace for section in found for trace in section.traces if trace.kind == "measured"]
    assert [part for trace in measured for part in trace.more["code"].split() if not (ROOT / part).exists()] == []


def _commit(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
    _git(folder, "add", "-A")
    _git(folder, "commit", "-m", "more")


def _git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@x", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()
