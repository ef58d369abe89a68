"""A diagram as a page of its own: the picture, what is in each box to be unfolded, and all numbers as a table."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from html import escape

from netmorph.draw.boxes import Box, Channels
from netmorph.draw.folding import is_small, name_in, shown, structure
from netmorph.draw.svg import shape_text, svg

MOST_BYTES = 280_000  # of pictures in one page; what is deeper inside is left to the numbers
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><title>{title}</title><style>
body{{font:15px/1.5 system-ui,'Segoe UI','DejaVu Sans',sans-serif;margin:0 auto;max-width:960px;padding:1rem;
color:#1f2933;background:#fff;
overflow-wrap:anywhere}}h1{{font-size:1.3rem;margin:.2rem 0}}details{{border-left:2px solid #9aa5b1;
margin:.4rem 0;padding-left:.7rem}}summary{{cursor:pointer}}.w{{overflow-x:auto}}
table{{border-collapse:collapse;font-size:13px}}td,th{{padding:1px 10px 1px 0;text-align:right;white-space:nowrap}}
td:first-child,td:nth-child(2),th:first-child,th:nth-child(2){{text-align:left}}
@media(prefers-color-scheme:dark){{body{{color:#e4e7eb;background:#16191d}}}}
</style></head><body><h1>{title}</h1>{notes}<div class="w">{picture}</div>
{sections}<details><summary>All numbers</summary><div class="w"><table><caption>Boxes in the order in which they run,
shapes without the batch, FLOPs for one input</caption><thead><tr><th>box</th><th>kind</th><th>times</th>
<th>gives</th><th>parameters</th><th>FLOPs</th>{extra}</tr></thead><tbody>{rows}</tbody></table></div></details>
</body></html>
"""


def page(title: str, picture: str, root: Box, groups: Mapping[str, Channels], notes: Sequence[str]) -> str:
    """The whole page.

    Args:
        picture: what stands first, as an SVG element.
        root: the network, whole and folded.
        groups: what is told of each channel group.
        notes: paragraphs above the picture.
    """
    left = [MOST_BYTES - len(picture.encode())]
    compared = root.was is not None
    return _PAGE.format(
        title=escape(title),
        notes="".join(f"<p>{escape(note)}</p>" for note in notes),
        picture=picture,
        sections="".join(_sections(root, groups, set(), left)),
        extra="<th>change</th><th>parameters before</th>" if compared else "",
        rows="".join(_rows(root, compared, left)),
    )


def _sections(box: Box, groups: Mapping[str, Channels], seen: set[Hashable], left: list[int]) -> Iterator[str]:
    """What is in each container inside, each structure once, as long as there is room."""
    for inner in box.inside:
        key = structure(inner)
        if not inner.inside or is_small(inner) or key in seen:
            continue
        seen.add(key)
        name = name_in(inner, "")
        drawn = svg(shown(inner, _nothing), f"What is in {name} ({inner.kind})", (), groups, styled=False)
        left[0] -= len(drawn.encode())
        if left[0] < 0:
            return
        within = "".join(_sections(inner, groups, seen, left))
        yield (
            f"<details><summary><b>{escape(name)}</b> {escape(inner.kind)}</summary>"
            f'<div class="w">{drawn}</div>{within}</details>'
        )


def _nothing(box: Box, level: int) -> bool:
    return False


def _rows(root: Box, compared: bool, left: list[int]) -> Iterator[str]:
    for box in root.walk():
        shapes = ", ".join(map(shape_text, box.outputs))
        cells = [name_in(box, ""), f"{box.kind} {box.detail}".strip(), f"{box.times}", shapes]
        cells += [f"{box.parameters:,}", f"{box.flops:,}"]
        if compared:
            cells += [box.change or "", f"{box.was.parameters:,}" if box.was else ""]
        row = f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>\n"
        left[0] -= len(row)
        if left[0] < 0:
            yield "<tr><td>and more, see the JSON</td></tr>"
            return
        yield row
