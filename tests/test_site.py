"""The documentation as a site: every page and name is in it, every link leads somewhere, no other host is asked."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from tests.browser import CHROMIUM, contrast, framed, needs_browser, told_by
from tests.test_docs import ROOT

pages = pytest.importorskip("docs.pages", reason="the extra docs is not installed")
LOADING = {("script", "src"), ("img", "src"), ("link", "href"), ("source", "srcset"), ("iframe", "src")}
WAIT = 1500  # ms until a page has loaded its programs


def listed(entries: object) -> Iterator[str]:
    """The pages of a navigation, in their order."""
    if isinstance(entries, str):
        yield entries
    else:
        for entry in entries.values() if isinstance(entries, dict) else entries:
            yield from listed(entry)


def test_each_page_stands_once_in_the_navigation(tmp_path: Path) -> None:
    from mkdocs.utils.yaml import yaml_load

    pages.gather(tmp_path)
    navigation = list(listed(yaml_load((ROOT / "mkdocs.yml").read_bytes())["nav"]))

    assert sorted(navigation) == sorted(str(page.relative_to(tmp_path)) for page in tmp_path.rglob("*.md"))


def test_a_notebook_becomes_a_page(tmp_path: Path) -> None:
    v4 = nbformat.v4
    data = {"image/svg+xml": "<svg><title>A &lt;net&gt; [1]. More</title></svg>"}
    outputs = [
        v4.new_output("stream", text="\x1b[1mbold\x1b[0m\n"),
        v4.new_output("display_data", data=data),
        v4.new_output("execute_result", data={"text/html": "<b>a table</b>", "text/plain": "<a table>"}),
    ]
    text = "A weight $w$, `$code$`, see [growth](../docs/growth.md) and [next](2_next.ipynb#more).\n\n$$w^2$$"
    cells = [v4.new_markdown_cell(text), v4.new_code_cell("print(1)\n", outputs=outputs)]
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "1_first.ipynb")

    files = pages.notebook(tmp_path / "1_first.ipynb")

    page = files.pop("examples/1_first.md")
    assert files == {"examples/1_first/1-1.svg": data["image/svg+xml"]}
    assert re.search(r"A weight <span><math.*?</math></span>, `\$code\$`", page)
    assert '<div class="formula"><math' in page
    assert "[growth](../docs/growth.md) and [next](2_next.md#more)" in page
    assert "```python\nprint(1)\n```" in page
    assert "```{.text .printed}\nbold\n```" in page
    assert "![A <net> 1 ](1_first/1-1.svg)" in page
    assert "<b>a table</b>" in page
    assert "<a table>" not in page


def test_a_figure_leads_to_itself_at_full_size() -> None:
    text = "![Loss](images/a.png)\n\nSee ![small](b.png), or\n\n![A drawing](c.svg)\n"
    assert pages.opened(text) == text.replace("![Loss](images/a.png)", "[![Loss](images/a.png)](images/a.png)")


def test_what_the_site_reads_in_docstrings_and_comments() -> None:
    griffe = pytest.importorskip("griffe", reason="the extra docs is not installed")
    code = '''
# How an int
# is made.
MADE = {"int": int}
LEAST = 2  # of all
UNTOLD = 3

class Band:
    """A band.

    Attributes:
        low, high: its ends,
            both in it.
        name, count: for people.
        kind: alone.
    """

    low: float
    high: float
    name: str
    count: int
    kind: str

def draw(x: int, y: int, z: float) -> None:
    """Draw it.

    Args:
        x, y: where.
        z: deep.
    """
'''
    extensions = griffe.load_extensions(str(ROOT / "docs" / "docstrings.py"))
    with griffe.temporary_visited_package(
        "drawn", {"__init__.py": code}, extensions=extensions, docstring_parser="google"
    ) as package:
        told = {
            name: [
                (entry.name, str(entry.annotation), entry.description)
                for entry in package[name].docstring.parsed[1].value
            ]
            for name in ("Band", "draw")
        }
        said = {name: package[name].docstring and package[name].docstring.value for name in ("MADE", "LEAST", "UNTOLD")}

    assert told["Band"] == [
        ("low, high", "float", "its ends,\nboth in it."),
        ("name, count", "str, int", "for people."),
        ("kind", "str", "alone."),
    ]
    assert told["draw"] == [("x, y", "int", "where."), ("z", "float", "deep.")]
    assert said == {"MADE": "How an int\nis made.", "LEAST": "Of all", "UNTOLD": None}


@pytest.fixture(scope="module", name="site")
def site_(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does it; a warning is an error there."""
    folder = tmp_path_factory.mktemp("built")
    pages.gather(folder / "pages")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder / "site")]
    told = os.environ | {"PAGES": str(folder / "pages"), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder / "site"


class Read(HTMLParser):
    """The names in a page that one can link to, the links that it has, and what it loads."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.names.add(value)
            elif (tag, name) in LOADING and value and ("rel", "canonical") not in attrs:
                self.loaded.append(value)
            elif (tag, name) == ("a", "href") and value:
                self.links.append(value)


@pytest.fixture(scope="module", name="read")
def read_(site: Path) -> dict[Path, Read]:
    return {page: Read(page) for page in site.rglob("*.html") if page.name != "404.html"}  # which stands nowhere


@pytest.mark.slow
def test_every_link_leads_somewhere(read: dict[Path, Read]) -> None:
    for page, found in read.items():
        for link in found.links + found.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.exists(), (page.name, link)
            if parts.fragment and target in read:
                assert unquote(parts.fragment) in read[target].names | {"__top"}, (page.name, link)


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(site: Path, read: dict[Path, Read]) -> None:
    loaded = [link for found in read.values() for link in found.loaded]
    loaded += [link for sheet in site.rglob("*.css") for link in re.findall(r"url\(([^)]*)\)", sheet.read_text())]

    assert loaded
    assert not [link for link in loaded if urlsplit(link.strip("\"'")).scheme not in ("", "data")]


@pytest.mark.slow
def test_every_public_name_can_be_linked_to(site: Path, read: dict[Path, Read]) -> None:
    modules = pages.public_modules()
    for module in modules:
        names = {f"{module}.{name}" for name in pages.public_names(module)} - {*modules}
        assert names <= read[site / "reference" / f"{module}.html"].names


class Alone(SimpleHTTPRequestHandler):
    """Serves files to a browser that may ask for nothing else."""

    def end_headers(self) -> None:
        """Whatever a page asks of another host is told on the console."""
        self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline' data: blob:")
        super().end_headers()

    def log_message(self, *told: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module", name="served")
def served_(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Alone, directory=site)) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(
    "page", ["index", "examples/2_growing", "docs/results", "docs/pictures", "reference/netmorph.edit"]
)
def test_on_a_phone(page: str, dark: bool, site: Path, served: str, tmp_path: Path) -> None:
    frame = site / f"frame-{page.replace('/', '-')}.html"
    frame.write_text(framed(f'src="/{page}.html"', 390, WAIT))

    told = told_by(f"{served}/{frame.name}", tmp_path, dark=dark)

    assert told["messages"] == []
    assert told["overflow"] == 0
    assert max(told["paper"]) < 60 if dark else min(told["paper"]) > 240
    assert all(contrast(ink, told["paper"]) > 7 for ink in told["ink"])


@pytest.mark.slow
@needs_browser
def test_the_search_works_in_a_folder_without_a_server(site: Path, tmp_path: Path) -> None:
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", "--dump-dom"]
    asked = f"{(site / 'index.html').as_uri()}?q=unequal_split"
    done = subprocess.run(
        [str(CHROMIUM), *flags, f"--user-data-dir={tmp_path}", asked], capture_output=True, text=True, timeout=180
    )

    assert "netmorph.widenings.unequal_split" in done.stdout
