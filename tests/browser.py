"""Pages in a real browser without a window: Chromium, told by its command line alone."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")

# The page lies in a frame, as no window is that narrow. It says in its title what came of it.
_WRAPPER = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title></title>
<body style="margin:0"><iframe style="width:{width}px;height:2000px;border:0" {page}></iframe><script>
const look = () => {{
  const frame = document.querySelector("iframe"), page = frame.contentDocument, root = page.documentElement
  if (!page.querySelector('{until}')) return setTimeout(look, 50)
  for (const entry of page.querySelectorAll("details")) entry.open = true
  const body = frame.contentWindow.getComputedStyle(page.body)
  const texts = [...page.querySelectorAll("svg.nm text")].slice(0, 1)
  document.title = JSON.stringify({{
    overflow: root.scrollWidth - root.clientWidth,
    paper: body.backgroundColor,
    ink: [body.color, ...texts.map(text => frame.contentWindow.getComputedStyle(text).fill)],
    nameless: page.querySelectorAll("svg[role=img]:not(:has(title)), svg:not([role]), img:not([alt])").length,
    pictures: page.querySelectorAll("svg[role=img], canvas[aria-label]").length,
    text: page.body.innerText,
  }})
}}
onload = () => setTimeout(look, {wait})
</script>"""


def looked_at(page: Path, folder: Path, *, dark: bool, width: int = 390) -> dict[str, Any]:
    """What a page is like, with all that can be unfolded open.

    Returns:
        "overflow" in px of what stands out to the right, "paper" and "ink" as [red, green, blue], the number of
        "pictures", of "nameless" ones without an alternative text, its "text", and all "messages" on the console.
    """
    wrapper = folder / f"{page.parent.name}-{page.stem}-{dark}.html"
    wrapper.write_text(framed(f'srcdoc="{html.escape(page.read_text())}"', width))
    return told_by(wrapper.as_uri(), folder, dark=dark)


def framed(page: str, width: int, wait: int = 200, until: str = "html") -> str:
    """A page around a page, which says what that is like.

    Args:
        page: where the inner one is, as an attribute of an `iframe`.
        wait: ms from when it is loaded until it is looked at.
        until: not before there is an element of this CSS selector.
    """
    return _WRAPPER.format(width=width, page=page, wait=wait, until=until)


def told_by(address: str, folder: Path, *, dark: bool) -> dict[str, Any]:
    """What the page that `framed` made says, see `looked_at`."""
    assert CHROMIUM is not None
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=5000"]
    command = [CHROMIUM, *flags, scheme, f"--user-data-dir={folder / 'profile'}", "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    title = re.search("<title>(.*?)</title>", done.stdout)
    assert title is not None
    told: dict[str, Any] = json.loads(html.unescape(title[1]))
    told["paper"] = _colour(told["paper"])
    told["ink"] = [_colour(ink) for ink in told["ink"]]
    return told | {"messages": re.findall(r"CONSOLE.*", done.stderr)}


def _colour(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)[:3]]


def contrast(one: list[int], other: list[int]) -> float:
    """Of two colours, from 1 to 21: WCAG 2.2, contrast ratio."""
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: list[int]) -> float:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
