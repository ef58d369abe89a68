"""The gallery of what new channels learn."""

import json
import re

import pytest

from benchmarks import eyes


@pytest.mark.slow
def test_the_gallery_is_drawn_and_told(tmp_path, real_data, monkeypatch):
    monkeypatch.setenv("NETMORPH_DATA", str(real_data("mnist").parent))
    pytest.importorskip("captum")
    page = tmp_path / "page.md"
    page.write_text(f"above\n{''.join(eyes.MARKS)}\nbelow\n")
    eyes.main([str(tmp_path), "--page", str(page), "--small"])

    told = page.read_text()
    assert told.startswith("above\n")
    assert told.endswith("\nbelow\n")
    pictures = re.findall(r"!\[.*\]\(images/(eyes-[\w-]+)\.svg\)", told)
    assert len(pictures) == 9
    assert all((tmp_path / f"{name}.svg").is_file() for name in pictures)
    kinds = [row["pictures"][-1]["kind"] for row in json.loads((tmp_path / "eyes-mnist.json").read_text())["rows"]]
    assert kinds == ["old", "twin", "twin", "twin", "twin", "new", "new"]
    assert "| MNIST | Net2Net | " in told
