"""How wide texts are, without a font: as in DejaVu Sans, the widest that browsers take, so that others have room."""

from __future__ import annotations

SIZE = 12.0  # px, of a name; what stands beside and below it is a little smaller
_NARROW = {**dict.fromkeys("iljI|.,:;'! ", 0.33), **dict.fromkeys("ftr()[]/·", 0.41), **dict.fromkeys("mwMW@%", 0.95)}
_CAPITAL, _OTHER, _BOLD = 0.71, 0.62, 1.1


def width(strong: str, plain: str = "") -> float:
    """px of a bold text and one behind it."""
    gap = 6.0 if strong and plain else 0.0
    return SIZE * (_BOLD * sum(map(_letter, strong)) + sum(map(_letter, plain))) + gap


def fitted(text: str, room: float) -> str:
    """The text, or as much of it as there is room for, and dots."""
    if width("", text) <= room:
        return text
    while text and width("", text + "…") > room:
        text = text[:-1]
    return text.rstrip() + "…"


def wrapped(text: str, room: float) -> list[str]:
    """The text in lines, broken at spaces."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width("", longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _letter(letter: str) -> float:
    return _NARROW.get(letter, _CAPITAL if letter.isupper() else _OTHER)
