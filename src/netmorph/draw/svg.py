"""A picture as SVG text: it needs nothing else, fits dark pages, and can be read without colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from netmorph.draw import letters
from netmorph.draw.boxes import JUNCTIONS, OUTSIDE, Box, Change, Channels, Shape
from netmorph.draw.folding import name_in
from netmorph.draw.layout import lay
from netmorph.draw.placed import CIRCLE, LINE, PAD, Laid, Line, Wire
from netmorph.wording import compact, flops_text

# M. Okabe and K. Ito, Color universal design, 2008: told apart by the colour-blind. Yellow is left out, pale on white;
# behind each the paler one for dark pages.
COLOURS = (
    ("#0072b2", "#4aa8e0"),
    ("#d55e00", "#ff8a47"),
    ("#009e73", "#35c79a"),
    ("#cc79a7", "#e3a2c6"),
    ("#56b4e9", "#8fd0f5"),
    ("#e69f00", "#f5c15c"),
)
WIDEST, CONTENT, NOTES = 290.0, 190.0, 420.0  # px of a name, of what is inside, of a line above the picture
FEW = 6  # channel groups that a tooltip tells of
SMALLEST = 0.6  # a narrow page shrinks a picture so far, then it is scrolled
SIGNS = {
    Change.NEW: "+ ",
    Change.GONE: "− ",
    Change.WIDER: "↔ ",
    Change.NARROWER: "→← ",
    Change.OTHER: "≠ ",
}
_STYLE = """
.nm{font:12px system-ui,'Segoe UI','DejaVu Sans',sans-serif}
.nm text{fill:#1f2933}.nm .s{fill:#52606d;font-size:11px}.nm .h{font-weight:600}.nm .l{fill:#52606d;font-size:10.5px;
paint-order:stroke;stroke:#fff;stroke-width:3px}
.nm rect,.nm circle{fill:#fff;stroke:#7b8794}.nm .c{fill:#f5f7fa;stroke:#9aa5b1}.nm .c2{fill:#e9edf2}
.nm .b{fill:none;stroke:none}.nm path{fill:none;stroke:#7b8794;stroke-width:1.4}
.nm .a{fill:#7b8794;stroke:none}.nm .f{stroke-dasharray:2 2}
.nm .new{stroke:#0072b2;stroke-width:2.5;fill:#e3f1fa}.nm .gone{stroke:#b34700;stroke-width:2;stroke-dasharray:5 3;
fill:#fdeee3}.nm .wider,.nm .narrower,.nm .changed{stroke:#1f2933;stroke-width:2.5}
.nm path.new,.nm path.gone{fill:none}
LIGHT@media(prefers-color-scheme:dark){.nm text{fill:#e4e7eb}.nm .s,.nm .l{fill:#b8c2cc}.nm .l{stroke:#16191d}
.nm rect,.nm circle{fill:#23282e;stroke:#7b8794}.nm .c{fill:#1b1f24;stroke:#616e7c}.nm .c2{fill:#262c33}
.nm .b{fill:none}.nm .new{fill:#0d3a57;stroke:#56b4e9}.nm .gone{fill:#4a2a12;stroke:#e69f00}
.nm .wider,.nm .narrower,.nm .changed{stroke:#e4e7eb}DARK}
"""


def _style() -> str:
    """An element with the looks of all classes; `g0`, `g1` ... are the colours of channel groups."""
    light, dark = (
        "".join(
            f".nm path.g{number}{{stroke:{pair[side]}}}.nm rect.g{number}{{stroke:none;fill:{pair[side]}}}"
            for number, pair in enumerate(COLOURS)
        )
        for side in (0, 1)
    )
    rules = _STYLE.replace("LIGHT", light).replace("DARK", dark).replace("\n", "")
    return f"<style>{rules}</style>"


def svg(root: Box, text: str, notes: Sequence[str], groups: Mapping[str, Channels], *, styled: bool = True) -> str:
    """One SVG element.

    Args:
        root: what is shown, see `folding.shown`.
        text: what it shows, for readers who cannot see it.
        notes: lines above the picture.
        groups: what is told of each channel group, by name.
        styled: whether it says how it looks; another one of the same page may have done so.
    """
    laid = lay(root, lines)
    return _Writer(groups).document(laid, text, notes, _style() if styled else "")


def key(root: Box) -> str:
    """What signs and colours mean."""
    if root.was is not None:
        return ", ".join(f"{sign.strip()} {change}" for change, sign in SIGNS.items())
    if not root.edges:
        return ""
    return "One colour: one channel group. Dotted: frozen."


def lines(box: Box, around: str) -> tuple[Line, ...]:
    """What stands in a box: name and kind, what is inside where that is not shown, numbers."""
    if box.is_junction:
        return ((JUNCTIONS[box.kind], ""),)
    sign = SIGNS.get(box.change, "") if box.change else ""
    times = f"{box.times} × " if box.times > 1 else ""
    first = f"{sign}{name_in(box, around)}".rstrip(), f"{times}{box.kind} {box.detail}".rstrip()
    if letters.width(*first) > WIDEST:
        kind = letters.fitted(first[1], max(WIDEST / 2, WIDEST - letters.width(first[0])))
        first = letters.fitted(first[0], (WIDEST - letters.width("", kind)) / 1.1), kind  # bold letters are wider
    words = letters.wrapped(box.content, CONTENT)
    if len(words) > 2:
        words = [words[0], letters.fitted(f"{words[1]} …", CONTENT)]
    return (first, *(("", text) for text in [box.together, *words, *_numbers(box)] if text))


def _numbers(box: Box) -> list[str]:
    was = box.was
    if was is None or box.change in (Change.SAME, Change.NEW, Change.GONE):
        return [_sizes(box)] if box.parameters and (box.flops or "Norm" not in box.kind) else []
    told = []
    changed = next(((a, b) for a, b in zip(was.outputs, box.outputs, strict=False) if a != b), None)
    read = next(((a, b) for a, b in zip(was.inputs, box.inputs, strict=False) if a != b), None)
    if changed:
        told.append(f"gives {_from_to(*changed)}")
    elif read:
        told.append(f"reads {_from_to(*read)}")
    if was.detail != box.detail:
        told.append(f"{was.detail or 'plain'} → {box.detail or 'plain'}")
    if was.parameters != box.parameters:
        told.append(f"{compact(was.parameters)} → {compact(box.parameters)} parameters")
    return told


def _from_to(before: Shape, after: Shape) -> str:
    different = [(a, b) for a, b in zip(before, after, strict=False) if a != b]
    if len(before) == len(after) and len(different) == 1:
        return f"{different[0][0]} → {different[0][1]}"
    return f"{shape_text(before)} → {shape_text(after)}"


def _sizes(box: Box) -> str:
    each = " each" if box.times > 1 and not box.together.startswith("each") else ""
    return f"{compact(box.parameters)} · {flops_text(box.flops)}{each}" if box.flops else compact(box.parameters)


def shape_text(shape: Shape) -> str:
    """(64, 7, 7) -> 64×7×7."""
    return "×".join(map(str, shape)) or "1"


def _container(depth: int) -> str:
    """Boxes in boxes are told apart by a paler and a darker ground."""
    return "c" if depth % 2 else "c c2"


class _Writer:
    def __init__(self, groups: Mapping[str, Channels]) -> None:
        self.groups = groups
        self.colours: dict[str, str] = {}
        self.out: list[str] = []

    def document(self, laid: Laid, text: str, notes: Sequence[str], style: str) -> str:
        told = [line for note in notes for line in letters.wrapped(note, max(laid.width, NOTES) - 2 * PAD)]
        top = LINE * len(told) + (LINE if told else 2)
        wide = max((letters.width("", line) for line in told), default=0.0) + 2 * PAD
        width, height = max(laid.width, wide, 200.0), top + laid.height + PAD
        size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}"'
        room = f"max-width:100%;min-width:{SMALLEST * width:.0f}px;height:auto"
        self.out.append(
            f'<svg xmlns="http://www.w3.org/2000/svg" class="nm" role="img" {size} style="{room}">'
            f"<title>{escape(text)}</title>{style}"
        )
        for number, line in enumerate(told):
            self._text(
                PAD, LINE * (number + 1.3), (line, "") if number == 0 else ("", line), "" if number == 0 else "s"
            )
        self._box(laid, (width - laid.width) / 2, top, 0, "")
        self.out.append("</svg>")
        return "".join(self.out)

    def _box(self, laid: Laid, x: float, y: float, depth: int, around: str) -> None:
        box = laid.box
        self.out.append(f'<g transform="translate({x:.4g} {y:.5g})"><title>{escape(self._told(box))}</title>')
        change = f" {box.change}" if box.change and box.change != Change.SAME else ""
        if laid.width == CIRCLE and box.is_junction:
            self.out.append(f'<circle class="j{change}" cx="9" cy="9" r="9"/>')
            self._text(CIRCLE / 2, 13.2, laid.lines[0], "", "middle")
        else:
            kind = "b" if depth == 0 else f"{_container(depth) if box.inside else ''}{change}"
            for card in range(min(2, box.times - 1), -1, -1):
                shift = 3 * card
                self.out.append(
                    f'<rect class="{kind.strip()}" x="{shift}" y="{shift}" width="{laid.width:.4g}" '
                    f'height="{laid.height:.4g}" rx="4"/>'
                )
            self._stripe(laid)
            for number, line in enumerate(laid.lines):
                self._text(PAD + 2, LINE * (number + 1) - 1, line, "s" if number else "")
        for wire in laid.wires:
            self._wire(wire, depth == 0)
        for inner in laid.inside:
            self._box(inner, inner.x, inner.y, depth + 1, box.path)
        for wire in laid.wires:
            if wire.label:
                self._text(*wire.label, ("", shape_text(wire.edge.shape)), "l")
        self.out.append("</g>")

    def _stripe(self, laid: Laid) -> None:
        if laid.box.groups and not laid.box.inside:
            colour = self._colour(laid.box.groups)
            self.out.append(
                f'<rect class="{colour or "f"}" x="1" y="3" width="4" height="{laid.height - 6:.4g}" rx="2"/>'
            )

    def _wire(self, wire: Wire, is_whole: bool) -> None:
        points = wire.points
        steps = "".join(f"{'L' if number else 'M'}{x:.5g} {y:.5g}" for number, (x, y) in enumerate(points))
        is_change = wire.edge.change in (Change.NEW, Change.GONE)
        kind = wire.edge.change if is_change else self._colour(wire.edge.groups)
        look = f' class="{kind}"' if kind else ""
        self.out.append(f'<path{look} d="{steps}"/>')
        if wire.edge.target == OUTSIDE and not is_whole:
            return  # it goes on outside
        (x, y), (before, _) = points[-1], points[-2]
        if abs(x - before) > 0.5:
            d = 5 if before > x else -5
            self.out.append(f'<path class="a" d="M{x:.5g} {y:.5g}l{d} -3.5v7z"/>')
        else:
            self.out.append(f'<path class="a" d="M{x:.5g} {y:.5g}l-3.5 -5h7z"/>')

    def _colour(self, groups: Sequence[str]) -> str:
        """The class for the first group that may change; none of what is frozen."""
        free = [group for group in groups if group in self.groups and not self.groups[group].is_frozen]
        if not free:
            return ""
        return self.colours.setdefault(free[0], f"g{len(self.colours) % len(COLOURS)}")

    def _text(self, x: float, y: float, line: Line, kind: str, anchor: str = "") -> None:
        """`line` at a place; `kind` is its class."""
        strong, plain = line
        where = (f' class="{kind}"' if kind else "") + (f' text-anchor="{anchor}"' if anchor else "")
        bold = f'<tspan class="h">{escape(strong)}</tspan>' if strong else ""
        parts = " ".join(part for part in (bold, escape(plain)) if part)
        self.out.append(f'<text{where} x="{x:.5g}" y="{y:.5g}">{parts}</text>')

    def _told(self, box: Box) -> str:
        paths = ", ".join(box.paths or (box.path,)) or "the whole network"
        told = [f"{paths}: {box.kind} {box.detail}".strip()]
        if box.inputs and box.outputs:
            told.append(f"{' and '.join(map(shape_text, box.inputs))} → {' and '.join(map(shape_text, box.outputs))}")
        told.append(f"{box.parameters:,} parameters, {flops_text(box.flops)}")
        known = [group for group in box.groups if group in self.groups]
        told += [f"channel group {group}: {self.groups[group]}" for group in known[:FEW]]
        told += [f"and {len(known) - FEW} more groups"] if len(known) > FEW else []
        return "\n".join(told)
