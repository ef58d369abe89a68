from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from netmorph.errors import NetmorphError
from netmorph.report.plain_page import Page, Picture, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def line(figure: "Figure") -> Mapping[str, str]:
    figure.add_subplot().plot([1, 2], [3, 5], gid="line")
    return {"line": "a tooltip"}


PICTURES = [Picture("first", "A line", "It rises.", line, 200), Picture("second", "Again", "It rises.", line, 200)]


def test_page_shows_all_that_it_is_given(tmp_path: Path) -> None:
    table = Table("Numbers", ("network", "rank"), [("a < b", "12"), ("c", "7")], "Two of them.")

    text = Page("A study", ["It is so.", "And so."], [table], PICTURES).write(tmp_path / "page.html").read_text()

    assert "<h1>A study</h1>" in text
    assert text.count('class="lead"') == 1
    assert "<td>a &lt; b</td><td>12</td>" in text
    assert '<p class="caption">Two of them.</p>' in text
    assert text.count("<svg ") == 2
    assert '<g id="first-line"><title>a tooltip</title>' in text
    assert '<g id="second-line">' in text
    assert "--accent" in text  # the look of a run's report
    assert "http" not in text.replace("http://www.w3.org", "")  # nothing is loaded from elsewhere


def test_pictures_become_files(tmp_path: Path) -> None:
    files = Page("A study", [], pictures=PICTURES).save_pictures(tmp_path / "figures")

    assert [file.name for file in files] == ["first.png", "second.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)


def test_unknown_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NetmorphError, match="got 'txt'"):
        Page("A study", [], pictures=PICTURES).save_pictures(tmp_path, "txt")
    assert not list(tmp_path.iterdir())
