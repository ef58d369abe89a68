"""What the documents show works: every python block and every example is run, every link leads somewhere."""

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netmorph.graph.rules import REARRANGING, RULES

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *sorted((ROOT / "docs").glob("*.md")),
    )
}
BLOCKS = {page: found for page, text in PAGES.items() if (found := re.findall(r"```python\n(.*?)```", text, re.DOTALL))}
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture
def _rules_and_modules_put_back() -> Iterator[None]:
    """Pages add op rules, and import code that they write."""
    rules, rearranging, modules = dict(RULES), set(REARRANGING), set(sys.modules)
    yield
    RULES.clear()
    RULES.update(rules)
    REARRANGING.clear()
    REARRANGING.update(rearranging)
    for name in [name for name in sys.modules if name not in modules and name in ("freed", "network")]:
        del sys.modules[name]


def test_the_pages_for_users_show_python() -> None:
    shown = "README CONTRIBUTING docs/editing docs/narrowing docs/depth docs/carry docs/export docs/exact docs/op-rules"
    shown += " docs/data docs/training docs/testing docs/search docs/networks docs/shrink docs/growth docs/growth-ways"
    shown += " docs/hypernetworks docs/bank docs/chains docs/plots docs/inception docs/ensembles docs/shared-weights"
    assert {f"{page}.md" for page in shown.split()} <= BLOCKS.keys()


@pytest.mark.usefixtures("_rules_and_modules_put_back")
@pytest.mark.parametrize("page", BLOCKS)
def test_python_blocks_of(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    exec(compile("\n".join(BLOCKS[page]), page, "exec"), {"__name__": "docs"})


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example(example, capsys):
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES)
def test_links_of(page):
    links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", prose(PAGES[page]))
    for path, heading in links:
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert target.exists(), path
        if heading:
            assert heading in headings(target.read_text()), f"{path}#{heading}"


def test_each_test_that_reviewers_are_led_to_is_there() -> None:
    told = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGES["docs/for-reviewers.md"])
    assert told
    for path, function in told:
        assert not function or f"def {function}(" in (ROOT / path).read_text(), (path, function)
        assert (ROOT / path).exists(), path


def headings(text: str) -> set[str]:
    """The names under which a page's headings can be linked to."""
    told = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in told}


def prose(text: str) -> str:
    """A page without its code."""
    return re.sub(r"```.*?```|^    .*?$", "", text, flags=re.DOTALL | re.MULTILINE)
